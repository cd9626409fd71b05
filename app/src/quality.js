// lesionedge/quality.py in the browser: light, sharpness, glare, the lesion's size and place, hair. Codes of warnings.

export const SIDE_PX = 112;
const DARK = 60;
const BRIGHT = 225;
const LEAST_SHARPNESS = 15;
const MOST_GLARE = 0.01;
const LEAST_LESION = 0.03;
const MOST_CUT = 0.15;
const MOST_HAIR = 0.08;
const LEAST_CONTRAST = 25;
const SHINE = 235;
const SHINE_ABOVE_MEAN = 45;
const HAIR_DEPTH = 14;
const HAIR_REACH = 3;

/** Return the codes of what is wrong with a thumbnail of SIDE_PX x SIDE_PX, RGB. */
export function faults(rgb, { ofLesion }) {
  const seen = luma(rgb);
  const { brightness, sharpness } = light(seen);
  if (brightness < DARK) return ["dark"];
  const found = [];
  if (brightness > BRIGHT) found.push("bright");
  if (sharpness < LEAST_SHARPNESS) found.push("blurred");
  if (!ofLesion) return found;
  const mark = lesion(seen);
  const clear = mark.contrast >= LEAST_CONTRAST;
  if (glare(rgb, brightness) > MOST_GLARE) found.push("glare");
  if (clear && mark.area < LEAST_LESION) found.push("small");
  if (clear && mark.cut > MOST_CUT) found.push("cut-off");
  if (hair(seen) > MOST_HAIR) found.push("hair");
  return found;
}

// ITU-R BT.601 in Pillow's fixed point.
function luma(rgb) {
  const seen = new Uint8Array(rgb.length / 3);
  for (let i = 0, at = 0; i < seen.length; i += 1, at += 3) {
    seen[i] = (rgb[at] * 19595 + rgb[at + 1] * 38470 + rgb[at + 2] * 7471 + 0x8000) >> 16;
  }
  return seen;
}

function light(seen) {
  let total = 0;
  for (const value of seen) total += value;
  let [sum, squares, count] = [0, 0, 0];
  for (let y = 1; y < SIDE_PX - 1; y += 1) {
    for (let x = 1; x < SIDE_PX - 1; x += 1) {
      const at = y * SIDE_PX + x;
      const edge = seen[at - SIDE_PX] + seen[at + SIDE_PX] + seen[at - 1] + seen[at + 1] - 4 * seen[at];
      sum += edge;
      squares += edge * edge;
      count += 1;
    }
  }
  return { brightness: total / seen.length, sharpness: squares / count - (sum / count) ** 2 };
}

function glare(rgb, brightness) {
  const least = Math.max(SHINE, Math.trunc(brightness) + SHINE_ABOVE_MEAN);
  if (least > 255) return 0;
  let shining = 0;
  for (let at = 0; at < rgb.length; at += 3) {
    if (Math.min(rgb[at], rgb[at + 1], rgb[at + 2]) >= least) shining += 1;
  }
  return shining / (rgb.length / 3);
}

const DISC = [];
const BORDER = [];
for (let y = 0; y < SIDE_PX; y += 1) {
  for (let x = 0; x < SIDE_PX; x += 1) {
    const [across, down] = [Math.abs(x - (SIDE_PX - 1) / 2), Math.abs(y - (SIDE_PX - 1) / 2)];
    if (across * across + down * down <= (SIDE_PX / 2) ** 2) DISC.push(y * SIDE_PX + x);
    const isBorder = Math.max(across, down) > SIDE_PX * 0.46 && Math.min(across, down) < SIDE_PX * 0.25;
    if (isBorder) BORDER.push(y * SIDE_PX + x);
  }
}

function lesion(seen) {
  const histogram = new Array(256).fill(0);
  for (const at of DISC) histogram[seen[at]] += 1;
  const { threshold, contrast } = otsu(histogram);
  const share = (places) => places.filter((at) => seen[at] <= threshold).length / places.length;
  return { contrast, area: share(DISC), cut: share(BORDER) };
}

function otsu(histogram) {
  const all = histogram.reduce((sum, count) => sum + count, 0);
  const weight = histogram.reduce((sum, count, value) => sum + count * value, 0);
  let best = { variance: -1, threshold: 0, contrast: 0 };
  let [low, below] = [0, 0];
  for (let value = 0; value < 255; value += 1) {
    low += histogram[value];
    below += histogram[value] * value;
    const both = Math.max(low * (all - low), 1);
    const apart = weight * low - below * all;
    const variance = apart ** 2 / both;
    if (variance > best.variance) best = { variance, threshold: value, contrast: apart / both };
  }
  return best;
}

function hair(seen) {
  const closedDown = closed(seen, SIDE_PX, 1);
  const closedAcross = closed(seen, 1, SIDE_PX);
  let [thin, count] = [0, 0];
  for (let y = HAIR_REACH; y < SIDE_PX - HAIR_REACH; y += 1) {
    for (let x = HAIR_REACH; x < SIDE_PX - HAIR_REACH; x += 1) {
      const at = y * SIDE_PX + x;
      if (Math.max(closedDown[at], closedAcross[at]) - seen[at] >= HAIR_DEPTH) thin += 1;
      count += 1;
    }
  }
  return thin / count;
}

/** Close along lines: the highest of HAIR_REACH + 1 neighbours, then the lowest of those; not next to the ends. */
function closed(seen, step, across) {
  const highest = new Uint8Array(seen.length);
  const result = new Uint8Array(seen.length);
  for (let line = 0; line < SIDE_PX; line += 1) {
    for (let i = 0; i < SIDE_PX - HAIR_REACH; i += 1) {
      const at = line * across + i * step;
      let most = seen[at];
      for (let n = 1; n <= HAIR_REACH; n += 1) most = Math.max(most, seen[at + n * step]);
      highest[at] = most;
    }
    for (let i = HAIR_REACH; i < SIDE_PX - HAIR_REACH; i += 1) {
      const at = line * across + i * step;
      let least = highest[at];
      for (let n = 1; n <= HAIR_REACH; n += 1) least = Math.min(least, highest[at - n * step]);
      result[at] = least;
    }
  }
  return result;
}
