// Pixels become a network's square, as Pillow resamples: in fixed point, so that each pixel is the same.

const PRECISION = 22; // Pillow, Resample.c: 32 - 8 - 2 bits

export function fitted(picture, { side, fit }) {
  const framed = frame(picture, fit);
  if (framed.width === side && framed.height === side) return framed.pixels;
  const across = framed.width === side ? framed : resampled(framed, side, true);
  return (across.height === side ? across : resampled(across, side, false)).pixels;
}

// The whole picture on black, for the gate.
export function thumbnail(picture, side) {
  const factor = Math.floor(Math.max(picture.width, picture.height) / (4 * side));
  const small = factor > 1 ? reduced(picture, Math.min(factor, picture.width), Math.min(factor, picture.height)) : picture;
  return fitted(small, { side, fit: "pad" });
}

// Pillow, Reduce.c: means of whole blocks; those at the edges of what there is of them.
export function reduced({ pixels, width, height }, acrossBy, downBy) {
  if (acrossBy === 1 && downBy === 1) return { pixels, width, height };
  const across = Math.ceil(width / acrossBy);
  const down = Math.ceil(height / downBy);
  const small = new Uint8Array(across * down);
  for (let y = 0, at = 0; y < down; y++) {
    const lastRow = Math.min((y + 1) * downBy, height);
    for (let x = 0; x < across; x++, at++) {
      const lastColumn = Math.min((x + 1) * acrossBy, width);
      const many = (lastRow - y * downBy) * (lastColumn - x * acrossBy);
      let sum = many >> 1;
      for (let row = y * downBy; row < lastRow; row++)
        for (let column = x * acrossBy; column < lastColumn; column++) sum += pixels[row * width + column];
      small[at] = Math.floor((sum * Math.floor(2 ** 24 / many)) / 2 ** 24);
    }
  }
  return { pixels: small, width: across, height: down };
}

function frame(picture, fit) {
  const { pixels, width, height } = picture;
  if (fit === "stretch" || width === height) return picture;
  const side = fit === "crop" ? Math.min(width, height) : Math.max(width, height);
  const square = new Uint8Array(side * side);
  const [fromX, toX] = offsets(width, side);
  const [fromY, toY] = offsets(height, side);
  const [columns, rows] = [Math.min(width, side), Math.min(height, side)];
  for (let y = 0; y < rows; y++) {
    const start = (fromY + y) * width + fromX;
    square.set(pixels.subarray(start, start + columns), (toY + y) * side + toX);
  }
  return { pixels: square, width: side, height: side };
}

const offsets = (length, side) =>
  length > side ? [Math.floor((length - side) / 2), 0] : [0, Math.floor((side - length) / 2)];

function resampled({ pixels, width, height }, side, isAcross) {
  const taps = tapsOf(isAcross ? width : height, side);
  const [across, down] = isAcross ? [side, height] : [width, side];
  const made = new Uint8Array(across * down);
  const step = isAcross ? 1 : width;
  for (let y = 0, at = 0; y < down; y++) {
    for (let x = 0; x < across; x++, at++) {
      const { first, weights } = taps[isAcross ? x : y];
      let from = isAcross ? y * width + first : first * width + x;
      let sum = 1 << (PRECISION - 1);
      for (let tap = 0; tap < weights.length; tap++, from += step) sum += pixels[from] * weights[tap];
      const level = sum >> PRECISION;
      made[at] = level < 0 ? 0 : level > 255 ? 255 : level;
    }
  }
  return { pixels: made, width: across, height: down };
}

// Pillow, precompute_coeffs: a triangle as wide as the scale, normalised, then rounded.
function tapsOf(length, side) {
  const scale = length / side;
  const support = Math.max(scale, 1);
  return Array.from({ length: side }, (_, place) => {
    const centre = (place + 0.5) * scale;
    const first = Math.max(0, Math.trunc(centre - support + 0.5));
    const last = Math.min(length, Math.trunc(centre + support + 0.5));
    const exact = [];
    let sum = 0;
    for (let at = first; at < last; at++) {
      const weight = Math.max(0, 1 - Math.abs((at - centre + 0.5) * (1 / support)));
      exact.push(weight);
      sum += weight;
    }
    return { first, weights: Int32Array.from(exact, (weight) => Math.trunc(0.5 + (weight / sum) * 2 ** PRECISION)) };
  });
}
