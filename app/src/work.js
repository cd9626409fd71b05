// What the thread does: loads the models, classifies images, explains predictions. engine.js asks it.

import { Classifier, Network } from "./classifier.js";
import { explain } from "./explain.js";
import { Fault } from "./fault.js";
import { fetched, fetchedFacts } from "./fetched.js";
import { decode } from "./image.js";
import { areTrue } from "./pixels.js";
import * as litert from "./vendor/litert.js";

const RUNTIME = new URL("vendor/", import.meta.url).href;
const cancelled = new Set();
const classifiers = new Map();
let facts = null;
let runtime = null;
let gate = null;

/** Handle a message {id, kind, …}; its response has the same id. */
export async function receive({ id, kind, ...given }) {
  if (kind === "cancel") {
    cancelled.add(given.of);
    return;
  }
  try {
    const found = await JOBS[kind](given, id);
    self.postMessage({ id, found });
  } catch (error) {
    const fault = error instanceof Fault ? error : new Fault("bug", String(error?.message ?? error));
    self.postMessage({ id, fault: { key: fault.key, values: fault.values } });
  } finally {
    cancelled.delete(id);
  }
}

const JOBS = { load, classify, input, explain: explained };

/** Load a model, the gate and the runtime. */
async function load({ model }) {
  const classifier = await classifierOf(model);
  await classifier.judge(new Uint8Array(classifier.size * 3)); // the first run of a network takes longer
  return { model: classifier.model, runtime };
}

async function classify({ model, source, profile }) {
  const classifier = await classifierOf(model);
  const { bitmap, codes, decodeMs } = await opened(source);
  try {
    return await classifier.classify(bitmap, { codes, decodeMs, profile });
  } finally {
    bitmap.close();
  }
}

/** Return the exact pixels that a network gets: for checks against Python. */
async function input({ model, source }) {
  const { bitmap } = await opened(source);
  return (await classifierOf(model)).inputOf(bitmap);
}

async function explained({ model, source, label, profile }, id) {
  const classifier = await classifierOf(model);
  const { bitmap } = await opened(source);
  try {
    const progress = (share) => self.postMessage({ id, progress: share });
    return await explain(classifier, bitmap, { label, profile, progress, isCancelled: () => cancelled.has(id) });
  } finally {
    bitmap.close();
  }
}

async function opened(source) {
  if (source instanceof ImageBitmap) return { bitmap: source, codes: [], decodeMs: 0 };
  const begin = performance.now();
  const found = await decode(source);
  return { ...found, decodeMs: performance.now() - begin };
}

function classifierOf(name) {
  if (!classifiers.has(name)) {
    const loading = loadClassifier(name);
    loading.catch(() => classifiers.delete(name)); // the network may be back at the next try
    classifiers.set(name, loading);
  }
  return classifiers.get(name);
}

async function loadClassifier(name) {
  if (!areTrue(new OffscreenCanvas(1, 1))) throw new Fault("noise");
  facts ??= await fetchedFacts();
  const model = facts.models.find((one) => one.name === name);
  await startRuntime();
  gate ??= { network: await network(facts.gate), threshold: facts.gate.threshold };
  return new Classifier(await network(model), model, gate, facts.notices);
}

async function network({ file, input }) {
  return Network.load(litert, new Uint8Array(await (await fetched(file)).arrayBuffer()), input);
}

let starting = null;

function startRuntime() {
  starting ??= loadRuntime();
  starting.catch(() => { starting = null; });
  return starting;
}

/** Load LiteRT.js: with threads where the page is isolated from other sites, for old browsers without wide SIMD. */
async function loadRuntime() {
  // The networks are in 8 bits: the CPU's results are Python's, and a GPU's would not be.
  Object.defineProperty(navigator, "gpu", { value: undefined, configurable: true });
  const isWide = await litert.supportsFeature("relaxedSimd");
  const threads = isWide && self.crossOriginIsolated && navigator.hardwareConcurrency > 1;
  const kind = threads ? "_threaded" : isWide ? "" : "_compat";
  self.Module = {
    locateFile: (file) => RUNTIME + file,
    mainScriptUrlOrBlob: `${RUNTIME}litert_wasm${kind}_internal.js`,
    printErr: (line) => /^(INFO|WARNING)/.test(line) || console.error(line),
  };
  try {
    await litert.loadLiteRt(RUNTIME, { threads });
  } catch (error) {
    throw new Fault("runtime", String(error?.message ?? error));
  }
  runtime = { kind: kind.slice(1) || "plain", threads };
}
