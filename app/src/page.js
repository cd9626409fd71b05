// Small parts of the page: places by their id, texts of the language, the line that says what happens.

import { has, text } from "./words.js";

export const byId = (id) => document.getElementById(id);

/** Put the language's words into everything below a node that names them. */
export function translate(node = document) {
  for (const one of node.querySelectorAll("[data-text]")) one.textContent = text(one.dataset.text);
  for (const one of node.querySelectorAll("[data-label]")) one.setAttribute("aria-label", text(one.dataset.label));
}

export function say(words) {
  byId("status").textContent = words;
}

/** Return what people read of an error. */
export const why = (error) => (error.key ? text(error.key, ...error.values) : text("bug", error.message));

/** Return a prediction with its names and warnings in the language that is spoken. */
export function spoken(found) {
  const name = (label, english) => (has(`label-${label}`) ? text(`label-${label}`) : english);
  const notice = (code, english) => (has(`notice-${code}`) ? text(`notice-${code}`) : english);
  return {
    ...found, name: name(found.label, found.name),
    top: found.top.map((one) => ({ ...one, name: name(one.label, one.name) })),
    warnings: found.warnings.map((one, i) => notice(found.warning_codes[i], one)),
  };
}
