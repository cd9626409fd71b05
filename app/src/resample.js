// Pillow's Image.resize and Image.reduce for RGB images, to the last bit: the same fixed-point numbers, the same
// order, the same rounding. Held to it by tests/test_app.py. Pixels are RGBA as canvases hold them; the results RGB.

const PRECISION_BITS = 22;
const REDUCING_GAP = 2; // lesionedge/image.py
const SUPPORT = { bilinear: 1, box: 0.5 };
const FILTERS = {
  bilinear: (x) => Math.max(0, 1 - Math.abs(x)),
  box: (x) => (x > -0.5 && x <= 0.5 ? 1 : 0),
};

/**
 * Return the part of an image that the model sees: {left, top, right, bottom}, whole numbers of pixels.
 * As lesionedge.image.crop_box.
 */
export function cropBox(width, height, input) {
  let [wide, high] = [width, height];
  if (input.crop !== "stretch") {
    const scale = Math.min(width / input.width_px, height / input.height_px);
    [wide, high] = [input.width_px * scale, input.height_px * scale];
  }
  wide = Math.max(1, halfToEven(wide * input.crop_fraction));
  high = Math.max(1, halfToEven(high * input.crop_fraction));
  const [left, top] = [Math.floor((width - wide) / 2), Math.floor((height - high) / 2)];
  return { left, top, right: left + wide, bottom: top + high };
}

function halfToEven(value) {
  const below = Math.floor(value);
  const rest = value - below;
  if (rest !== 0.5) return Math.round(value);
  return below % 2 === 0 ? below : below + 1;
}

/**
 * Crop and resize an image.
 * @param image {width, height, read(left, top, width, height) -> RGBA of that part}: large images are read in strips.
 * @param box What to keep, from cropBox.
 * @param size {width, height} of the result.
 * @param filter "bilinear" or "box".
 * @returns Uint8Array of height * width * 3, RGB.
 */
export function resize(image, box, size, filter = "bilinear") {
  const whole = box.left === 0 && box.top === 0 && box.right === image.width && box.bottom === image.height;
  if (whole && size.width === image.width && size.height === image.height) {
    return withoutAlpha(image.read(0, 0, image.width, image.height));
  }
  const wide = box.right - box.left;
  const high = box.bottom - box.top;
  const across = Math.trunc(wide / size.width / REDUCING_GAP) || 1;
  const down = Math.trunc(high / size.height / REDUCING_GAP) || 1;
  const scale = { across: wide / size.width, down: high / size.height };
  if (across === 1 && down === 1) {
    return resampled(near(image, box, scale, filter), box, size, filter);
  }
  const around = reach(image, box, scale, SUPPORT[filter] - 0.5);
  return resampled(reduced(image, around, across, down), {
    left: (box.left - around.left) / across, top: (box.top - around.top) / down,
    right: (box.right - around.left) / across, bottom: (box.bottom - around.top) / down,
  }, size, filter);
}

/** Return the part of an image that a filter looks at. */
function reach(image, box, scale, support) {
  const [across, down] = [support * scale.across, support * scale.down];
  return {
    left: Math.max(0, Math.trunc(box.left - across)), top: Math.max(0, Math.trunc(box.top - down)),
    right: Math.min(image.width, Math.ceil(box.right + across)),
    bottom: Math.min(image.height, Math.ceil(box.bottom + down)),
  };
}

/** Return the pixels that matter: {data, width, height} and where in which whole image they lie. */
function near(image, box, scale, filter) {
  const atLeast1 = { across: Math.max(1, scale.across), down: Math.max(1, scale.down) };
  const { left, top, right, bottom } = reach(image, box, atLeast1, SUPPORT[filter] + 1);
  const data = withoutAlpha(image.read(left, top, right - left, bottom - top));
  return { data, width: right - left, height: bottom - top, left, top, whole: [image.width, image.height] };
}

const STRIP_PIXELS = 2_000_000;

/** Return the means of blocks of across x down pixels as {data, width, height}, RGB. */
function reduced(image, box, across, down) {
  const wide = box.right - box.left;
  const high = box.bottom - box.top;
  const width = Math.ceil(wide / across);
  const height = Math.ceil(high / down);
  const data = new Uint8Array(width * height * 3);
  const rows = Math.max(1, Math.floor(STRIP_PIXELS / wide / down)) * down;
  for (let top = 0; top < high; top += rows) {
    const count = Math.min(rows, high - top);
    const strip = image.read(box.left, box.top + top, wide, count);
    reduceStrip(strip, wide, count, across, down, data, (top / down) * width * 3);
  }
  return { data, width, height, left: 0, top: 0, whole: [width, height] };
}

function reduceStrip(strip, wide, high, across, down, data, start) {
  const width = Math.ceil(wide / across);
  for (let y = 0, at = start; y < high; y += down) {
    const bottom = Math.min(y + down, high);
    for (let column = 0; column < width; column += 1) {
      const left = column * across;
      const right = Math.min(left + across, wide);
      let [red, green, blue] = [0, 0, 0];
      for (let row = y; row < bottom; row += 1) {
        for (let i = (row * wide + left) * 4, end = (row * wide + right) * 4; i < end; i += 4) {
          red += strip[i];
          green += strip[i + 1];
          blue += strip[i + 2];
        }
      }
      const count = (bottom - y) * (right - left);
      data[at] = mean(red, count);
      data[at + 1] = mean(green, count);
      data[at + 2] = mean(blue, count);
      at += 3;
    }
  }
}

// Pillow multiplies by 2^24 / count, which it computes with a float of 32 bits.
function mean(sum, count) {
  const multiplier = Math.trunc(Math.fround(2 ** 24 / count));
  return Math.floor(((sum + Math.trunc(count / 2)) * multiplier) / 2 ** 24);
}

function withoutAlpha(rgba) {
  const rgb = new Uint8Array((rgba.length / 4) * 3);
  for (let from = 0, to = 0; from < rgba.length; from += 4, to += 3) {
    rgb[to] = rgba[from];
    rgb[to + 1] = rgba[from + 1];
    rgb[to + 2] = rgba[from + 2];
  }
  return rgb;
}

/** Resample RGB, first the rows and then the columns, each rounded to 8 bits. */
function resampled(source, box, size, filter) {
  const [wholeWidth, wholeHeight] = source.whole;
  const needsRows = size.width !== wholeWidth || box.left !== 0 || box.right !== size.width;
  const needsColumns = size.height !== wholeHeight || box.top !== 0 || box.bottom !== size.height;
  const across = weights(wholeWidth, box.left, box.right, size.width, filter);
  const down = weights(wholeHeight, box.top, box.bottom, size.height, filter);
  const rows = needsRows ? alongRows(source, across) : source;
  return needsColumns ? alongColumns(rows, down) : rows.data;
}

/** Return for each output pixel where its inputs begin, how many they are, and their weights in fixed point. */
function weights(inputs, from, to, outputs, filter) {
  const [start, end] = [Math.fround(from), Math.fround(to)]; // Pillow's boxes are floats of 32 bits
  const scale = Math.fround(end - start) / outputs;
  const stretch = Math.max(scale, 1);
  const support = SUPPORT[filter] * stretch;
  return Array.from({ length: outputs }, (_, number) => {
    const centre = start + (number + 0.5) * scale;
    const first = Math.max(0, Math.trunc(centre - support + 0.5));
    const count = Math.min(inputs, Math.trunc(centre + support + 0.5)) - first;
    const shares = new Float64Array(count);
    let total = 0;
    for (let i = 0; i < count; i += 1) {
      shares[i] = FILTERS[filter]((i + first - centre + 0.5) * (1 / stretch));
      total += shares[i];
    }
    const fixed = Int32Array.from(shares, (share) => Math.trunc(0.5 + (share / (total || 1)) * 2 ** PRECISION_BITS));
    return { first, count, fixed };
  });
}

const HALF = 2 ** (PRECISION_BITS - 1);

function alongRows({ data, width, height, left, top }, places) {
  const wide = places.length;
  const result = new Uint8Array(wide * height * 3);
  for (let y = 0, at = 0; y < height; y += 1) {
    for (const { first, count, fixed } of places) {
      let [red, green, blue] = [HALF, HALF, HALF];
      for (let i = 0, from = (y * width + first - left) * 3; i < count; i += 1, from += 3) {
        red += data[from] * fixed[i];
        green += data[from + 1] * fixed[i];
        blue += data[from + 2] * fixed[i];
      }
      result[at] = clipped(red);
      result[at + 1] = clipped(green);
      result[at + 2] = clipped(blue);
      at += 3;
    }
  }
  return { data: result, width: wide, height, top };
}

function alongColumns({ data, width, top }, places) {
  const step = width * 3;
  const result = new Uint8Array(step * places.length);
  places.forEach(({ first, count, fixed }, y) => {
    for (let x = 0; x < step; x += 1) {
      let sum = HALF;
      for (let i = 0, from = (first - top) * step + x; i < count; i += 1, from += step) sum += data[from] * fixed[i];
      result[y * step + x] = clipped(sum);
    }
  });
  return result;
}

const clipped = (sum) => Math.min(255, Math.max(0, sum >> PRECISION_BITS));

/** Return an RGB array as an image that resize takes. */
export function asImage(rgb, width, height) {
  const read = (left, top, wide, high) => {
    const part = new Uint8Array(wide * high * 4);
    for (let y = 0, to = 0; y < high; y += 1) {
      for (let x = 0, from = ((top + y) * width + left) * 3; x < wide; x += 1, from += 3, to += 4) {
        part[to] = rgb[from];
        part[to + 1] = rgb[from + 1];
        part[to + 2] = rgb[from + 2];
      }
    }
    return part;
  };
  return { width, height, read };
}

/** Return the means of blocks of 2 x 2 pixels, RGB: Pillow's Image.reduce(2). */
export function shrinkBy2(image) {
  return reduced(image, { left: 0, top: 0, right: image.width, bottom: image.height }, 2, 2).data;
}
