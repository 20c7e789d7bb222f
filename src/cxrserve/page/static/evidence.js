// Class maps become colour over the film: the colours and the scale of /v1/explain, the same for every film.

import { placement } from "./placement.js";

export const SCALE = 4; // log-odds at the ends: probability 0.02 and 0.98
const FOR = [255, 72, 0];
const AGAINST = [0, 116, 255];
// Most of most films speaks against most findings: that must not hide the film. The scale's bar is painted alike.
const AGAINST_PART = 0.5;
const LONGEST = 320;

// Log-odds of one label in each cell; a softmax knows only differences (findings/evidence.py).
export function evidenceOf(findings, index, activation) {
  const { height, width } = findings[index].heat_map;
  const local = findings.map(({ heat_map }) => heat_map.grid.flat().map((value) => value + heat_map.bias));
  const own = local[index];
  if (activation === "sigmoid") return { height, width, cells: own };
  const others = local.filter((_, other) => other !== index);
  if (!others.length) return { height, width, cells: own.map(() => 0) };
  const cells = own.map((value, cell) => {
    const against = others.map((other) => other[cell]);
    const highest = Math.max(...against);
    return value - highest - Math.log(against.reduce((sum, one) => sum + Math.exp(one - highest), 0));
  });
  return { height, width, cells };
}

export function drawnEvidence({ height, width, cells }, input, size) {
  const scale = Math.min(1, LONGEST / Math.max(size.width, size.height));
  const canvas = new OffscreenCanvas(Math.max(1, Math.round(size.width * scale)), Math.max(1, Math.round(size.height * scale)));
  const where = placement(input, size.width, size.height);
  const columns = weights(canvas.width, size.width, width, (x) => where.toSquare(x, 0)[0], where.side);
  const rows = weights(canvas.height, size.height, height, (y) => where.toSquare(0, y)[1], where.side);
  const image = new ImageData(canvas.width, canvas.height);
  let at = 0;
  for (const row of rows) {
    for (const column of columns) {
      if (row && column) paint(image.data, at, bilinear(cells, width, row, column));
      at += 4;
    }
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}

export function drawScale(canvas) {
  const context = canvas.getContext("2d");
  const image = new ImageData(canvas.width, canvas.height);
  for (let y = 0; y < canvas.height; y++)
    for (let x = 0; x < canvas.width; x++)
      paint(image.data, 4 * (y * canvas.width + x), SCALE * ((2 * x) / (canvas.width - 1) - 1));
  context.putImageData(image, 0, 0);
}

// For each pixel the two cells it lies between; null where the network saw nothing (cropped).
function weights(pixels, length, cells, toSquare, side) {
  return Array.from({ length: pixels }, (_, pixel) => {
    const place = toSquare((pixel + 0.5) * (length / pixels));
    if (place < 0 || place > side) return null;
    const between = Math.min(Math.max(place * (cells / side) - 0.5, 0), cells - 1);
    const first = Math.min(Math.floor(between), Math.max(0, cells - 2));
    return { first, second: Math.min(first + 1, cells - 1), part: between - first };
  });
}

function bilinear(cells, width, row, column) {
  const upper = mix(cells[row.first * width + column.first], cells[row.first * width + column.second], column.part);
  const lower = mix(cells[row.second * width + column.first], cells[row.second * width + column.second], column.part);
  return mix(upper, lower, row.part);
}

function paint(data, at, logOdds) {
  const strength = Math.min(1, Math.max(-1, logOdds / SCALE));
  const colour = strength > 0 ? FOR : AGAINST;
  data[at] = colour[0];
  data[at + 1] = colour[1];
  data[at + 2] = colour[2];
  data[at + 3] = Math.round(255 * (strength > 0 ? strength : AGAINST_PART * -strength));
}

const mix = (one, other, part) => one + (other - one) * part;
