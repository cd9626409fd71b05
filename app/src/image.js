// From a file or a frame of the camera to pixels that resample.js takes. Decoding and colours are the browser's.
// createImageBitmap turns a JPEG upright by its EXIF; older browsers do not know the option that says so.

import { Fault } from "./fault.js";
import { check, checkLength, checkSize } from "./file.js";
import { orientationOf, upright } from "./orientation.js";

// Some cameras leave out the marker at a JPEG's end, and browsers then refuse the file. Bytes after an end are ignored.
const JPEG_END = Uint8Array.of(0xff, 0xd9);

/**
 * Decode an image file.
 * @param blob The file.
 * @returns {bitmap, codes}: an upright ImageBitmap, and the codes of warnings.
 * @throws Fault It cannot be read.
 */
export async function decode(blob) {
  const bytes = await contentOf(blob);
  const { animated, isOpaque } = check(bytes);
  const { orientation, parts } = await orientationOf(bytes);
  let bitmap;
  try {
    bitmap = upright(await createImageBitmap(new Blob([...parts, JPEG_END])), orientation);
  } catch {
    throw new Fault("undecodable");
  }
  checkSize(bitmap.width, bitmap.height);
  if (!isOpaque && isTransparent(bitmap)) throw new Fault("transparent");
  return { bitmap, codes: animated ? ["animated"] : [] };
}

async function contentOf(blob) {
  checkLength(blob);
  try {
    return new Uint8Array(await blob.arrayBuffer());
  } catch {
    throw new Fault("unreadable");
  }
}

/** Return an image that the browser shows upright: the file, or a turned copy. */
export async function shown(file) {
  const { orientation, parts } = await orientationOf(await contentOf(file));
  if (!(orientation > 1 && orientation < 9)) return new Blob([file, JPEG_END], { type: file.type });
  const bitmap = upright(await createImageBitmap(new Blob([...parts, JPEG_END])), orientation);
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  canvas.getContext("bitmaprenderer").transferFromImageBitmap(bitmap);
  return canvas.convertToBlob();
}

/** Return an ImageBitmap as resample.js takes it; transparency lies over white. */
export function readable(bitmap) {
  let canvas = null;
  let context = null;
  const read = (left, top, width, height) => {
    if (canvas?.width !== width || canvas.height !== height) {
      canvas = new OffscreenCanvas(width, height);
      context = canvas.getContext("2d", { willReadFrequently: true, colorSpace: "srgb" });
      context.imageSmoothingEnabled = false;
    }
    context.fillStyle = "#fff";
    context.fillRect(0, 0, width, height);
    context.drawImage(bitmap, left, top, width, height, 0, 0, width, height);
    return context.getImageData(0, 0, width, height, { colorSpace: "srgb" }).data;
  };
  return { width: bitmap.width, height: bitmap.height, read };
}

/** Return whether nothing of an image can be seen. */
function isTransparent(bitmap) {
  const side = 64;
  const context = new OffscreenCanvas(side, side).getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0, side, side);
  const { data } = context.getImageData(0, 0, side, side);
  for (let at = 3; at < data.length; at += 4) if (data[at]) return false;
  return true;
}
