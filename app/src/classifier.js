// The models, run by LiteRT.js: from pixels to a prediction, as lesionedge/classifier.py does it.

import { readable } from "./image.js";
import { faults, SIDE_PX } from "./quality.js";
import { predict } from "./prediction.js";
import { recalibrated } from "./profile.js";
import { asImage, cropBox, resize, shrinkBy2 } from "./resample.js";

const GATE_LABELS = { dermoscopic: 0, clinical: 1, other: 2 };

/** One network: {run(input) -> Promise of Float32Array}. */
export class Network {
  constructor(litert, compiled, shape) {
    this.litert = litert;
    this.compiled = compiled;
    this.shape = shape;
  }

  static async load(litert, url, input) {
    const compiled = await litert.loadAndCompile(url, { accelerator: "wasm" });
    return new Network(litert, compiled, [1, input.height_px, input.width_px, 3]);
  }

  /** Return the probabilities of an input, uint8 RGB. */
  async run(pixels) {
    const tensor = new this.litert.Tensor(pixels, this.shape);
    const outputs = await this.compiled.run(tensor);
    const found = Float32Array.from(outputs[0].toTypedArray());
    for (const one of [tensor, ...outputs]) one.delete();
    return found;
  }
}

export class Classifier {
  /**
   * @param network The model's.
   * @param model Its facts: name, labels, input, point.
   * @param gate {network, threshold}.
   */
  constructor(network, model, gate, notices) {
    Object.assign(this, { network, model, gate, notices });
  }

  /** Pixels of the network's input. */
  get size() {
    return this.model.input.width_px * this.model.input.height_px;
  }

  /**
   * Classify an upright ImageBitmap.
   * @param codes Codes of warnings that decoding brought.
   * @param profile A site profile for this model, or null.
   */
  async classify(bitmap, { codes = [], decodeMs = 0, profile = null } = {}) {
    const begin = performance.now();
    const pixels = this.inputOf(bitmap);
    const prepared = performance.now();
    const verdict = await this.judge(pixels);
    const checked = performance.now();
    const probabilities = await this.probabilities(pixels, profile);
    const timings_ms = {
      decode: decodeMs, preprocess: prepared - begin, check: checked - prepared, invoke: performance.now() - checked,
    };
    const warnings = [...codes, ...verdict.codes].map((code) => ({ code, text: this.notices[code] }));
    return predict(probabilities, this.model, { warnings, reliable: verdict.reliable, timings_ms, profile });
  }

  /** Return the probabilities of an input, recalibrated by the site profile if there is one. */
  async probabilities(pixels, profile) {
    const found = Array.from(await this.network.run(pixels));
    return profile ? recalibrated(profile, found) : found;
  }

  /** Return the exact pixels that the network gets: uint8 RGB. */
  inputOf(bitmap) {
    const { input } = this.model;
    const size = { width: input.width_px, height: input.height_px };
    return resize(readable(bitmap), cropBox(bitmap.width, bitmap.height, input), size);
  }

  async judge(pixels) {
    const seen = this.thumbnail(pixels);
    const found = await this.gate.network.run(seen);
    const reliable = found[GATE_LABELS.dermoscopic] >= this.gate.threshold;
    const isClinical = found[GATE_LABELS.clinical] >= found[GATE_LABELS.other];
    const refusal = isClinical ? "not-dermoscopic" : "not-a-lesion";
    return { reliable, codes: [...(reliable ? [] : [refusal]), ...faults(seen, { ofLesion: reliable })] };
  }

  thumbnail(pixels) {
    const { width_px: width, height_px: height } = this.model.input;
    const image = asImage(pixels, width, height);
    if (width === 2 * SIDE_PX && height === 2 * SIDE_PX) return shrinkBy2(image);
    const whole = { left: 0, top: 0, right: width, bottom: height };
    return resize(image, whole, { width: SIDE_PX, height: SIDE_PX }, "box");
  }
}
