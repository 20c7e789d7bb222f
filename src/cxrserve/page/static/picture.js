// A file becomes what is shown: decoded here where the browser can, rendered by the service for DICOM.

import { windowed } from "./windowing.js";

const LONGEST = 2048;
const THUMBNAIL = 96;

// One film as it is shown: `source` is drawn at `width` × `height`, the size of the image that was sent.
class Picture {
  constructor(source, width, height) {
    Object.assign(this, { source, width, height, film: null, window: null });
  }

  close() {
    this.source.close?.();
  }
}

export class WindowedPicture extends Picture {
  #image;
  #context;

  constructor(film) {
    const canvas = new OffscreenCanvas(film.columns, film.rows);
    super(canvas, film.width, film.height);
    this.#context = canvas.getContext("2d");
    this.#image = new ImageData(film.columns, film.rows);
    this.film = film;
    this.reset();
  }

  reset() {
    this.look(this.film.centre, this.film.window);
  }

  look(centre, width) {
    this.window = { centre, window: Math.max(1, width), function: this.film.function };
    this.#context.putImageData(windowed(this.film, this.window, this.#image), 0, 0);
  }
}

export async function kindOf(file) {
  const head = new Uint8Array(await file.slice(0, 132).arrayBuffer());
  if (head[0] === 0xff && head[1] === 0xd8) return "JPEG";
  if (head[0] === 0x89 && head[1] === 0x50) return "PNG";
  if (String.fromCharCode(...head.slice(128, 132)) === "DICM") return "DICOM";
  // Old files come without preamble: they begin with an element of group 2 or 8.
  return (head[0] === 2 || head[0] === 8) && head[1] === 0 ? "DICOM" : "";
}

// `service` is null where no pixels may leave the device: DICOM is not shown then.
export async function pictureOf(file, service, signal) {
  const kind = await kindOf(file);
  if (kind === "DICOM") {
    if (!service) return null;
    return new WindowedPicture(await service.render(file, 1536, signal));
  }
  if (kind === "PNG" && (await isDeep(file))) {
    const deep = await deepPicture(file);
    if (deep) return deep;
  }
  const bitmap = await createImageBitmap(file);
  const { width, height } = bitmap;
  const scale = LONGEST / Math.max(width, height);
  if (scale >= 1) return new Picture(bitmap, width, height);
  const smaller = { resizeWidth: Math.round(width * scale), resizeHeight: Math.round(height * scale) };
  const shown = await createImageBitmap(bitmap, { ...smaller, resizeQuality: "medium" });
  bitmap.close();
  return new Picture(shown, width, height);
}

export function thumbnailOf(picture) {
  const scale = THUMBNAIL / Math.max(picture.width, picture.height);
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(picture.width * scale));
  canvas.height = Math.max(1, Math.round(picture.height * scale));
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(picture.source, 0, 0, canvas.width, canvas.height);
  return canvas;
}

// Sixteen-bit grey (PNG, section 11.2.1): browsers would drop the lower byte.
async function isDeep(file) {
  const head = new Uint8Array(await file.slice(0, 32).arrayBuffer());
  return head[24] === 16 && head[25] === 0;
}

// As the service stretches it.
async function deepPicture(file) {
  const { readPng } = await import("./local/png.js");
  const read = await readPng(await file.arrayBuffer());
  if (!read) return null;
  const { width, height, grey } = read;
  const canvas = new OffscreenCanvas(width, height);
  const image = new ImageData(width, height);
  const pixels = new Uint32Array(image.data.buffer);
  for (let at = 0; at < grey.length; at++) pixels[at] = 0xff000000 | (grey[at] * 0x10101);
  canvas.getContext("2d").putImageData(image, 0, 0);
  return new Picture(canvas, width, height);
}
