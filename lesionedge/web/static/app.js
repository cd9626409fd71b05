// The page of `lesionedge serve`. It uses no library and needs no build step.

import { onFilesDropped } from "./drop.js";
import { areTrue } from "./pixels.js";
import { asCsv, asJson, element, factsOf, folded, headline, paragraph, row, save } from "./result.js";
import { EN, text } from "./words.js";

const SIDE_BY_SIDE = 2;
const MOST_TRIES = 6;
const byId = (id) => document.getElementById(id);

let model = null;
const entries = [];
const queue = [];
let running = 0;
let counter = 0;

// --- requests to the server --------------------------------------------------------------------

const KEY = "token";
let token = takeToken() ?? kept();

// Where the browser stores nothing for pages, the token lasts as long as this one.
function kept() {
  try {
    return sessionStorage.getItem(KEY);
  } catch {
    return null;
  }
}

function keep(found) {
  try {
    sessionStorage.setItem(KEY, found);
  } catch {
    // it is in "token"
  }
}

function takeToken() {
  // Browsers send nothing after "#" to the server, so a link may carry the token there. A token has no spaces, so
  // a plus sign in a link that was made by hand is itself.
  const linked = new URLSearchParams(location.hash.slice(1).replaceAll("+", "%2B")).get("token");
  if (linked) {
    history.replaceState(null, "", location.pathname);
    keep(linked);
  }
  return linked;
}

// The page is open, and the same link with a token is opened in its place.
addEventListener("hashchange", () => {
  const linked = takeToken();
  if (!linked) return;
  token = linked;
  if (byId("access").open) {
    byId("token").value = linked;
    byId("access").close();
  }
});

async function request(path, options = {}) {
  for (;;) {
    const used = token;
    const headers = used ? { Authorization: `Bearer ${used}` } : {};
    const response = await fetch(path, { ...options, headers, cache: "no-store" });
    if (response.status !== 401) return response;
    if (used === token) await askForToken(used ? "That token is wrong." : "");
  }
}

let asking = null;

function askForToken(fault) {
  asking ??= new Promise((resolve) => {
    byId("access-fault").textContent = fault;
    byId("access").showModal();
    byId("access").addEventListener("close", () => {
      token = byId("token").value.trim();
      keep(token);
      byId("token").value = "";
      asking = null;
      resolve();
    }, { once: true });
  });
  return asking;
}

byId("access").addEventListener("cancel", (event) => event.preventDefault());

async function reasonOf(response) {
  try {
    return (await response.json()).error;
  } catch {
    return `the server returned status ${response.status}`;
  }
}

/** Return what people read of a request that failed: for browsers a file that is gone looks like a server that is. */
async function whyNot(error, file) {
  if (!(error instanceof TypeError)) return error.message;
  const isThere = await file.stream().getReader().read().then(() => true, () => false);
  return isThere ? "the server cannot be reached" : text("unreadable");
}

const pause = (seconds) => new Promise((resolve) => setTimeout(resolve, seconds * 1000));

async function post(path, file) {
  for (let attempt = 1; ; attempt += 1) {
    const form = new FormData();
    form.append("image", file, file.name || "image");
    const response = await request(path, { method: "POST", body: form });
    if (response.ok) return response;
    const busy = response.status === 503 || response.status === 429;
    if (!busy || attempt === MOST_TRIES) throw new Error(await reasonOf(response));
    await pause(Number(response.headers.get("Retry-After")) || attempt);
  }
}

// --- images and their predictions --------------------------------------------------------------

function add(files) {
  const taken = [...files];
  if (!taken.length) return;
  for (const file of taken) {
    const entry = { number: (counter += 1), file, name: file.name || `image ${counter}` };
    entry.url = URL.createObjectURL(file);
    entry.node = cardOf(entry);
    entries.unshift(entry);
    byId("results").prepend(entry.node);
    queue.push(entry);
  }
  say(taken.length === 1 ? `Classifying ${taken[0].name || "the image"} …` : `Classifying ${taken.length} images …`);
  showTools();
  work();
}

function cardOf(entry) {
  const node = byId("result").content.firstElementChild.cloneNode(true);
  node.querySelector("h3").textContent = entry.name;
  const preview = node.querySelector(".preview");
  preview.alt = `The image ${entry.name}`;
  preview.src = entry.url;
  preview.addEventListener("error", () => {
    preview.hidden = true;
    node.querySelector("figcaption").hidden = false;
  });
  const remove = node.querySelector(".remove");
  remove.setAttribute("aria-label", `Remove ${entry.name}`);
  remove.addEventListener("click", () => forget(entry));
  return node;
}

function work() {
  while (running < SIDE_BY_SIDE && queue.length) {
    running += 1;
    classify(queue.shift()).finally(() => {
      running -= 1;
      work();
    });
  }
}

async function classify(entry) {
  const begin = performance.now();
  try {
    entry.found = await (await post("v1/predict", entry.file)).json();
    entry.tookMs = performance.now() - begin;
  } catch (error) {
    entry.error = await whyNot(error, entry.file);
  }
  await ready; // a prediction may arrive before it is known whether there are heat maps
  if (!entries.includes(entry)) return;
  const facts = entry.node.querySelector(".facts");
  facts.replaceChildren(...(
    entry.error ? [paragraph("fault", text("failed", entry.error))] : withNetwork(factsOf(entry.found), entry.tookMs)
  ));
  if (entry.found && model?.explain) facts.append(heatButton(entry));
  if (queue.length === 0 && running <= 1) say(summary(entry));
}

function summary(entry) {
  if (entries.length > 1) {
    const failed = entries.filter((one) => one.error).length;
    const done = entries.length - failed;
    return `${done} of ${entries.length} images classified${failed ? `, ${failed} failed` : ""}.`;
  }
  return `${entry.name}: ${entry.error ? `failed: ${entry.error}` : `${headline(entry.found)}.`}`;
}

function withNetwork(parts, tookMs) {
  const line = parts.at(-1);
  line.textContent = `${line.textContent.replace(/\.$/, "")}; ${tookMs.toFixed(0)} ms with the network.`;
  return parts;
}

function heatButton(entry) {
  const button = element("button", "", "Heat map");
  button.type = "button";
  button.setAttribute("aria-pressed", "false");
  button.addEventListener("click", async () => {
    const on = button.getAttribute("aria-pressed") !== "true";
    const image = entry.node.querySelector(".heat");
    if (on && !image.src) {
      button.disabled = true;
      say("The heat map is being computed.");
      try {
        image.src = URL.createObjectURL(await (await post("v1/explain", entry.file)).blob());
        say("The heat map is shown.");
      } catch (error) {
        say(`No heat map: ${await whyNot(error, entry.file)}`);
        return;
      } finally {
        button.disabled = false;
      }
    }
    button.setAttribute("aria-pressed", String(on));
    image.hidden = !on;
    const isShown = entry.node.querySelector("figcaption").hidden; // else the browser cannot show it
    entry.node.querySelector(".preview").hidden = on || !isShown;
  });
  return button;
}

function forget(entry) {
  const at = entries.indexOf(entry);
  entries.splice(at, 1);
  if (queue.includes(entry)) queue.splice(queue.indexOf(entry), 1);
  const next = entry.node.nextElementSibling ?? entry.node.previousElementSibling;
  entry.node.remove();
  URL.revokeObjectURL(entry.url);
  const heat = entry.node.querySelector(".heat").src;
  if (heat) URL.revokeObjectURL(heat);
  (next ?? byId("files")).focus();
  say(`${entry.name} is removed.`);
  showTools();
}

function showTools() {
  byId("tools").hidden = entries.length === 0;
}

byId("remove-all").addEventListener("click", () => {
  while (entries.length) forget(entries[0]);
  say("All images are removed.");
});

// --- small parts -------------------------------------------------------------------------------

function say(words) {
  byId("status").textContent = words;
}

// --- choosing, pasting and dropping images; the browser's camera -------------------------------

for (const id of ["files", "photo-file"]) {
  byId(id).addEventListener("change", (event) => {
    add(event.target.files);
    event.target.value = ""; // the same file may be chosen again
  });
}

document.addEventListener("paste", (event) => {
  const files = [...event.clipboardData.files];
  if (!files.length) return;
  event.preventDefault();
  add(files);
});

onFilesDropped(byId("drop"), (files) => add(files));

let stream = null;
let isOpening = false;

byId("camera-open").addEventListener("click", async () => {
  if (isOpening) return;
  isOpening = true;
  stopCamera();
  try {
    const video = { facingMode: "environment", width: { ideal: 1920 }, height: { ideal: 1080 } };
    stream = await navigator.mediaDevices.getUserMedia({ video });
  } catch (error) {
    closeCamera();
    say(`The camera cannot be used: ${error.message}`);
    return;
  } finally {
    isOpening = false;
  }
  stream.getVideoTracks()[0].addEventListener("ended", loseCamera);
  byId("video").srcObject = stream;
  byId("viewfinder").hidden = false;
  byId("camera-take").focus();
});

byId("camera-take").addEventListener("click", () => {
  const video = byId("video");
  if (!video.videoWidth) return;
  if (!areTrue(element("canvas"))) {
    say(`No photo: ${text("noise")}.`);
    return;
  }
  const canvas = element("canvas");
  [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
  canvas.getContext("2d").drawImage(video, 0, 0);
  const name = `camera ${new Date().toLocaleTimeString()}.jpg`;
  canvas.toBlob((blob) => add([new File([blob], name, { type: blob.type })]), "image/jpeg", 0.95);
});

function stopCamera() {
  for (const track of stream?.getTracks() ?? []) track.stop();
  stream = null;
}

function loseCamera({ target }) {
  if (!stream?.getTracks().includes(target)) return;
  closeCamera();
  say("The camera stopped: it was unplugged, or another app uses it.");
}

byId("camera-close").addEventListener("click", closeCamera);

function closeCamera() {
  stopCamera();
  byId("viewfinder").hidden = true;
  byId("camera-open").focus();
}

// A browser lets a page use the camera on this machine or over HTTPS. A phone's camera app always works.
const mayUseCamera = Boolean(navigator.mediaDevices?.getUserMedia);
byId("camera-open").hidden = !mayUseCamera;
byId("photo").hidden = mayUseCamera || !matchMedia("(pointer: coarse)").matches;

// --- downloading results -----------------------------------------------------------------------

const inOrder = () => [...entries].reverse();

byId("save-csv").addEventListener("click", () => {
  const codes = (model?.labels ?? []).map((one) => one.label);
  save(asCsv(inOrder(), codes), "text/csv", "lesionedge.csv");
});

byId("save-json").addEventListener("click", () => {
  save(asJson(inOrder(), EN.note), "application/json", "lesionedge.json");
});

// --- the model ---------------------------------------------------------------------------------

byId("about-open").addEventListener("click", async () => {
  await ready;
  if (!model) return;
  byId("about-content").replaceChildren(...aboutOf(model));
  byId("about").showModal();
});
byId("about-close").addEventListener("click", () => byId("about").close());

function aboutOf({ card, ...facts }) {
  const list = element("dl");
  const rows = {
    Model: `${facts.model}${card.description ? `: ${card.description}` : ""}`,
    "Intended use": card.intended_use ?? EN.note,
    "Trained on": card.data && `${card.data.name}, split ${card.data.split}`,
    Licence: card.licence,
    Attribution: card.attribution,
    Software: `lesionedge ${facts.version}, ${facts.runtime}`,
  };
  for (const [title, text] of Object.entries(rows)) {
    if (text) list.append(element("dt", "", title), element("dd", "", text));
  }
  const parts = [list, ...limitsOf(card), labelsOf(facts.labels), ...metricsOf(card)];
  if (facts.card_text) parts.push(folded("The whole model card", element("pre", "", facts.card_text)));
  return parts;
}

function limitsOf(card) {
  if (!card.limits?.length) return [];
  const list = element("ul");
  for (const limit of card.limits) list.append(element("li", "", limit));
  return [element("h3", "", "Limits"), list];
}

const KINDS = new Map([[true, "malignant"], [false, "benign"], [null, "unknown"]]);

function labelsOf(labels) {
  const table = element("table");
  table.append(element("caption", "hidden", "The model's classes"));
  table.append(row("th", [["", "Diagnosis"], ["", "Code"], ["", "Kind"]]));
  for (const one of labels) {
    table.append(row("td", [["", one.name], ["", one.label], ["", KINDS.get(one.malignant)]]));
  }
  return table;
}

const HEADLINES = {
  balanced_accuracy: "balanced accuracy", melanoma_auroc: "melanoma AUROC",
  malignant_auroc: "malignant AUROC", ece: "expected calibration error",
};

function metricsOf(card) {
  const parts = [];
  for (const [split, kinds] of Object.entries(card.metrics ?? {})) {
    const figures = kinds.int8 ?? kinds.float16 ?? kinds.float;
    if (!figures) continue;
    const table = element("table");
    table.append(element("caption", "hidden", `Measured on the ${split} split`));
    table.append(row("th", [["", "Measure"], ["", "Value"], ["", "95 % interval"]]));
    for (const [key, title] of Object.entries(HEADLINES)) {
      const one = figures[key];
      if (one) table.append(row("td", [["", title], ["", one.value.toFixed(3)], ["", `${one.low.toFixed(3)} to ${one.high.toFixed(3)}`]]));
    }
    parts.push(element("h3", "", `Measured on ${figures.images} images that training did not use (${split})`), table);
  }
  return parts;
}

// --- the device's own camera -------------------------------------------------------------------

let paused = false;

byId("live-pause").addEventListener("click", (event) => {
  paused = !paused;
  event.target.setAttribute("aria-pressed", String(paused));
});

async function watch() {
  let seen = 0;
  let announced = { label: "", at: 0 };
  for (;;) {
    if (paused || document.hidden) {
      await pause(0.3);
      continue;
    }
    let fault = "";
    try {
      const response = await request(`live?after=${seen}`);
      if (response.status === 200) {
        const found = await response.json();
        seen = found.number;
        if (!paused) showLive(found);
        announced = announce(found, announced);
      } else {
        fault = response.status === 204 ? "The camera has sent no frame for ten seconds." : await reasonOf(response);
      }
    } catch {
      fault = "the server cannot be reached";
    }
    if (byId("live-fault").textContent !== fault) byId("live-fault").textContent = fault; // is read out once
    if (fault) await pause(2);
  }
}

function showLive(found) {
  byId("live-image").src = found.image;
  byId("live-image").hidden = false;
  const parts = factsOf(found);
  parts.at(-1).textContent += ` ${found.age_ms.toFixed(0)} ms after the frame was captured.`;
  byId("live-result").replaceChildren(...parts);
}

// Screen readers announce only a changed label, at most every five seconds.
function announce(found, announced) {
  const label = headline(found).replace(/, [^,]*$/, "");
  if (label === announced.label || performance.now() - announced.at < 5000) return announced;
  say(`The device's camera: ${headline(found)}.`);
  return { label, at: performance.now() };
}

async function begin() {
  try {
    const response = await request("model");
    if (!response.ok) throw new Error(await reasonOf(response));
    model = await response.json();
  } catch (error) {
    say(`The server cannot be used: ${error.message}`);
    return;
  }
  const profile = model.profile === null ? "" : `, adjusted by the site profile ${model.profile}`;
  byId("model-name").textContent = `Model: ${model.model}${profile}.`;
  if (model.camera) {
    byId("live").hidden = false;
    watch();
  }
}

const ready = begin();
