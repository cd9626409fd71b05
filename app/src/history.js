// Results that stay on this device, only where it is switched on: in IndexedDB, with a small copy of the image.

import { Fault } from "./fault.js";
import { shown } from "./image.js";
import { byId, say, spoken, why } from "./page.js";
import { element, headline, paragraph } from "./result.js";
import { forget, remember, remembered } from "./storage.js";
import { text } from "./words.js";

const NAME = "lesionedge";
const STORE = "results";
const SIDE_PX = 160;
const MOST = 500;
const SWITCH = "keep";

const isOn = () => remembered(SWITCH) === "yes";
const isKnown = () => remembered(SWITCH) !== null; // once on: some results may still be kept

function opened() {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open(NAME, 1);
    request.onupgradeneeded = () => request.result.createObjectStore(STORE, { autoIncrement: true });
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

async function inStore(mode, act) {
  try {
    return await acted(mode, act);
  } catch (error) { // no space, or a private window
    throw new Fault("storage", error.message);
  }
}

async function acted(mode, act) {
  const base = await opened();
  try {
    const transaction = base.transaction(STORE, mode);
    const request = act(transaction.objectStore(STORE));
    await new Promise((resolve, reject) => {
      transaction.oncomplete = resolve;
      // If there is no space for the commit, no other event comes.
      transaction.onabort = () => reject(transaction.error ?? new Error("aborted"));
    });
    return request?.result;
  } finally {
    base.close();
  }
}

/** Keep a result, if that is wanted. */
export async function keep({ name, found, file }) {
  if (!isOn()) return;
  const image = await small(file);
  await inStore("readwrite", (store) => {
    store.add({ time: new Date().toISOString(), name, found, image });
    const keys = store.getAllKeys();
    keys.onsuccess = () => keys.result.slice(0, -MOST).forEach((key) => store.delete(key));
  });
  await show();
}

async function small(file) {
  const bitmap = await createImageBitmap(await shown(file));
  const side = Math.min(bitmap.width, bitmap.height);
  const canvas = new OffscreenCanvas(SIDE_PX, SIDE_PX);
  const place = [(bitmap.width - side) / 2, (bitmap.height - side) / 2, side, side];
  const context = canvas.getContext("2d");
  context.fillStyle = "#fff"; // where the image is transparent
  context.fillRect(0, 0, SIDE_PX, SIDE_PX);
  context.drawImage(bitmap, ...place, 0, 0, SIDE_PX, SIDE_PX);
  bitmap.close();
  return canvas.convertToBlob({ type: "image/jpeg", quality: 0.85 });
}

/** Show what is kept; hide the history where it is off and nothing is kept. */
export async function show() {
  byId("keep").checked = isOn();
  for (const image of byId("history-list").querySelectorAll("img")) URL.revokeObjectURL(image.src);
  const kept = isKnown() ? await inStore("readonly", (store) => store.getAll()) : [];
  byId("history").hidden = !isOn() && !kept.length;
  const lines = kept.reverse().map(lineOf);
  byId("history-list").replaceChildren(...(lines.length ? lines : [element("li", "", text("noHistory"))]));
}

function lineOf({ time, name, found, image }) {
  const line = element("li");
  const copy = element("img");
  copy.src = URL.createObjectURL(image);
  copy.alt = text("imageOf", name);
  const facts = element("div");
  facts.append(paragraph("", headline(spoken(found))));
  facts.append(paragraph("small", `${new Date(time).toLocaleString(document.documentElement.lang)}, ${name}`));
  line.append(copy, facts);
  return line;
}

async function forgetAll() {
  await inStore("readwrite", (store) => store.clear());
  if (!isOn()) forget(SWITCH);
  await show();
  say(text("historyDeleted"));
}

/** Make the switch and the button work. */
export async function begin() {
  byId("keep").addEventListener("change", (event) => {
    remember(SWITCH, event.target.checked ? "yes" : "no");
    show().catch((error) => say(why(error)));
  });
  byId("history-delete").addEventListener("click", () => {
    forgetAll().catch((error) => say(why(error)));
  });
  await show();
}
