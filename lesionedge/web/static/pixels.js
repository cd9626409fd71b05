// Whether a page may read pixels. Some browsers put noise in their place, against fingerprinting: Firefox with
// resistFingerprinting, and those that are made from it. A model would classify the noise.

const SIDE_PX = 16;
const MOST_LEVELS = 2; // a browser that changes so little harms nothing

/** Return whether what is read from an empty canvas is what was drawn. */
export function areTrue(canvas) {
  [canvas.width, canvas.height] = [SIDE_PX, SIDE_PX];
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const drawn = new ImageData(SIDE_PX, SIDE_PX);
  drawn.data.forEach((_, i) => { drawn.data[i] = i % 4 === 3 ? 255 : (i * 37) % 256; });
  context.putImageData(drawn, 0, 0);
  const found = context.getImageData(0, 0, SIDE_PX, SIDE_PX).data;
  return found.every((level, i) => Math.abs(level - drawn.data[i]) <= MOST_LEVELS);
}
