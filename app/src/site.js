// The site profile in the settings: chosen by file, and kept on this device for the model that it belongs to.

import { byId, say, why } from "./page.js";
import { check, MOST_CHARACTERS, read } from "./profile.js";
import { forget, remember, remembered } from "./storage.js";
import { text } from "./words.js";

let model = null;
let chosen = null;
let changed = null;

const place = () => `profile-${model.name}`;

/** Return the profile in use, or null. */
export const profile = () => chosen;

/** Use a model, with the profile that is kept for it. */
export function use(facts) {
  model = facts;
  byId("profile").disabled = false;
  const kept = remembered(place());
  try {
    chosen = kept === null ? null : checked(kept);
  } catch (error) { // the app is newer, and so is its model
    chosen = null;
    forget(place());
    say(why(error));
  }
  changed();
}

/** Say which profile is in use. */
export function show() {
  byId("profile-name").textContent = chosen ? chosen.name : text("noneChosen");
  byId("profile-remove").hidden = chosen === null;
}

function checked(written) {
  const found = read(written);
  check(found, model);
  return found;
}

async function choose(file) {
  try {
    const written = await file.slice(0, 4 * MOST_CHARACTERS).text();
    chosen = checked(written);
    changed();
    say(text("profileUsed", chosen.name));
    remember(place(), written);
  } catch (error) {
    say(why(error));
  }
}

function remove() {
  chosen = null;
  forget(place());
  changed();
  byId("profile").focus();
  say(text("profileRemoved"));
}

/** Make the buttons work; `act` is called when another profile is in use. */
export function begin(act) {
  changed = act;
  byId("profile").addEventListener("change", (event) => {
    if (event.target.files.length) choose(event.target.files[0]);
    event.target.value = "";
  });
  byId("profile-remove").addEventListener("click", remove);
}
