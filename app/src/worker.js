// The thread that classifies. A classic worker, because LiteRT.js loads its WebAssembly by importScripts.
const work = import("./work.js");
self.onmessage = async (event) => (await work).receive(event.data);
