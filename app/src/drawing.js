// Draws a prediction or a heat map onto an image, as lesionedge/render.py does it.

import { shown } from "./image.js";
import { cropBox } from "./resample.js";
import { headline, isRefused, riskOf } from "./result.js";
import { percent, text } from "./words.js";

const PANEL = "rgb(16, 18, 24)";
const TEXT = "rgb(240, 240, 240)";
const BAR = "rgb(86, 180, 233)";
const ALERT = "rgb(230, 159, 0)";
const LEAST_WIDTH_PX = 360;
const LARGEST_SIDE_PX = 1600;
const LEAST_FALL = 0.001;
const CELLS = 8;
const CIVIDIS = [
  [0, 34, 78], [26, 56, 111], [67, 78, 108], [97, 101, 111], [125, 124, 120], [156, 147, 120],
  [188, 173, 109], [222, 202, 88], [254, 232, 56],
];

/** Draw the image with the model's part marked and the prediction below; returns a canvas. */
export async function drawPrediction(entry, spoken) {
  const canvas = document.createElement("canvas");
  const found = spoken(entry.found);
  const refused = isRefused(found);
  const top = found.top.slice(0, 3);
  const sheet = await sheetOf(canvas, entry, refused ? 2 : top.length + 2);
  if (!refused) for (const one of top) sheet.bar(one);
  sheet.line(refused ? headline(found) : riskOf(found), ALERT);
  sheet.line(`${found.model}: ${text("note")}`, TEXT, 0.75);
  return canvas;
}

/** Draw what a prediction rests on over a grey copy of its image. */
export async function drawHeat(canvas, entry, spoken) {
  const found = spoken(entry.explained.prediction);
  const refused = isRefused(found);
  const sheet = await sheetOf(canvas, entry, 4, { grey: true });
  const most = Math.max(...entry.explained.cells, LEAST_FALL);
  sheet.heat(entry.explained.cells, most);
  sheet.line(refused ? headline(found) : riskOf(found), ALERT);
  const { label, probability } = entry.explained;
  const { name } = found.top.find((one) => one.label === label);
  sheet.line(refused ? "" : `${label}  ${name}  ${percent(probability)}`, TEXT);
  sheet.scale(most);
  sheet.line(`${found.model}: ${text("note")}`, TEXT, 0.75);
}

async function sheetOf(canvas, entry, lines, { grey = false } = {}) {
  const bitmap = await createImageBitmap(await shown(entry.file));
  try {
    return new Sheet(canvas, bitmap, entry.model.input, lines, grey);
  } finally {
    bitmap.close();
  }
}

/** An image with lines of text below it. */
class Sheet {
  constructor(canvas, bitmap, input, lines, grey) {
    let scale = Math.max(1, LEAST_WIDTH_PX / bitmap.width);
    scale = Math.min(scale, LARGEST_SIDE_PX / Math.max(bitmap.width, bitmap.height));
    this.width = Math.max(1, Math.round(bitmap.width * scale));
    this.height = Math.max(1, Math.round(bitmap.height * scale));
    canvas.width = Math.max(this.width, LEAST_WIDTH_PX);
    this.unit = Math.max(14, Math.round(canvas.width / 32));
    canvas.height = this.height + Math.round(this.unit * (1.6 * lines + 0.6));
    this.context = canvas.getContext("2d");
    this.wide = canvas.width;
    this.y = this.height + this.unit * 0.5;
    this.fill(PANEL, 0, 0, canvas.width, canvas.height);
    this.fill("#fff", 0, 0, this.width, this.height); // where the image is transparent
    this.context.drawImage(bitmap, 0, 0, this.width, this.height);
    if (grey) this.withoutColours();
    this.box = cropBox(this.width, this.height, input);
    this.frame();
  }

  fill(colour, ...place) {
    this.context.fillStyle = colour;
    this.context.fillRect(...place);
  }

  /** Make the image grey; Safari's canvas has no filters. */
  withoutColours() {
    this.context.globalCompositeOperation = "saturation";
    this.fill("#000", 0, 0, this.width, this.height);
    this.context.globalCompositeOperation = "source-over";
  }

  frame() {
    const thick = Math.max(2, Math.floor(this.unit / 8));
    const { left, top, right, bottom } = this.box;
    // A white line beside a black one is visible on skin of any colour.
    for (const [colour, width] of [["#000", thick * 2], ["#fff", thick]]) {
      this.context.strokeStyle = colour;
      this.context.lineWidth = width;
      const half = width / 2;
      this.context.strokeRect(left + half, top + half, right - left - width, bottom - top - width);
    }
  }

  write(words, colour, x, width, share = 1) {
    this.context.font = `${Math.max(11, Math.round(this.unit * share))}px system-ui, sans-serif`;
    this.context.textBaseline = "top";
    this.context.fillStyle = colour;
    let shown = words;
    while (shown && this.context.measureText(shown).width > width) shown = `${shown.slice(0, -2).trimEnd()}…`;
    this.context.fillText(shown, x, this.y);
    return this.context.measureText(shown).width;
  }

  next() {
    this.y += this.unit * 1.6;
  }

  line(words, colour, share = 1) {
    this.write(words, colour, this.unit * 0.5, this.wide - this.unit, share);
    this.next();
  }

  bar({ label, name, probability }) {
    const numbers = this.wide - this.unit * 4;
    const bars = this.wide * 0.6;
    this.write(`${label}  ${name}`, TEXT, this.unit * 0.5, bars - this.unit);
    const length = Math.max(1, (numbers - this.unit - bars) * probability);
    this.fill(BAR, bars, this.y + this.unit * 0.2, length, this.unit * 0.8);
    this.write(percent(probability), TEXT, numbers, this.unit * 4);
    this.next();
  }

  /** Lay the colours of the falls over the model's part. */
  heat(cells, most) {
    const { left, top, right, bottom } = this.box;
    const side = 224;
    const shades = new ImageData(side, side);
    for (let y = 0; y < side; y += 1) {
      for (let x = 0; x < side; x += 1) {
        const share = Math.min(1, Math.max(0, between(cells, x / side, y / side) / most));
        shades.data.set([...coloured(share), 255], (y * side + x) * 4);
      }
    }
    const layer = new OffscreenCanvas(side, side);
    layer.getContext("2d").putImageData(shades, 0, 0);
    this.context.globalAlpha = 0.5;
    this.context.drawImage(layer, left, top, right - left, bottom - top);
    this.context.globalAlpha = 1;
    this.frame();
  }

  scale(most) {
    const [low, high] = [text("noChange"), text("points", (most * 100).toFixed(1))];
    const begin = this.unit + this.write(low, TEXT, this.unit * 0.5, this.wide, 0.75);
    const end = this.wide - this.unit - this.context.measureText(high).width;
    this.write(high, TEXT, end + this.unit * 0.5, this.wide, 0.75);
    for (let x = begin; x < end; x += 1) {
      this.fill(`rgb(${coloured((x - begin) / (end - begin))})`, x, this.y, 1.5, this.unit);
    }
    this.next();
  }
}

/** Return the fall at a place, 0-1 of the width and height, between the cells' middles. */
function between(cells, x, y) {
  const clip = (value) => Math.min(CELLS - 1, Math.max(0, value));
  const [right, down] = [clip(x * CELLS - 0.5), clip(y * CELLS - 0.5)];
  const [left, top] = [Math.floor(right), Math.floor(down)];
  const at = (column, row) => cells[clip(row) * CELLS + clip(column)];
  const [shareX, shareY] = [right - left, down - top];
  const upper = at(left, top) * (1 - shareX) + at(left + 1, top) * shareX;
  const lower = at(left, top + 1) * (1 - shareX) + at(left + 1, top + 1) * shareX;
  return upper * (1 - shareY) + lower * shareY;
}

function coloured(share) {
  const place = share * (CIVIDIS.length - 1);
  const low = Math.min(Math.floor(place), CIVIDIS.length - 2);
  return CIVIDIS[low].map((from, i) => Math.round(from + (CIVIDIS[low + 1][i] - from) * (place - low)));
}
