// The outline of a lung: where its mask crosses one half, between the mask's pixels.

import { placement } from "./placement.js";

const HALF = 127.5; // the service writes probability times 255

export async function outlineOf(maskPng, input, size) {
  const bytes = Uint8Array.from(atob(maskPng), (letter) => letter.charCodeAt(0));
  const bitmap = await createImageBitmap(new Blob([bytes], { type: "image/png" }));
  const { width, height } = bitmap;
  const context = new OffscreenCanvas(width, height).getContext("2d");
  context.drawImage(bitmap, 0, 0);
  const { data } = context.getImageData(0, 0, width, height);
  // One pixel of border, so that every outline closes.
  const wide = width + 2;
  const mask = new Float32Array(wide * (height + 2));
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++) mask[(y + 1) * wide + x + 1] = data[4 * (y * width + x)];
  keepLargestPart(mask, wide);
  const where = placement(input, size.width, size.height);
  const toImage = (x, y) => where.toImage(((x - 0.5) * where.side) / width, ((y - 0.5) * where.side) / height);
  return traced(mask, wide, height + 2, toImage);
}

function keepLargestPart(mask, wide) {
  const part = new Int32Array(mask.length);
  let largest = 0;
  let most = 0;
  let number = 0;
  for (let start = 0; start < mask.length; start++) {
    if (mask[start] <= HALF || part[start]) continue;
    number += 1;
    let size = 0;
    const open = [start];
    part[start] = number;
    while (open.length) {
      const at = open.pop();
      size += 1;
      for (const next of [at - 1, at + 1, at - wide, at + wide])
        if (mask[next] > HALF && !part[next]) {
          part[next] = number;
          open.push(next);
        }
    }
    if (size > most) [largest, most] = [number, size];
  }
  for (let at = 0; at < mask.length; at++) if (part[at] !== largest && mask[at] > HALF) mask[at] = 0;
}

// Marching squares (Lorensen and Cline 1987, in the plane), a line in each square of four pixels.
function traced(mask, wide, high, toImage) {
  const path = new Path2D();
  const crossing = (x, y, otherX, otherY) => {
    const one = mask[y * wide + x];
    const part = (HALF - one) / (mask[otherY * wide + otherX] - one);
    return toImage(x + (otherX - x) * part, y + (otherY - y) * part);
  };
  for (let y = 0; y < high - 1; y++) {
    for (let x = 0; x < wide - 1; x++) {
      const corners = [[x, y], [x + 1, y], [x + 1, y + 1], [x, y + 1]];
      const inside = corners.map(([cx, cy]) => mask[cy * wide + cx] > HALF);
      const ends = [];
      for (let side = 0; side < 4; side++) {
        const other = (side + 1) % 4;
        if (inside[side] !== inside[other]) ends.push(crossing(...corners[side], ...corners[other]));
      }
      for (let end = 0; end + 1 < ends.length; end += 2) {
        path.moveTo(...ends[end]);
        path.lineTo(...ends[end + 1]);
      }
    }
  }
  return path;
}
