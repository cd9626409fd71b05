// Pillow's GaussianBlur for RGB pixels, to the last bit: three box filters along the rows, then along the columns.

const PASSES = 3;
const SHARE = 1 / 8; // of the shorter side: lesionedge/explanation.py
const float = Math.fround; // Pillow computes the radius with floats of 32 bits

/** Return a copy that is blurred until no structure is left. */
export function blurred(rgb, width, height) {
  const radius = boxRadius(float(SHARE * Math.min(width, height)));
  let rows = rgb;
  for (let pass = 0; pass < PASSES; pass += 1) rows = blurRows(rows, width, height, radius);
  let columns = turned(rows, width, height);
  for (let pass = 0; pass < PASSES; pass += 1) columns = blurRows(columns, height, width, radius);
  return turned(columns, height, width);
}

// Gwosdek et al., "Theoretical foundations of Gaussian convolution by extended box filtering" (SSVM 2011), [7], [11], [14].
function boxRadius(sigma) {
  const variance = float(float(sigma * sigma) / PASSES);
  const length = float(Math.sqrt(12 * variance + 1));
  const whole = float(Math.floor((length - 1) / 2));
  const above = float(float(float(2 * whole) + 1) * float(float(whole * float(whole + 1)) - float(3 * variance)));
  const below = float(6 * float(variance - float(float(whole + 1) * float(whole + 1))));
  return float(whole + float(above / below));
}

function blurRows(rgb, width, height, radius) {
  const whole = Math.trunc(radius);
  const full = Math.trunc(float(2 ** 24 / float(float(radius * 2) + 1)));
  const edge = Math.trunc((2 ** 24 - (whole * 2 + 1) * full) / 2);
  const result = new Uint8Array(rgb.length);
  const at = (line, x) => line + Math.min(Math.max(x, 0), width - 1) * 3;
  for (let y = 0; y < height; y += 1) {
    for (let channel = 0; channel < 3; channel += 1) {
      const line = y * width * 3 + channel;
      let sum = 0;
      for (let x = -whole - 1; x < whole; x += 1) sum += rgb[at(line, x)];
      for (let x = 0; x < width; x += 1) {
        sum += rgb[at(line, x + whole)] - rgb[at(line, x - whole - 1)];
        const ends = rgb[at(line, x - whole - 1)] + rgb[at(line, x + whole + 1)];
        result[line + x * 3] = Math.floor((sum * full + ends * edge + 2 ** 23) / 2 ** 24);
      }
    }
  }
  return result;
}

function turned(rgb, width, height) {
  const result = new Uint8Array(rgb.length);
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      const [from, to] = [(y * width + x) * 3, (x * height + y) * 3];
      for (let channel = 0; channel < 3; channel += 1) result[to + channel] = rgb[from + channel];
    }
  }
  return result;
}
