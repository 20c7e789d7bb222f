// JPEG to grey: the browser decodes it, and it is made smaller as the service's decoder makes it.

import { coefficientsOf } from "./jpeg_coefficients.js";
import { reducedBy } from "./jpeg_reduced.js";
import { lumaOf, saturationOf } from "./luma.js";

const WANTED_SIDE = 512; // settings.jpeg_side
const FRAMES = new Set([0xc0, 0xc1, 0xc2, 0xc3, 0xc5, 0xc6, 0xc7, 0xc9, 0xca, 0xcb, 0xcd, 0xce, 0xcf]);

export async function readJpeg(buffer) {
  const { bare, turn, components, phantom } = layoutOf(new Uint8Array(buffer));
  const bitmap = await createImageBitmap(new Blob([bare], { type: "image/jpeg" }), { premultiplyAlpha: "none", colorSpaceConversion: "none" });
  const { width, height } = bitmap;
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  const { data } = context.getImageData(0, 0, width, height);
  const saturation = components > 1 ? saturationOf(data, width, height, 4) : 0;
  const scale = [8, 4, 2].find((one) => Math.floor(Math.min(width, height) / one) >= WANTED_SIDE) ?? 1;
  const coefficients = scale > 1 ? coefficientsOf(new Uint8Array(buffer)) : null;
  const small = coefficients ? reducedBy(scale, coefficients) : averaged({ pixels: lumaOf(data, 4), width, height }, scale);
  const turned = turnedBy(small, turn);
  const onItsSide = turn >= 5;
  return { grey: turned.pixels, pixelWidth: turned.width, pixelHeight: turned.height, width: onItsSide ? height : width, height: onItsSide ? width : height, saturation, phantom };
}

// Without its notes: the browser must neither turn it nor fit its colours to a screen.
function layoutOf(bytes) {
  const kept = [bytes.subarray(0, 2)];
  const found = { turn: 1, components: 3, phantom: false };
  let at = 2;
  while (at + 4 <= bytes.length && bytes[at] === 0xff) {
    const marker = bytes[at + 1];
    const length = (bytes[at + 2] << 8) | bytes[at + 3];
    const body = bytes.subarray(at + 4, at + 2 + length);
    if (marker === 0xda) break;
    if (marker === 0xe1) found.turn = orientationOf(body) ?? found.turn;
    if (marker === 0xfe) found.phantom ||= String.fromCharCode(...body.subarray(0, 64)).replace(/\0+$/, "") === "cxrserve=phantom";
    if (FRAMES.has(marker)) found.components = body[5];
    if (marker !== 0xe1 && marker !== 0xe2 && marker !== 0xfe) kept.push(bytes.subarray(at, at + 2 + length));
    at += 2 + length;
  }
  kept.push(bytes.subarray(at));
  return { ...found, bare: new Blob(kept) };
}

// Exif 2.3, section 4.6.4: tag 0x0112 of the first directory.
function orientationOf(body) {
  if (String.fromCharCode(...body.subarray(0, 4)) !== "Exif") return null;
  const view = new DataView(body.buffer, body.byteOffset + 6, body.byteLength - 6);
  try {
    const little = view.getUint16(0) === 0x4949;
    const directory = view.getUint32(4, little);
    for (let entry = 0; entry < view.getUint16(directory, little); entry++) {
      const place = directory + 2 + 12 * entry;
      if (view.getUint16(place, little) === 0x0112) return view.getUint16(place + 8, little);
    }
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
  }
  return null;
}

// What is coded in a rarer way: libjpeg's reduced decoding is nearly the mean of neighbouring pixels.
function averaged({ pixels, width, height }, scale) {
  if (scale === 1) return { pixels, width, height };
  const across = Math.ceil(width / scale);
  const down = Math.ceil(height / scale);
  const small = new Uint8Array(across * down);
  for (let y = 0, at = 0; y < down; y++) {
    for (let x = 0; x < across; x++, at++) {
      let sum = 0;
      for (let row = y * scale; row < (y + 1) * scale; row++) {
        const line = Math.min(row, height - 1) * width;
        for (let column = x * scale; column < (x + 1) * scale; column++) sum += pixels[line + Math.min(column, width - 1)];
      }
      small[at] = Math.floor(sum / scale ** 2 + 0.5);
    }
  }
  return { pixels: small, width: across, height: down };
}

// Exif orientations 2 to 8: from where a pixel of the upright picture comes.
function turnedBy({ pixels, width, height }, turn) {
  if (turn < 2 || turn > 8) return { pixels, width, height };
  const [across, down] = turn >= 5 ? [height, width] : [width, height];
  const [right, bottom] = [width - 1, height - 1];
  const from = {
    2: (x, y) => [right - x, y], 3: (x, y) => [right - x, bottom - y], 4: (x, y) => [x, bottom - y], 5: (x, y) => [y, x],
    6: (x, y) => [y, bottom - x], 7: (x, y) => [right - y, bottom - x], 8: (x, y) => [right - y, x],
  }[turn];
  const upright = new Uint8Array(pixels.length);
  for (let y = 0, at = 0; y < down; y++)
    for (let x = 0; x < across; x++, at++) {
      const [column, row] = from(x, y);
      upright[at] = pixels[row * width + column];
    }
  return { pixels: upright, width: across, height: down };
}
