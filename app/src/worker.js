// The thread that classifies. A classic worker, because LiteRT.js loads its WebAssembly by importScripts.
const work = import("./work.js");

self.onmessage = async ({ data }) => {
  try {
    await work;
  } catch { // a worker never fetches a module again, so engine.js ends this one
    self.postMessage({ broken: { key: "unreachable", values: [] } });
    return;
  }
  (await work).receive(data);
};
