// The app's page: the ways in, the settings, and what the model is.

import * as camera from "./camera.js";
import { onFilesDropped } from "./drop.js";
import * as engine from "./engine.js";
import { fetchedFacts } from "./fetched.js";
import * as history from "./history.js";
import { LANGUAGES, preferred } from "./languages.js";
import * as offline from "./offline.js";
import { byId, say, translate, why } from "./page.js";
import { element, row } from "./result.js";
import * as results from "./results.js";
import * as site from "./site.js";
import { remember, remembered } from "./storage.js";
import { has, speak, text } from "./words.js";

let facts = null;
let model = null;

// --- ways in -------------------------------------------------------------------------------------

byId("files").addEventListener("change", (event) => {
  results.add(event.target.files);
  event.target.value = ""; // the same file may be chosen again
});

document.addEventListener("paste", (event) => {
  const files = [...event.clipboardData.files];
  if (!files.length) return;
  event.preventDefault();
  results.add(files);
});

onFilesDropped(byId("drop"), (files) => results.add(files));

// --- language and model --------------------------------------------------------------------------

function speakIt(code) {
  document.documentElement.lang = code;
  speak(LANGUAGES.en.words, LANGUAGES[code].words);
  byId("language").value = code;
  translate();
  offline.retell();
  showModel();
  for (const option of byId("model").options) option.textContent = text(`model-${option.value}`);
}

function offerLanguages() {
  for (const [code, { name }] of Object.entries(LANGUAGES)) {
    const option = element("option", "", name);
    option.value = code;
    option.lang = code;
    byId("language").append(option);
  }
  byId("language").addEventListener("change", (event) => {
    remember("language", event.target.value);
    speakIt(event.target.value);
    results.retell();
    history.show().catch((error) => say(why(error)));
  });
}

function offerModels() {
  for (const { name } of facts.models) {
    const option = element("option", "", text(`model-${name}`));
    option.value = name;
    byId("model").append(option);
  }
  byId("model").addEventListener("change", (event) => {
    remember("model", event.target.value);
    take(event.target.value);
  });
}

/** Use a model from now on. */
async function take(name) {
  model = facts.models.find((one) => one.name === name) ?? facts.models[0];
  byId("model").value = model.name;
  site.use(model);
  try {
    return await engine.load(model.name);
  } catch (error) {
    say(why(error));
    return null;
  }
}

/** Use the model with its site profile, or without one. */
function useBoth() {
  results.use(model, site.profile());
  camera.use(model, site.profile());
  showModel();
}

function showModel() {
  byId("model-name").textContent = model ? text("modelName", model.name, site.profile()?.name) : "";
  site.show();
}

// --- about the model -----------------------------------------------------------------------------

byId("about-open").addEventListener("click", () => {
  if (!model) return;
  byId("about-content").replaceChildren(...aboutOf(model));
  byId("about").showModal();
});
byId("about-close").addEventListener("click", () => byId("about").close());

const english = (kind, content) => Object.assign(element(kind, "", content), { lang: "en" });

function aboutOf({ name, card, labels }) {
  const list = element("dl");
  const rows = {
    model: `${name}: ${card.description}`, intendedUse: card.intended_use,
    trainedOn: `${card.data.name}, ${card.data.split}`, licence: card.licence, attribution: card.attribution,
    software: `lesionedge ${facts.version}, LiteRT.js ${facts.litert}`,
  };
  for (const [key, content] of Object.entries(rows)) list.append(element("dt", "", text(key)), english("dd", content));
  const limits = element("ul");
  for (const limit of card.limits) limits.append(english("li", limit));
  const table = element("table");
  table.append(element("caption", "hidden", text("knows")));
  table.append(row("th", [["", text("diagnosis")], ["", text("code")], ["", text("kind")]]));
  for (const { label, name: own, malignant } of labels) {
    const shown = has(`label-${label}`) ? text(`label-${label}`) : own;
    table.append(row("td", [["", shown], ["", label], ["", text(malignant ? "malignant" : "benign")]]));
  }
  return [list, element("h3", "", text("limits")), limits, table];
}

// --- the beginning -------------------------------------------------------------------------------

async function begin() {
  offerLanguages();
  speakIt(preferred(remembered("language"), navigator.languages));
  say(text("none"));
  results.begin();
  camera.begin(results.add);
  site.begin(useBoth);
  facts = await fetchedFacts();
  offerModels();
  const loading = take(remembered("model"));
  await history.begin().catch((error) => say(why(error)));
  const loaded = await loading;
  document.body.dataset.ready = loaded ? loaded.runtime.kind : "failed";
  if (loaded) await offline.begin(loaded).catch(offline.fail);
}

begin().catch((error) => say(why(error)));
