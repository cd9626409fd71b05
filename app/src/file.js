// What an image file says of itself before anything decodes it: its kind and size, whether all of it is there.

import { Fault } from "./fault.js";
import { jpeg } from "./jpeg.js";

export const MAX_PIXELS = 200_000_000; // lesionedge/image.py
const MIN_SIDE_PX = 16;
const MAX_BYTES = 100_000_000;

/**
 * Check an image file's bytes.
 * @returns {animated, isOpaque} whether it holds several frames, and whether its kind knows no transparency.
 * @throws Fault It is no image, cut short, too small or too large.
 */
export function check(bytes) {
  if (!bytes.length) throw new Fault("empty");
  const found = look(bytes);
  if (found.size) checkSize(...found.size);
  if (!found.whole) throw new Fault("damaged");
  return { animated: found.animated ?? false, isOpaque: found.isOpaque ?? false };
}

/** Check how long a file is, before it is read. */
export function checkLength({ size }) {
  if (size > MAX_BYTES) throw new Fault("tooManyBytes", Math.ceil(size / 1e6), MAX_BYTES / 1e6);
}

export function checkSize(width, height) {
  const pixels = width * height;
  if (pixels > MAX_PIXELS) {
    throw new Fault("tooLarge", width, height, (pixels / 1e6).toFixed(0), MAX_PIXELS / 1e6);
  }
  if (Math.min(width, height) < MIN_SIDE_PX) throw new Fault("tooSmall", width, height, MIN_SIDE_PX);
}

function look(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const starts = (at, text) => [...text].every((letter, i) => bytes[at + i] === letter.charCodeAt(0));
  try {
    if (starts(0, "\xff\xd8\xff")) return { ...jpeg(view), isOpaque: true };
    if (starts(0, "\x89PNG\r\n\x1a\n")) return png(view);
    if (starts(0, "GIF8")) return gif(view);
    if (starts(0, "RIFF") && starts(8, "WEBP")) return webp(view);
    if (starts(0, "BM")) return bmp(view);
    // AVIF, HEIC and TIFF: some browsers read them, and then know best what is wrong.
    if (starts(4, "ftyp") || starts(0, "II*\0") || starts(0, "MM\0*")) return { whole: true };
  } catch (error) {
    if (error instanceof RangeError) return { whole: false };
    throw error;
  }
  throw new Fault("notAnImage");
}

function bmp(view) {
  const isOld = view.getUint32(14, true) === 12; // OS/2's header has sides of 16 bits
  const side = (number) => (isOld ? view.getUint16(18 + 2 * number, true) : view.getInt32(18 + 4 * number, true));
  return { size: [side(0), Math.abs(side(1))], whole: true };
}

function png(view) {
  let [size, animated] = [null, false];
  for (let at = 8; at + 12 <= view.byteLength;) {
    const length = view.getUint32(at);
    const kind = view.getUint32(at + 4);
    if (kind === 0x49484452) size = [view.getUint32(at + 8), view.getUint32(at + 12)]; // IHDR
    if (kind === 0x6163544c) animated = view.getUint32(at + 8) > 1; // acTL
    if (kind === 0x49454e44) return { size, animated, whole: true }; // IEND
    at += 12 + length;
  }
  return { size, animated, whole: false };
}

function gif(view) {
  const size = [view.getUint16(6, true), view.getUint16(8, true)];
  const table = (flags) => (flags & 0x80 ? 3 << ((flags & 7) + 1) : 0);
  const past = (start) => {
    let at = start;
    while (view.getUint8(at) !== 0) at += view.getUint8(at) + 1;
    return at + 1;
  };
  let frames = 0;
  for (let at = 13 + table(view.getUint8(10)); ;) {
    if (at === view.byteLength) return { size, animated: frames > 1, whole: frames > 0 }; // some end without a trailer
    const kind = view.getUint8(at);
    if (kind === 0x3b) return { size, animated: frames > 1, whole: frames > 0 };
    if (kind === 0x21) {
      at = past(at + 2);
    } else if (kind === 0x2c) {
      frames += 1;
      at = past(at + 11 + table(view.getUint8(at + 9)));
    } else {
      return { size, animated: frames > 1, whole: false };
    }
  }
}

function webp(view) {
  const whole = view.getUint32(4, true) + 8 <= view.byteLength;
  const kind = view.getUint32(12);
  if (kind === 0x56503858) { // VP8X
    const side = (at) => (view.getUint16(at, true) | (view.getUint8(at + 2) << 16)) + 1;
    return { size: [side(24), side(27)], animated: Boolean(view.getUint8(20) & 2), whole };
  }
  if (kind === 0x5650384c) { // VP8L
    const bits = view.getUint32(21, true);
    return { size: [(bits & 0x3fff) + 1, ((bits >> 14) & 0x3fff) + 1], whole };
  }
  return { size: [view.getUint16(26, true) & 0x3fff, view.getUint16(28, true) & 0x3fff], whole };
}
