// All texts that people read. The page of `lesionedge serve` is in English; the phone's app adds a language.
// Texts that wording.py has too are the same there.

/** Return whether a label and its name are the same, so that one of them is enough. */
export const isOwnName = (label, name) => label.toLowerCase() === name.toLowerCase();

export const EN = {
  note: "For research use only: not a diagnosis.",
  cannotTell: "Can't tell: not a dermoscopic image",
  headline: (name, label, percent) => `${isOwnName(label, name) ? name : `${name} (${label})`}, ${percent}`,
  malignant: "malignant",
  risk: (percent) => `Malignant ${percent}`,
  unknown: "unknown",
  above: (sensitivity, percent, of) => `above the threshold of ${percent} (${sensitivity} % sensitivity${of ? ` for ${of}` : ""})`,
  below: (sensitivity, percent, of) => `below the threshold of ${percent} (${sensitivity} % sensitivity${of ? ` for ${of}` : ""})`,
  byProfile: (name) => `by profile ${name}`,
  warning: (text) => `Warning: ${text}`,
  failed: (text) => `Failed: ${text}`,
  noise: "this browser hides pixels from pages, against fingerprinting: switch that off for this page, or use another",
  unreadable: "it cannot be read: it was moved, changed or deleted; choose it again",
  showProbabilities: "Show the probabilities",
  barsCaption: "Probability of each diagnosis",
  diagnosis: "Diagnosis",
  probability: "Probability",
  took: (ms, parts) => `Took ${ms} ms (${parts}).`,
  decimal: ".",
};

let texts = EN;

/** Use languages, the last one first; texts that they lack stay English. */
export function speak(...languages) {
  texts = Object.assign({}, EN, ...languages);
}

/** Return the text of a key in the language in use. */
export function text(key, ...values) {
  const found = texts[key];
  return typeof found === "function" ? found(...values) : found;
}

/** Return whether a key has a text in the language in use, or in English. */
export const has = (key) => Object.keys(texts).includes(key);

/** Return a probability, 0-1, in percent: never 0.0 %, and 100.0 % only for 1. */
export function percent(share) {
  if (share < 0.0005) return `<0${text("decimal")}1 %`;
  if (share < 1 && share > 0.9995) return `>99${text("decimal")}9 %`;
  return `${(share * 100).toFixed(1).replace(".", text("decimal"))} %`;
}
