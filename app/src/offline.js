// The service worker: keeps the app for use without a network, and tells of a new version.

import { byId } from "./page.js";
import { text } from "./words.js";

let isAsked = false;
let told = () => "";

function tell(...words) {
  told = () => text(...words);
  retell();
}

/** Say whether it works without a network, in the language that is spoken. */
export function retell() {
  byId("offline").textContent = told();
}

/** Start it, where the browser lets this page have one. */
export async function begin({ runtime }) {
  if (!navigator.serviceWorker) return; // plain HTTP, or a private window
  let isControlled = navigator.serviceWorker.controller !== null;
  navigator.serviceWorker.addEventListener("controllerchange", () => {
    if (isAsked) location.reload();
    else if (isControlled) show(() => location.reload()); // another page of the app asked for it
    isControlled = true; // the first one takes over silently
  });
  navigator.serviceWorker.addEventListener("message", ({ data }) => {
    if (data.kind === "kept") tell("offline");
    if (data.kind === "not kept") tell("notKept");
  });
  const registration = await navigator.serviceWorker.register("sw.js", { updateViaCache: "none" });
  registration.addEventListener("updatefound", () => offer(registration));
  offer(registration);
  tellIfNotKept(registration);
  const ready = await navigator.serviceWorker.ready;
  ready.active.postMessage({ kind: "keep", runtime });
}

/** Say if the first version cannot be kept; an older one goes on. */
function tellIfNotKept(registration) {
  const { installing, waiting, active } = registration;
  if (!installing && !waiting && !active) tell("notKept");
  installing?.addEventListener("statechange", () => {
    if (installing.state === "redundant" && !registration.active) tell("notKept");
  });
}

/** Say why it does not start. */
export function fail(error) {
  tell("notOffline", error.message);
}

function offer(registration) {
  const offerIt = (worker) => {
    if (worker?.state !== "installed" || !navigator.serviceWorker.controller) return;
    show(() => {
      isAsked = true;
      worker.postMessage({ kind: "take over" });
    });
  };
  offerIt(registration.waiting);
  registration.installing?.addEventListener("statechange", (event) => offerIt(event.target));
}

/** Offer the new version; only the page in which somebody takes it loads anew, so that no results are lost. */
function show(act) {
  byId("update").hidden = false;
  byId("update-now").onclick = act;
}
