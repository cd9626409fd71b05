// The images of vectors.json by the formula of its key "about", for pages that check a port.

/** Return a vector's image as ImageData. */
function drawn({ width, height, skin, lesion, centre, radius, step }) {
  const image = new ImageData(width, height);
  for (let y = 0, at = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1, at += 4) {
      const inside = (x - centre[0]) ** 2 + (y - centre[1]) ** 2 < radius ** 2;
      for (let c = 0; c < 3; c += 1) {
        image.data[at + c] = (inside ? lesion : skin)[c] + ((step[0] * x + step[1] * y + 5 * c) % 17);
      }
      image.data[at + 3] = 255;
    }
  }
  return image;
}

/** Return the SHA-256 of pixels, RGB or RGBA, without the fourth channel. */
async function digest(pixels, channels) {
  const rgb = Uint8Array.from({ length: (pixels.length / channels) * 3 }, (_, i) => (
    pixels[Math.floor(i / 3) * channels + (i % 3)]));
  const found = new Uint8Array(await crypto.subtle.digest("SHA-256", rgb));
  return [...found].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
