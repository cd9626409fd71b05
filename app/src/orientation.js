// The orientation that a PNG's or WebP's EXIF or XMP names, or a JPEG's XMP. Browsers differ in whether they follow it,
// and turn a JPEG by its EXIF only; Pillow follows all. So the app reads it, hides it from the browser and turns the image.

const EXIF = "Exif\0\0";
const XMP = "http://ns.adobe.com/xap/1.0/\0"; // in a JPEG
const XMP_KEYWORD = "XML:com.adobe.xmp\0"; // in a PNG
const PROFILE_KEYWORD = "Raw profile type exif\0"; // in a PNG of ImageMagick: EXIF in hexadecimal digits
const MOST_BYTES = 4_000_000; // of a PNG's text
const TAG = 0x0112;
const SIZES = { 1: "getUint8", 3: "getUint16", 4: "getUint32" };
const IN_XMP = /tiff:Orientation(?:="|>)([0-9])/;

/**
 * Return a file's orientation, 1 to 8, and the parts of the file that do not name it.
 * @returns {orientation, parts}; 1 and all of the file where the browser turns it, and for other kinds.
 */
export async function orientationOf(bytes) {
  const told = isJpeg(bytes) ? ofJpeg(bytes) : isPng(bytes) ? await ofPng(bytes) : isWebp(bytes) ? ofWebp(bytes) : null;
  if (!told) return { orientation: 1, parts: [bytes] };
  const { exif, xmp, parts } = told;
  const first = exif && inExif(exif);
  if (first !== null && isJpeg(bytes)) return { orientation: 1, parts };
  return { orientation: first ?? Number(IN_XMP.exec(xmp)?.[1] ?? 1), parts };
}

const letters = (bytes, from, to) => String.fromCharCode(...bytes.subarray(from, to));
const startsWith = (bytes, text) => letters(bytes, 0, text.length) === text;
const isJpeg = (bytes) => startsWith(bytes, "\xff\xd8\xff");
const isPng = (bytes) => startsWith(bytes, "\x89PNG\r\n\x1a\n");
const isWebp = (bytes) => startsWith(bytes, "RIFF") && letters(bytes, 8, 12) === "WEBP";
const asText = (bytes) => new TextDecoder("latin1").decode(bytes);

function ofJpeg(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let [exif, xmp] = [null, ""];
  for (let at = 2; at + 4 <= bytes.length && bytes[at] === 0xff && bytes[at + 1] !== 0xda;) {
    const end = at + 2 + view.getUint16(at + 2);
    const content = bytes.subarray(at + 4, end);
    if (bytes[at + 1] === 0xe1 && startsWith(content, EXIF)) exif ??= content;
    if (bytes[at + 1] === 0xe1 && startsWith(content, XMP)) xmp = asText(content);
    at = end;
  }
  return { exif, xmp, parts: [bytes] };
}

async function ofPng(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const parts = [bytes.subarray(0, 8)];
  let [exif, xmp, profile] = [null, "", null];
  for (let at = 8; at + 12 <= bytes.length;) {
    const end = at + 12 + view.getUint32(at);
    const kind = letters(bytes, at + 4, at + 8);
    const content = bytes.subarray(at + 8, end - 4);
    if (kind === "eXIf") exif = content;
    else if (isText(kind) && startsWith(content, PROFILE_KEYWORD)) profile = fromHex(await textOf(kind, content));
    else parts.push(bytes.subarray(at, end));
    if (kind === "iTXt" && startsWith(content, XMP_KEYWORD)) xmp = await textOf(kind, content);
    at = end;
  }
  return { exif: exif ?? profile, xmp, parts };
}

const isText = (kind) => ["tEXt", "zTXt", "iTXt"].includes(kind);

/** Return the text of a PNG's chunk. */
async function textOf(kind, content) {
  let at = content.indexOf(0) + 1;
  const isPacked = kind === "zTXt" || (kind === "iTXt" && content[at] === 1);
  if (kind === "zTXt") at += 1;
  if (kind === "iTXt") at = content.indexOf(0, content.indexOf(0, at + 2) + 1) + 1; // behind its languages
  return asText(isPacked ? await inflated(content.subarray(at)) : content.subarray(at));
}

/** Return inflated bytes; of damaged ones, those before the damage. */
async function inflated(bytes) {
  const reader = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate")).getReader();
  const parts = [];
  try {
    for (let length = 0; length < MOST_BYTES;) {
      const { value, done } = await reader.read();
      if (done) break;
      parts.push(value);
      length += value.length;
    }
    await reader.cancel();
  } catch {
    // damaged; the pixels may still be fine
  }
  return new Uint8Array(await new Blob(parts).arrayBuffer());
}

/** Return the bytes of a "raw profile": behind its name and its length. */
function fromHex(text) {
  const pairs = text.split("\n").slice(3).join("").match(/[0-9a-f]{2}/gi) ?? [];
  return Uint8Array.from(pairs, (pair) => parseInt(pair, 16));
}

function ofWebp(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const silent = bytes.slice();
  let [exif, xmp] = [null, ""];
  for (let at = 12; at + 8 <= bytes.length;) {
    const kind = letters(bytes, at, at + 4);
    const length = view.getUint32(at + 4, true);
    const content = bytes.subarray(at + 8, at + 8 + length);
    if (kind === "VP8X") silent[at + 8] &= ~0x08; // "has EXIF"
    if (kind === "XMP ") xmp = asText(content);
    if (kind === "EXIF") {
      exif = content;
      silent.set([0x65, 0x78, 0x69, 0x66], at); // "exif": a kind that no decoder knows
    }
    at += 8 + length + (length & 1);
  }
  return { exif, xmp, parts: [silent] };
}

/** Return the orientation in EXIF; null where it has none. */
function inExif(given) {
  let bytes = given;
  while (letters(bytes, 0, 6) === EXIF) bytes = bytes.subarray(6);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const little = letters(bytes, 0, 2) === "II";
  try {
    const first = view.getUint32(4, little);
    for (let i = 0; i < view.getUint16(first, little); i += 1) {
      const entry = first + 2 + 12 * i;
      const read = SIZES[view.getUint16(entry + 2, little)];
      if (view.getUint16(entry, little) === TAG && read) return view[read](entry + 8, little);
    }
  } catch (error) {
    if (!(error instanceof RangeError)) throw error; // damaged; the pixels may still be fine
  }
  return null;
}

const TURNS = {
  2: (w) => [-1, 0, 0, 1, w, 0], 3: (w, h) => [-1, 0, 0, -1, w, h], 4: (w, h) => [1, 0, 0, -1, 0, h],
  5: () => [0, 1, 1, 0, 0, 0], 6: (w, h) => [0, 1, -1, 0, h, 0], 7: (w, h) => [0, -1, -1, 0, h, w],
  8: (w) => [0, -1, 1, 0, 0, w],
};

/** Return an ImageBitmap turned upright; the given one is then gone. */
export function upright(bitmap, orientation) {
  const turn = TURNS[orientation];
  if (!turn) return bitmap;
  const { width, height } = bitmap;
  const canvas = orientation < 5 ? new OffscreenCanvas(width, height) : new OffscreenCanvas(height, width);
  const context = canvas.getContext("2d");
  context.imageSmoothingEnabled = false;
  context.setTransform(...turn(width, height));
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  return canvas.transferToImageBitmap();
}
