// The phone's camera: a live view with the part that is classified framed, and warnings while aiming.

import * as engine from "./engine.js";
import { byId, say, spoken, why } from "./page.js";
import { element, headline, isRefused, paragraph } from "./result.js";
import { text } from "./words.js";

const JPEG_QUALITY = 0.95;
let stream = null;
let isOpening = false;
let take = null;
let model = null;
let profile = null;

/** Use a model, and its site profile or null, for the frames that come. */
export function use(facts, own) {
  [model, profile] = [facts, own];
}

async function open() {
  if (isOpening) return;
  isOpening = true;
  stop();
  try {
    const video = { facingMode: "environment", width: { ideal: 1920 }, height: { ideal: 1080 }, zoom: true };
    stream = await navigator.mediaDevices.getUserMedia({ video });
  } catch (error) {
    close();
    say(text("noCamera", error.message));
    return;
  } finally {
    isOpening = false;
  }
  const [track] = stream.getVideoTracks();
  track.addEventListener("ended", lost);
  byId("video").srcObject = stream;
  byId("viewfinder").hidden = false;
  byId("aim").textContent = text("aiming");
  showTools(track);
  byId("camera-take").focus();
  watch(stream);
}

function stop() {
  for (const track of stream?.getTracks() ?? []) track.stop();
  stream = null;
}

/** The camera was unplugged, or another app took it. */
function lost({ target }) {
  if (!stream?.getTracks().includes(target)) return;
  close();
  say(text("lostCamera"));
}

function close() {
  stop();
  byId("video").srcObject = null;
  byId("viewfinder").hidden = true;
  byId("camera-open").focus();
}

/** Offer light and zoom where the camera has them. */
function showTools(track) {
  const can = track.getCapabilities?.() ?? {};
  byId("torch").hidden = !can.torch;
  byId("torch").setAttribute("aria-pressed", "false");
  byId("zoom-label").hidden = !can.zoom || can.zoom.max <= can.zoom.min;
  if (can.zoom) {
    const { min, max, step } = can.zoom;
    Object.assign(byId("zoom"), { min, max, step: step || "any", value: track.getSettings().zoom ?? min });
  }
}

/** Change a setting of the camera; return whether it has changed. */
async function adjust(setting) {
  try {
    await stream?.getVideoTracks()[0].applyConstraints({ advanced: [setting] });
    return true;
  } catch (error) {
    say(text("refused", error.message));
    return false;
  }
}

/** Classify the newest frame, again and again; frames that come meanwhile are left out. */
async function watch(watched) {
  const video = byId("video");
  while (stream === watched) {
    await new Promise((resolve) => { (video.requestVideoFrameCallback ?? requestAnimationFrame).call(
      video.requestVideoFrameCallback ? video : window, resolve); });
    if (stream !== watched || !video.videoWidth || !model || document.hidden) continue;
    frame(video);
    try {
      const found = await engine.classify(model.name, await createImageBitmap(video), profile);
      if (stream === watched) tell(spoken(found));
    } catch (error) {
      byId("aim").textContent = why(error);
      await new Promise((resolve) => { setTimeout(resolve, 1000); });
    }
  }
}

/** Frame the centre square, which is what the model sees. */
function frame(video) {
  const scale = Math.min(video.clientWidth / video.videoWidth, video.clientHeight / video.videoHeight);
  const side = `${Math.round(Math.min(video.videoWidth, video.videoHeight) * scale)}px`;
  byId("frame").style.width = side;
  byId("frame").style.height = side;
}

function tell(found) {
  byId("aim").textContent = headline(found);
  const lines = found.warnings.map((one) => paragraph("warning", one));
  const fine = isRefused(found) ? text("aiming") : text("fine");
  const items = (lines.length ? lines : [paragraph("small", fine)]).map((line) => {
    const item = element("li");
    item.append(line);
    return item;
  });
  byId("aim-warnings").replaceChildren(...items);
}

function photograph() {
  const video = byId("video");
  if (!video.videoWidth) return;
  const canvas = element("canvas");
  [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
  canvas.getContext("2d").drawImage(video, 0, 0);
  const name = `camera ${new Date().toLocaleTimeString(document.documentElement.lang)}.jpg`;
  canvas.toBlob((blob) => take([new File([blob], name, { type: blob.type })]), "image/jpeg", JPEG_QUALITY);
}

/** Make the camera's buttons work; photographs go to add. */
export function begin(add) {
  take = add;
  byId("camera-open").hidden = !navigator.mediaDevices?.getUserMedia;
  byId("camera-open").addEventListener("click", open);
  byId("camera-close").addEventListener("click", close);
  byId("camera-take").addEventListener("click", photograph);
  byId("torch").addEventListener("click", async ({ target }) => {
    const on = target.getAttribute("aria-pressed") !== "true";
    if (await adjust({ torch: on })) target.setAttribute("aria-pressed", String(on));
  });
  byId("zoom").addEventListener("input", (event) => adjust({ zoom: Number(event.target.value) }));
}
