// PNG to grey, as the service decodes it (radiograph/raster.py): bit for bit where it is not interlaced.

import { lumaOf, saturationOf } from "./luma.js";

const CHANNELS = { 0: 1, 2: 3, 4: 2, 6: 4 };

// { width, height, grey, saturation, phantom }; null where the browser must decode it (palette, interlaced).
export async function readPng(buffer) {
  const { header, data, phantom, keyed } = chunksOf(buffer);
  const { width, height, depth, colour, interlaced } = header;
  const channels = CHANNELS[colour];
  if (!channels || interlaced || keyed) return null;
  const raw = await inflated(data);
  const stride = Math.ceil((width * channels * depth) / 8);
  unfilter(raw, stride, height, Math.max(1, (channels * depth) >> 3));
  if (colour === 0 && depth === 16) return { width, height, grey: stretched(raw, width, height, stride), saturation: 0, phantom };
  if (colour === 0) return { width, height, grey: shallow(raw, width, height, stride, depth), saturation: 0, phantom };
  const rgb = coloursOf(raw, { width, height, stride, channels, bytes: depth >> 3 });
  return { width, height, grey: lumaOf(rgb), saturation: saturationOf(rgb, width, height), phantom };
}

function chunksOf(buffer) {
  const view = new DataView(buffer);
  const bytes = new Uint8Array(buffer);
  const found = { header: null, data: [], phantom: false, keyed: false };
  for (let at = 8; at + 8 <= bytes.length; ) {
    const length = view.getUint32(at);
    const kind = String.fromCharCode(...bytes.subarray(at + 4, at + 8));
    const start = at + 8;
    if (start + length > bytes.length) throw new Error("truncated");
    if (kind === "IHDR")
      found.header = { width: view.getUint32(start), height: view.getUint32(start + 4), depth: bytes[start + 8], colour: bytes[start + 9], interlaced: bytes[start + 12] === 1 };
    else if (kind === "IDAT") found.data.push(bytes.subarray(start, start + length));
    else if (kind === "tRNS") found.keyed = true;
    else if (kind === "tEXt") found.phantom ||= String.fromCharCode(...bytes.subarray(start, start + Math.min(length, 32))) === "cxrserve\0phantom";
    else if (kind === "IEND") return found;
    at = start + length + 4;
  }
  throw new Error("truncated");
}

async function inflated(pieces) {
  const stream = new Blob(pieces).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

// PNG, section 9.2. Rows are left where they are; each begins with the byte that names its filter.
function unfilter(raw, stride, height, step) {
  for (let y = 0; y < height; y++) {
    const row = y * (stride + 1) + 1;
    const filter = raw[row - 1];
    for (let x = 0; x < stride; x++) {
      const at = row + x;
      const left = x >= step ? raw[at - step] : 0;
      const up = y ? raw[at - stride - 1] : 0;
      const corner = y && x >= step ? raw[at - stride - 1 - step] : 0;
      if (filter === 1) raw[at] += left;
      else if (filter === 2) raw[at] += up;
      else if (filter === 3) raw[at] += (left + up) >> 1;
      else if (filter === 4) raw[at] += paeth(left, up, corner);
    }
  }
}

function paeth(left, up, corner) {
  const guess = left + up - corner;
  const [toLeft, toUp, toCorner] = [Math.abs(guess - left), Math.abs(guess - up), Math.abs(guess - corner)];
  if (toLeft <= toUp && toLeft <= toCorner) return left;
  return toUp <= toCorner ? up : corner;
}

// From the smallest to the largest value: many archives keep 10 to 14 bits in it without saying so.
function stretched(raw, width, height, stride) {
  const values = new Uint16Array(width * height);
  let [low, high] = [65535, 0];
  for (let y = 0, at = 0; y < height; y++) {
    for (let x = 0, from = y * (stride + 1) + 1; x < width; x++, from += 2, at++) {
      const value = (raw[from] << 8) | raw[from + 1];
      values[at] = value;
      if (value < low) low = value;
      if (value > high) high = value;
    }
  }
  const grey = new Uint8Array(values.length);
  if (high <= low) return grey;
  const scale = Math.fround(255 / (high - low));
  for (let at = 0; at < values.length; at++) grey[at] = evenly(Math.fround((values[at] - low) * scale));
  return grey;
}

function shallow(raw, width, height, stride, depth) {
  const grey = new Uint8Array(width * height);
  const most = (1 << depth) - 1;
  for (let y = 0, at = 0; y < height; y++) {
    const row = y * (stride + 1) + 1;
    for (let x = 0; x < width; x++, at++) {
      const bit = x * depth;
      grey[at] = depth === 8 ? raw[row + x] : (((raw[row + (bit >> 3)] >> (8 - depth - (bit & 7))) & most) * 255) / most;
    }
  }
  return grey;
}

// RGB, what is transparent on black; of sixteen bits the upper eight.
function coloursOf(raw, { width, height, stride, channels, bytes }) {
  const rgb = new Uint8Array(width * height * 3);
  const alpha = channels === 2 || channels === 4;
  const own = alpha ? channels - 1 : channels;
  for (let y = 0, at = 0; y < height; y++) {
    for (let x = 0, from = y * (stride + 1) + 1; x < width; x++, from += channels * bytes) {
      const opacity = alpha ? raw[from + own * bytes] : 255;
      for (let channel = 0; channel < 3; channel++) {
        const value = raw[from + (own === 1 ? 0 : channel) * bytes];
        rgb[at++] = opacity === 255 ? value : Math.round((value * opacity) / 255);
      }
    }
  }
  return rgb;
}

// To the nearest, halves to the even one, as NumPy rounds.
function evenly(value) {
  const down = Math.floor(value);
  const rest = value - down;
  if (rest !== 0.5) return rest < 0.5 ? down : down + 1;
  return down % 2 ? down + 1 : down;
}
