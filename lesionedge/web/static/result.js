// Shows predictions to people and writes them to files, for the page of `lesionedge serve` and the phone's app.

import { isOwnName, percent, text } from "./words.js";

export function element(name, kind = "", content = "") {
  const node = document.createElement(name);
  if (kind) node.className = kind;
  if (content) node.textContent = content;
  return node;
}

export const paragraph = (kind, content) => element("p", kind, content);

export function row(cell, values) {
  const line = element("tr");
  for (const [kind, content, isSilent] of values) { // screen readers skip silent cells
    const node = element(isSilent ? "td" : cell, kind, content);
    if (isSilent) node.setAttribute("aria-hidden", "true");
    else if (cell === "th") node.scope = "col";
    line.append(node);
  }
  return line;
}

export function folded(title, content) {
  const node = element("details");
  node.append(element("summary", "", title), content);
  return node;
}

export const isRefused = (found) => found.reliable === false;

export function headline(found) {
  if (isRefused(found)) return text("cannotTell");
  return text("headline", found.name, found.label, percent(found.probability));
}

export function riskOf({ malignant_probability: malignant, operating_point: point, profile }) {
  const parts = [text("risk", malignant === null ? text("unknown") : percent(malignant))];
  if (point) {
    const side = point.above ? "above" : "below";
    parts.push(text(side, Math.round(point.sensitivity * 100), percent(point.threshold), point.of));
  }
  if (profile) parts.push(text("byProfile", profile));
  return parts.join(", ");
}

/** Return the parts of a result's card, from the headline to the timings. */
export function factsOf(found) {
  const parts = [paragraph("headline", headline(found))];
  if (!isRefused(found)) parts.push(paragraph("malignant", riskOf(found)));
  parts.push(...found.warnings.map((one) => paragraph("warning", text("warning", one))));
  const bars = barsOf(found.predictions);
  parts.push(isRefused(found) ? folded(text("showProbabilities"), bars) : bars);
  parts.push(paragraph("small", timing(found)));
  return parts;
}

function timing(found) {
  const own = Object.entries(found.timings_ms).filter(([stage]) => stage !== "wait");
  const sum = own.reduce((total, [, took]) => total + took, 0);
  const parts = own.map(([stage, took]) => `${stage} ${took.toFixed(1)}`).join(", ");
  return text("took", sum.toFixed(1), parts);
}

function barsOf(predictions) {
  const table = element("table", "bars");
  const caption = element("caption", "hidden", text("barsCaption"));
  const head = element("thead");
  head.append(row("th", [["", text("diagnosis")], ["share", "", true], ["percent", text("probability")]]));
  head.className = "hidden";
  const body = element("tbody");
  for (const one of predictions) body.append(barOf(one));
  table.append(caption, head, body);
  return table;
}

function barOf(one) {
  const line = element("tr");
  const own = isOwnName(one.code, one.label);
  const name = element("th", "", own ? one.label : `${one.label} `);
  name.scope = "row";
  if (!own) name.append(element("code", "", one.code));
  if (one.malignant) name.append(element("span", "kind", ` ${text("malignant")}`));
  const share = element("td", "share");
  share.setAttribute("aria-hidden", "true");
  const track = element("span", "track");
  const fill = element("span", one.malignant ? "fill malign" : "fill");
  fill.style.width = `${(one.prob * 100).toFixed(2)}%`;
  track.append(fill);
  share.append(track);
  line.append(name, share, element("td", "percent", percent(one.prob)));
  return line;
}

// --- files -------------------------------------------------------------------------------------

const quoted = (value) => {
  const content = String(value ?? "");
  return /[",\r\n]/.test(content) ? `"${content.replaceAll('"', '""')}"` : content;
};

/** Return results as `lesionedge predict --format csv` writes them; each is {name, found, error}. */
export function asCsv(entries, codes) {
  const first = ["path", "label", "name", "probability", "malignant_probability", "reliable", "warnings"];
  const last = entries.some(({ found }) => found?.profile) ? ["profile", "error"] : ["error"];
  const lines = [[...first, ...codes.map((code) => `p_${code}`), ...last]];
  for (const { name, found, error } of entries) {
    if (!found && !error) continue;
    const by = Object.fromEntries((found?.top ?? []).map((one) => [one.label, one.probability]));
    lines.push([
      name, found?.label, found?.name, found?.probability, found?.malignant_probability,
      found?.reliable, found?.warnings.join("; "), ...codes.map((code) => by[code]),
      ...(last.length > 1 ? [found?.profile] : []), error,
    ]);
  }
  return lines.map((line) => `${line.map(quoted).join(",")}\n`).join("");
}

/** Return results with the keys of `lesionedge predict --format json`. */
export function asJson(entries, note) {
  const done = entries.filter((one) => one.found || one.error);
  const results = done.map(({ name, found, error }) => (error ? { path: name, error } : { ...found, path: name }));
  return JSON.stringify({ note, results }, null, 1);
}

/** Make the browser save a file. */
export function save(content, kind, name) {
  const link = element("a");
  link.href = URL.createObjectURL(content instanceof Blob ? content : new Blob([content], { type: kind }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
