// Values become grey through a window (DICOM PS3.3 C.11.2.1.2 and .3), as the service does it.

export function grey(value, { centre, window, function: shape }) {
  if (shape === "SIGMOID") return 1 / (1 + Math.exp((-4 * (value - centre)) / Math.max(window, 1e-9)));
  if (shape === "LINEAR" && window > 1) return clip((value - (centre - 0.5)) / (window - 1) + 0.5);
  return clip((value - centre) / Math.max(window, 1e-9) + 0.5);
}

// `film`: as /v1/render describes it, with its values; drawn into an ImageData of the same size.
export function windowed(film, window, into) {
  const table = new Uint8ClampedArray(65536);
  const step = (film.high - film.low) / 65535;
  for (let level = 0; level < 65536; level++) {
    const shade = grey(film.low + level * step, window) * 255;
    table[level] = film.inverted ? 255 - shade : shade;
  }
  const pixels = new Uint32Array(into.data.buffer);
  const { values } = film;
  for (let at = 0; at < values.length; at++) {
    const shade = table[values[at]];
    pixels[at] = 0xff000000 | (shade << 16) | (shade << 8) | shade;
  }
  return into;
}

const clip = (part) => Math.min(1, Math.max(0, part));
