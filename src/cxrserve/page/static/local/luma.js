// Colour to grey, and how much colour there was, as Pillow and the service count it.

import { reduced } from "./fit.js";

const COLOUR_SIDE = 256;

// ITU-R BT.601 in sixteenths of a thousand, as Pillow's convert("L") has it.
export function lumaOf(rgb, step = 3) {
  const grey = new Uint8Array(rgb.length / step);
  for (let at = 0, from = 0; at < grey.length; at++, from += step)
    grey[at] = (rgb[from] * 19595 + rgb[from + 1] * 38470 + rgb[from + 2] * 7471 + 0x8000) >> 16;
  return grey;
}

// Mean of (largest − smallest channel) / 255 over the picture.
export function saturationOf(rgb, width, height, step = 3) {
  const factor = Math.max(1, Math.floor(Math.min(width, height) / COLOUR_SIDE));
  const channels = [0, 1, 2].map((channel) => {
    const plane = new Uint8Array(width * height);
    for (let at = 0; at < plane.length; at++) plane[at] = rgb[at * step + channel];
    return reduced({ pixels: plane, width, height }, factor, factor).pixels;
  });
  let sum = 0;
  for (let at = 0; at < channels[0].length; at++) {
    const here = channels.map((plane) => plane[at]);
    sum += Math.max(...here) - Math.min(...here);
  }
  return sum / channels[0].length / 255;
}
