// lesionedge/profile.py in the browser: a site profile recalibrates one model's probabilities and holds thresholds.

import { Fault } from "./fault.js";

const FORMAT = 1;
const LEAST = 1e-9;
export const MOST_CHARACTERS = 1_000_000;
const DEFAULT_SENSITIVITY = 0.95;

/**
 * Read the text of a profile that `lesionedge calibrate` wrote.
 * @returns {name, made, owner, between, lines, point}: `point` is the one of the default sensitivity, or null.
 * @throws Fault It is none.
 */
export function read(text) {
  need(text.length <= MOST_CHARACTERS, "size");
  let content = null;
  try {
    content = JSON.parse(text);
  } catch {
    // not JSON: it has no format
  }
  return parsed(content ?? {});
}

/** Refuse a file in which something is missing or wrong. */
function need(isRight, place) {
  if (!isRight) throw new Fault("noProfile", place);
}

function parsed({ format, name, made = "", model, recalibration, operating_points: points = [] }) {
  need(format === FORMAT, "format");
  need(isText(name), "name");
  const owner = ownerOf(model ?? {});
  const { malignant, classes } = recalibration ?? {};
  need(String(Object.keys(classes ?? {})) === String(owner.labels), "recalibration.classes");
  need(malignant === null || new Set(owner.malignant.map(Boolean)).size === 2, "recalibration.malignant");
  need(Array.isArray(points), "operating_points");
  const wanted = points.map(pointOf).find(({ sensitivity }) => Math.abs(sensitivity - DEFAULT_SENSITIVITY) < 1e-6);
  return {
    name, made: String(made), owner,
    between: malignant === null ? null : lineOf(malignant, "recalibration.malignant"),
    lines: owner.labels.map((label) => lineOf(classes[label], `recalibration.classes.${label}`)),
    point: wanted ?? null,
  };
}

function ownerOf({ name, sha256, labels, malignant, views = 1, normalize = null }) {
  need(isText(name), "model.name");
  need(isText(sha256), "model.sha256");
  need(Array.isArray(labels) && labels.length >= 2 && labels.every(isText), "model.labels");
  need(Array.isArray(malignant) && malignant.length === labels.length, "model.malignant");
  return { name, sha256, labels, malignant, views, normalize };
}

function lineOf(line, place) {
  const { temperature, bias } = line ?? {};
  need(Number.isFinite(temperature) && temperature > 0, `${place}.temperature`);
  need(Number.isFinite(bias), `${place}.bias`);
  return { temperature, bias };
}

function pointOf(point, number) {
  const place = `operating_points[${number}]`;
  const { sensitivity, threshold, measured_specificity, guaranteed, of = "malignant" } = point ?? {};
  need(sensitivity > 0 && sensitivity <= 1, `${place}.sensitivity`);
  need(Number.isFinite(threshold) && threshold >= 0, `${place}.threshold`);
  need(Number.isFinite(measured_specificity), `${place}.measured_specificity`);
  need(typeof guaranteed === "boolean", `${place}.guaranteed`);
  return { sensitivity, threshold, measured_specificity, guaranteed, of };
}

const isText = (value) => typeof value === "string" && value !== "";

/**
 * Refuse a profile for another model file, or for another use of this one.
 * @param model The model's facts: name, sha256, labels.
 * @throws Fault It was made for another.
 */
export function check({ name, owner }, model) {
  if (owner.sha256 !== model.sha256) {
    throw new Fault("otherModel", name, `${owner.name} (${owner.sha256.slice(0, 12)}…)`,
      `${model.name} (${model.sha256.slice(0, 12)}…)`);
  }
  const have = {
    labels: model.labels.map(({ label }) => label), malignant: model.labels.map(({ malignant }) => malignant),
    views: 1, normalize: null,
  };
  const other = Object.keys(have).find((key) => JSON.stringify(owner[key]) !== JSON.stringify(have[key]));
  if (other) throw new Fault("otherUse", name, other, JSON.stringify(owner[other]), JSON.stringify(have[other]));
}

/** Return recalibrated probabilities, rounded to 32 bits as Python's are. */
export function recalibrated({ between, lines, owner: { malignant } }, probabilities) {
  const logits = probabilities.map((one, i) => Math.log(Math.max(one, LEAST)) / lines[i].temperature + lines[i].bias);
  if (!between) return softmax(logits).map(Math.fround);
  const risk = malignantProbability(between, malignant, probabilities);
  const [within, benign] = [true, false].map((kind) =>
    softmax(logits.map((logit, i) => (malignant[i] === kind ? logit : -Infinity))));
  return within.map((share, i) => Math.fround(risk * share + (1 - risk) * benign[i]));
}

/** Numbers that sum to 1; 0 where a logit is -Infinity. */
function softmax(logits) {
  const most = Math.max(...logits);
  const powers = logits.map((logit) => Math.exp(logit - most));
  const sum = powers.reduce((total, power) => total + power, 0);
  return powers.map((power) => power / sum);
}

function malignantProbability({ temperature, bias }, malignant, probabilities) {
  const share = (kind) => probabilities.reduce((sum, one, i) => sum + (malignant[i] === kind ? Math.max(one, LEAST) : 0), 0);
  const stretched = (Math.log(share(true)) - Math.log(share(false))) / temperature + bias;
  const power = Math.exp(-Math.abs(stretched));
  return (stretched < 0 ? power : 1) / (1 + power);
}
