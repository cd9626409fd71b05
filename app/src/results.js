// The images, their predictions and what can be done with them.

import { drawHeat, drawPrediction } from "./drawing.js";
import * as engine from "./engine.js";
import * as history from "./history.js";
import { shown } from "./image.js";
import { byId, say, spoken, translate, why } from "./page.js";
import { bars } from "./prediction.js";
import { asCsv, asJson, element, factsOf, headline, paragraph, save } from "./result.js";
import { EN, text } from "./words.js";

const entries = [];
const queue = [];
let counter = 0;
let isRunning = false;
let keeping = Promise.resolve();
let showing = Promise.resolve();
let model = null;
let profile = null;

/** Use a model, and its site profile or null, for the images that come. */
export function use(facts, own) {
  [model, profile] = [facts, own];
  // Images that were chosen before the model was known.
  for (const entry of queue) if (!entry.model) Object.assign(entry, { model, profile });
  work();
}

/** Take images and classify them, one after the other. */
export function add(files) {
  const taken = [...files];
  if (!taken.length) return;
  for (const file of taken) {
    counter += 1;
    const entry = { file, name: file.name || `image ${counter}`, model, profile };
    entry.node = cardOf(entry);
    entries.unshift(entry);
    byId("results").prepend(entry.node);
    queue.push(entry);
  }
  say(taken.length === 1 ? text("classifying", entries[0].name) : text("classifyingMany", taken.length));
  showTools();
  work();
}

async function work() {
  if (isRunning || !model) return;
  isRunning = true;
  try {
    while (queue.length) await classify(queue.shift());
  } finally {
    isRunning = false;
  }
}

function cardOf(entry) {
  const node = byId("result").content.firstElementChild.cloneNode(true);
  translate(node);
  node.querySelector("h3").textContent = entry.name;
  const preview = node.querySelector(".preview");
  preview.alt = text("imageOf", entry.name);
  preview.addEventListener("error", () => {
    preview.hidden = true;
    node.querySelector("figcaption").hidden = false;
  });
  showing = showing.then(() => preshow(entry, preview)); // each reads a whole file
  const remove = node.querySelector(".remove");
  remove.setAttribute("aria-label", text("removeName", entry.name));
  remove.addEventListener("click", () => forget(entry));
  return node;
}

/** Show an image upright, as it is classified. */
async function preshow(entry, preview) {
  if (!entries.includes(entry)) return;
  const image = await shown(entry.file).catch(() => entry.file);
  if (!entries.includes(entry)) return;
  entry.url = URL.createObjectURL(image);
  preview.src = entry.url;
}

async function classify(entry) {
  try {
    entry.found = await engine.classify(entry.model.name, entry.file, entry.profile);
  } catch (error) {
    entry.fault = error;
    entry.error = why(error);
  }
  if (!entries.includes(entry)) return;
  show(entry);
  if (!queue.length) say(summary(entry));
  if (entry.found) keep(entry);
}

/** Keep results in the history one after the other; the next image does not wait for it. */
function keep(entry) {
  keeping = keeping.then(() => history.keep(entry)).catch((error) => say(why(error)));
}

/** Show what is known of an image, in the language that is spoken. */
function show(entry) {
  const facts = entry.node.querySelector(".facts");
  if (entry.fault) {
    entry.error = why(entry.fault);
    facts.replaceChildren(paragraph("fault", text("failed", entry.error)));
  } else if (entry.found) {
    facts.replaceChildren(...factsOf(withBars(entry)), buttonsOf(entry));
  }
}

function withBars({ found, model: { labels } }) {
  const shown = spoken(found);
  return { ...shown, predictions: bars(shown, labels) };
}

function summary(entry) {
  const known = entries.filter((one) => one.found || one.error);
  if (known.length > 1) {
    const failed = known.filter((one) => one.error).length;
    return text("doneMany", known.length - failed, known.length, failed);
  }
  if (entry.error) return text("doneFailed", entry.name, entry.error);
  if (!entry.found) return text("classifying", entry.name);
  return text("done", entry.name, headline(spoken(entry.found)));
}

/** Write everything again after the language has changed. */
export function retell() {
  for (const entry of entries) {
    translate(entry.node);
    entry.node.querySelector(".remove").setAttribute("aria-label", text("removeName", entry.name));
    entry.node.querySelector(".preview").alt = text("imageOf", entry.name);
    entry.explaining?.cancel();
    hideHeat(entry);
    show(entry);
  }
  say(entries.length ? summary(entries[0]) : text("none"));
}

// --- heat map and images to keep -----------------------------------------------------------------

function buttonsOf(entry) {
  const buttons = element("div", "buttons");
  buttons.append(heatButton(entry), button(text("saveImage"), () => keepImage(entry)));
  if (canShare("a.png", "image/png")) buttons.append(button(text("share"), () => share(annotated(entry))));
  return buttons;
}

function button(title, act) {
  const node = element("button", "", title);
  node.type = "button";
  node.addEventListener("click", act);
  return node;
}

function heatButton(entry) {
  const node = button(text("heat"), () => toggleHeat(entry, node));
  node.setAttribute("aria-pressed", "false");
  return node;
}

async function toggleHeat(entry, node) {
  if (entry.explaining) {
    entry.explaining.cancel();
    return;
  }
  if (node.getAttribute("aria-pressed") === "true") {
    node.setAttribute("aria-pressed", "false");
    hideHeat(entry);
    return;
  }
  try {
    entry.explained ??= await explained(entry, node);
    if (!entry.explained) return;
    await drawHeat(entry.node.querySelector(".heat"), entry, spoken);
    if (!node.isConnected) return; // the language has changed
    entry.node.querySelector(".heat").hidden = false;
    entry.node.querySelector(".preview").hidden = true;
    node.setAttribute("aria-pressed", "true");
    say(text("heatShown"));
  } catch (error) {
    say(why(error));
  }
}

/** Compute a heat map; meanwhile its button cancels it. */
async function explained(entry, node) {
  const bar = element("progress");
  bar.setAttribute("aria-label", text("heat"));
  const progress = (share) => { bar.value = share; };
  const { model: { name }, file, found: { label }, profile: own } = entry;
  entry.explaining = engine.explain(name, file, { label, progress, profile: own });
  node.textContent = text("cancel");
  node.after(bar);
  say(text("heatRuns"));
  try {
    const explanation = await entry.explaining.promise;
    if (!explanation) say(text("heatCancelled"));
    return explanation;
  } finally {
    entry.explaining = null;
    node.textContent = text("heat");
    bar.remove();
  }
}

function hideHeat({ node }) {
  node.querySelector(".heat").hidden = true;
  node.querySelector(".preview").hidden = !node.querySelector("figcaption").hidden; // it cannot be shown
}

async function annotated(entry) {
  const canvas = await drawPrediction(entry, spoken);
  const blob = await new Promise((resolve) => { canvas.toBlob(resolve, "image/png"); });
  return new File([blob], `${entry.name.replace(/\.[^.]*$/, "")}-lesionedge.png`, { type: "image/png" });
}

async function keepImage(entry) {
  try {
    const file = await annotated(entry);
    save(file, file.type, file.name);
  } catch (error) {
    say(why(error));
  }
}

/** Offer a file in the system's share sheet. */
async function share(making) {
  try {
    await navigator.share({ files: [await making], text: text("note") });
  } catch (error) {
    if (error.name !== "AbortError") say(why(error));
  }
}

const canShare = (name, type) => Boolean(navigator.canShare?.({ files: [new File([], name, { type })] }));

// --- removing and saving -------------------------------------------------------------------------

function forget(entry) {
  entries.splice(entries.indexOf(entry), 1);
  if (queue.includes(entry)) queue.splice(queue.indexOf(entry), 1);
  entry.explaining?.cancel();
  const next = entry.node.nextElementSibling ?? entry.node.previousElementSibling;
  entry.node.remove();
  if (entry.url) URL.revokeObjectURL(entry.url);
  (next ?? byId("files")).focus();
  say(text("removed", entry.name));
  showTools();
}

function showTools() {
  byId("tools").hidden = entries.length === 0;
}

const inOrder = () => [...entries].reverse();
const CSV = "lesionedge.csv";

function csvFile() {
  const codes = [...new Set(entries.flatMap((one) => (one.model?.labels ?? []).map(({ label }) => label)))];
  return new File([asCsv(inOrder(), codes)], CSV, { type: "text/csv" });
}

/** Make the buttons above the results work. */
export function begin() {
  byId("remove-all").addEventListener("click", () => {
    while (entries.length) forget(entries[0]);
    say(text("allRemoved"));
  });
  byId("save-csv").addEventListener("click", () => save(csvFile(), "text/csv", CSV));
  byId("share-csv").hidden = !canShare(CSV, "text/csv");
  byId("share-csv").addEventListener("click", () => share(csvFile()));
  byId("save-json").addEventListener("click", () => {
    save(asJson(inOrder(), EN.note), "application/json", "lesionedge.json");
  });
}
