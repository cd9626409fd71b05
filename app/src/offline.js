// The service worker: keeps the app for use without a network, and tells of a new version.

import { byId } from "./page.js";
import { text } from "./words.js";

/** Start it, where the browser lets this page have one. */
export async function begin({ runtime }) {
  if (!navigator.serviceWorker) return; // plain HTTP, or a private window
  const had = navigator.serviceWorker.controller;
  let reloading = false;
  navigator.serviceWorker.addEventListener("controllerchange", () => {
    if (!had || reloading) return; // the first one takes over silently
    reloading = true;
    location.reload();
  });
  navigator.serviceWorker.addEventListener("message", ({ data }) => {
    if (data.kind === "kept") byId("offline").textContent = text("offline");
  });
  const registration = await navigator.serviceWorker.register("sw.js", { updateViaCache: "none" });
  registration.addEventListener("updatefound", () => offer(registration));
  offer(registration);
  const ready = await navigator.serviceWorker.ready;
  ready.active.postMessage({ kind: "keep", runtime });
}

function offer(registration) {
  const show = (worker) => {
    if (worker?.state !== "installed" || !navigator.serviceWorker.controller) return;
    byId("update").hidden = false;
    byId("update-now").onclick = () => worker.postMessage({ kind: "take over" });
  };
  show(registration.waiting);
  registration.installing?.addEventListener("statechange", (event) => show(event.target));
}
