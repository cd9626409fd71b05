// Asks the thread that classifies. One question is one promise; a new thread takes the place of one that broke.

import { Fault } from "./fault.js";

let worker = null;
let counter = 0;
const waiting = new Map();

function started() {
  if (worker) return worker;
  worker = new Worker(new URL("worker.js", import.meta.url));
  worker.onmessage = ({ data: { id, found, fault, broken, progress } }) => {
    if (broken) {
      stop(new Fault(broken.key, ...broken.values));
      return;
    }
    const asked = waiting.get(id);
    if (progress !== undefined) {
      asked?.progress?.(progress);
      return;
    }
    waiting.delete(id);
    if (fault) asked?.reject(new Fault(fault.key, ...fault.values));
    else asked?.resolve(found);
  };
  worker.onerror = (event) => {
    event.preventDefault();
    stop(new Fault("bug", event.message || "the worker stopped"));
  };
  return worker;
}

function stop(fault) {
  worker?.terminate();
  worker = null;
  for (const asked of waiting.values()) asked.reject(fault);
  waiting.clear();
}

function ask(kind, given, { transfer = [], progress } = {}) {
  counter += 1;
  const id = counter;
  const promise = new Promise((resolve, reject) => waiting.set(id, { resolve, reject, progress }));
  started().postMessage({ id, kind, ...given }, transfer);
  return { id, promise };
}

/** Load a model, so that the first image does not wait for it; returns {model, runtime}. */
export const load = (model) => ask("load", { model }).promise;

/** Classify a file, or an ImageBitmap, which is then gone; with a site profile of the model, or null. */
export function classify(model, source, profile = null) {
  const transfer = source instanceof ImageBitmap ? [source] : [];
  return ask("classify", { model, source, profile }, { transfer }).promise;
}

/** Return the exact pixels that a model gets. */
export const input = (model, source) => ask("input", { model, source }).promise;

/** Explain a prediction: {promise, cancel}; the promise is of null where it was cancelled. */
export function explain(model, source, { label, progress, profile = null }) {
  const { id, promise } = ask("explain", { model, source, label, profile }, { progress });
  return { promise, cancel: () => worker?.postMessage({ id: 0, kind: "cancel", of: id }) };
}
