// lesionedge/explanation.py in the browser: which parts of an image a prediction depends on, by covering them.

import { blurred } from "./blur.js";

const CELLS = 8;
const WINDOW = 3;
const FINER = 2;
const REFINED = 41;
const TOGETHER = 4; // runs between two looks at whether it is cancelled

/** How often the network runs. */
export const PASSES = 1 + (CELLS - WINDOW + 1) ** 2 + REFINED;

/**
 * Explain a prediction.
 * @param label The class; null for the most likely one.
 * @returns {cells, label, probability, prediction}, or null if it was cancelled. cells: 64 falls, row by row.
 */
export async function explain(classifier, bitmap, { label = null, profile = null, progress, isCancelled }) {
  const prediction = await classifier.classify(bitmap, { profile });
  const wanted = label ?? prediction.label;
  const number = classifier.model.labels.findIndex((one) => one.label === wanted);
  const { probability } = prediction.top.find((one) => one.label === wanted);
  const drops = new Drops(classifier, classifier.inputOf(bitmap), number, probability, { profile, progress, isCancelled });
  const cells = await cellsOf(drops);
  return cells && { cells, label: wanted, probability, prediction };
}

const CANCELLED = Symbol("cancelled");

async function cellsOf(drops) {
  try {
    return await twoRounds(drops);
  } catch (error) {
    if (error === CANCELLED) return null;
    throw error;
  }
}

/** Covers boxes of an image and measures how far a label's probability falls. */
class Drops {
  constructor(classifier, pixels, number, whole, { profile, progress, isCancelled }) {
    const { width_px: width, height_px: height } = classifier.model.input;
    Object.assign(this, { classifier, pixels, number, whole, width, height, profile, progress, isCancelled });
    this.cover = blurred(pixels, width, height);
    this.passes = 1;
  }

  async of(boxes, besides = null) {
    const base = besides === null ? this.pixels : this.covered(this.pixels, besides);
    const falls = [];
    for (const box of boxes) {
      if (falls.length % TOGETHER === 0) await this.pause();
      const found = await this.classifier.probabilities(this.covered(base, box), this.profile);
      falls.push(this.whole - found[this.number]);
      this.passes += 1;
    }
    return falls;
  }

  /** Let messages in: one of them may cancel this. */
  async pause() {
    await new Promise((resolve) => { setTimeout(resolve); });
    if (this.isCancelled()) throw CANCELLED;
    this.progress(this.passes / PASSES);
  }

  covered(base, [left, top, right, bottom]) {
    const [from, to] = [left, right].map((side) => Math.round((side * this.width) / CELLS) * 3);
    const [first, last] = [top, bottom].map((side) => Math.round((side * this.height) / CELLS));
    const result = base.slice();
    for (let y = first; y < last; y += 1) {
      const line = y * this.width * 3;
      result.set(this.cover.subarray(line + from, line + to), line + from);
    }
    return result;
  }
}

async function twoRounds(drops) {
  const boxes = windows(WINDOW);
  const alone = await drops.of(boxes);
  const coarse = averaged(boxes, alone);
  const most = Math.max(...alone);
  const best = boxes[alone.indexOf(most)];
  const inside = new Set(placesOf(best));
  // A second ground shows only while the strongest one is covered.
  const finer = windows(FINER).filter((box) => placesOf(box).some((place) => !inside.has(place)));
  const worth = new Map(finer.map((box) => [box, mean(placesOf(box).map((place) => coarse[place]))]));
  finer.sort((a, b) => worth.get(b) - worth.get(a));
  const taken = finer.slice(0, REFINED);
  const further = (await drops.of(taken, best)).map((fall) => fall - most);
  return joined(coarse, averaged(taken, further), inside, Math.min(0, ...further));
}

function joined(coarse, beside, inside, least) {
  const outside = beside.filter((fall, place) => !inside.has(place) && !Number.isNaN(fall));
  const highest = Math.max(0, ...outside);
  return Float32Array.from(coarse, (fall, place) => {
    if (inside.has(place)) return (fall + highest) / 2;
    return (fall + (Number.isNaN(beside[place]) ? least : beside[place])) / 2;
  });
}

function windows(side) {
  const starts = Array.from({ length: CELLS - side + 1 }, (_, i) => i);
  return starts.flatMap((y) => starts.map((x) => [x, y, x + side, y + side]));
}

function placesOf([left, top, right, bottom]) {
  const places = [];
  for (let y = top; y < bottom; y += 1) for (let x = left; x < right; x += 1) places.push(y * CELLS + x);
  return places;
}

/** Return each cell's mean over the windows that cover it; NaN where none does. */
function averaged(boxes, falls) {
  const totals = new Float64Array(CELLS * CELLS);
  const counts = new Float64Array(CELLS * CELLS);
  boxes.forEach((box, i) => {
    for (const place of placesOf(box)) {
      totals[place] += falls[i];
      counts[place] += 1;
    }
  });
  return Array.from(totals, (total, place) => (counts[place] ? total / counts[place] : NaN));
}

const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
