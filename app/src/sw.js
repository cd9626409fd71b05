// Keeps the app for use without a network. build.py fills in the version and the files.
//
// Each version has a cache of its own and a folder of its own, so none is ever mixed with another. A new version
// waits until every page of the old one is closed, or until somebody asks for it.

const VERSION = "{{version}}";
const FILES = {{files}};
const RUNTIMES = {{runtimes}};
const OWN = `lesionedge ${self.registration.scope} `; // another copy of the app may be beside this one
const CACHE = OWN + VERSION;

self.addEventListener("install", (event) => event.waitUntil(install()));

async function install() {
  const cache = await caches.open(CACHE);
  const former = await formerRuntime();
  await keep(cache, [...FILES, ...(former ? RUNTIMES[former] : [])]);
}

/** Fetch what the cache lacks: all of it, or nothing is kept. */
async function keep(cache, files) {
  const missing = [];
  for (const file of files) if (!(await cache.match(file))) missing.push(file);
  // What has the version in its address is as it was; for the rest, ask the server.
  const fresh = (file) => (file.includes(VERSION) ? "default" : "no-cache");
  await cache.addAll(missing.map((file) => new Request(file, { cache: fresh(file) })));
}

/** Return which build of the runtime an older version has kept: the new one needs the same. */
async function formerRuntime() {
  for (const name of await ownCaches()) {
    const kept = (await (await caches.open(name)).keys()).map(({ url }) => url.split("/").pop());
    const found = Object.keys(RUNTIMES).find((kind) => RUNTIMES[kind].some((file) => kept.includes(file.split("/").pop())));
    if (found) return found;
  }
  return null;
}

/** Return the caches of this copy; up to version 0.2.0 they were not named after its place. */
async function ownCaches() {
  const found = [];
  for (const name of await caches.keys()) {
    const [first] = name.startsWith("lesionedge-") ? await (await caches.open(name)).keys() : [];
    if (name.startsWith(OWN) || first?.url.startsWith(self.registration.scope)) found.push(name);
  }
  return found;
}

self.addEventListener("activate", (event) => event.waitUntil(takeOver()));

async function takeOver() {
  const old = (await ownCaches()).filter((name) => name !== CACHE);
  await Promise.all(old.map((name) => caches.delete(name)));
  // Do not await it: every fetch waits for this event, and Firefox's promise waits for every thread of the page. The
  // threads of LiteRT.js block while they have no work, so Firefox would end this worker, and the fetches, after 60 s.
  self.clients.claim();
}

self.addEventListener("message", (event) => {
  if (event.data.kind === "take over") self.skipWaiting();
  if (event.data.kind === "keep") event.waitUntil(keepRuntime(event.source, event.data.runtime.kind));
});

/** Keep the build of the runtime that the page uses, and tell the page. */
async function keepRuntime(page, kind) {
  try {
    await keep(await caches.open(CACHE), RUNTIMES[kind]);
    page.postMessage({ kind: "kept" });
  } catch {
    page.postMessage({ kind: "not kept" });
  }
}

self.addEventListener("fetch", (event) => {
  const { request } = event;
  if (request.method !== "GET" || !request.url.startsWith(self.registration.scope)) return;
  event.respondWith(answer(request));
});

async function answer(request) {
  const cache = await caches.open(CACHE);
  const found = await cache.match(isPage(request) ? "./" : request, { ignoreSearch: true });
  return found ?? fetch(request);
}

/** Return whether a request is for the app's page; other pages may lie below it. */
function isPage({ mode, url }) {
  const { origin, pathname } = new URL(url);
  const { scope } = self.registration;
  return mode === "navigate" && [scope, `${scope}index.html`].includes(origin + pathname);
}
