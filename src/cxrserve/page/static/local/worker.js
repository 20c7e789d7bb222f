// Reads films on this device: decode, gate, fit, infer. What comes in here is sent nowhere.

import { fitted, thumbnail } from "./fit.js";
import { refuses, remarks } from "./gate.js";
import { probabilities, resultOf } from "./interpret.js";
import { readJpeg } from "./jpeg.js";
import { lumaOf, saturationOf } from "./luma.js";
import { readPng } from "./png.js";

let runtime = null;
const sessions = new Map();

self.addEventListener("message", async ({ data: { id, prepare, film } }) => {
  try {
    const told = prepare ? await prepared(prepare) : await answerOf(film);
    self.postMessage({ id, told });
  } catch (error) {
    self.postMessage({ id, problem: error.problem ?? { code: "unknown", detail: String(error.message ?? error) } });
  }
});

// Everything there, so that no network is needed any more.
async function prepared({ models }) {
  for (const model of models) await sessionOf(model);
  return { threads: runtime.env.wasm.numThreads };
}

async function answerOf({ file, models, gate, point, force, notice, id }) {
  // Networks that are not there yet are no part of the time that the film takes.
  for (const model of gate ? [gate, ...models] : models) await sessionOf(model);
  const started = performance.now();
  const image = await decoded(file);
  const seen = gate && !image.phantom ? await asked(gate, thumbnail(image.picture, gate.input.side)) : null;
  const codes = remarks(image, seen && named(gate, seen.logits));
  const refusing = codes.filter(refuses);
  if (refusing.length && !force) throw problem("not_readable_as_chest", refusing.join(", "), refusing);
  const inputs = models.map((model) => fitted(image.picture, model.input));
  const prepared = performance.now();
  const results = [];
  let slowest = 0;
  for (const [at, model] of models.entries()) {
    const begun = performance.now();
    results.push(resultOf(model, point, await asked(model, inputs[at])));
    slowest = Math.max(slowest, performance.now() - begun);
  }
  const remark = (code) => ({ code, detail: code });
  return {
    id,
    image: {
      sha256: await digestOf(image), format: image.format, width: image.width, height: image.height, view: null,
      warnings: codes.filter((code) => !refuses(code)).map(remark), reasons: refusing.map(remark),
    },
    results,
    timings_ms: { decode: prepared - started, queue: 0, inference: slowest, total: performance.now() - started },
    notice,
  };
}

async function decoded(file) {
  const buffer = await file.arrayBuffer();
  const head = new Uint8Array(buffer, 0, Math.min(buffer.byteLength, 132));
  const isJpeg = head[0] === 0xff && head[1] === 0xd8;
  const isPng = head[0] === 0x89 && head[1] === 0x50;
  if (!isJpeg && !isPng) throw problem(String.fromCharCode(...head.slice(128)) === "DICM" ? "needs_service" : "unsupported_media_type", "no JPEG or PNG");
  let read;
  try {
    read = isJpeg ? await readJpeg(buffer) : ((await readPng(buffer)) ?? (await readByBrowser(file)));
  } catch {
    throw problem("unreadable_image", "it is damaged", ["corrupt"]);
  }
  const { pixelWidth = read.width, pixelHeight = read.height, grey: pixels } = read;
  const format = isJpeg ? "image/jpeg" : "image/png";
  return { ...read, format, pixels, pixelWidth, pixelHeight, picture: { pixels, width: pixelWidth, height: pixelHeight } };
}

async function readByBrowser(file) {
  const bitmap = await createImageBitmap(file, { colorSpaceConversion: "none" });
  const { width, height } = bitmap;
  const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
  context.fillRect(0, 0, width, height); // what is transparent has no density: black
  context.drawImage(bitmap, 0, 0);
  const { data } = context.getImageData(0, 0, width, height);
  return { width, height, grey: lumaOf(data, 4), saturation: saturationOf(data, width, height, 4), phantom: false };
}

async function asked(model, pixels) {
  const session = await sessionOf(model);
  const { side } = model.input;
  const { logits, cam } = await session.run({ pixels: new runtime.Tensor("uint8", pixels, [1, 1, side, side]) });
  return { logits: logits.data, cam: cam?.data, camShape: cam?.dims };
}

function sessionOf(model) {
  const key = model.graph.sha256;
  if (!sessions.has(key)) {
    const opening = opened(model);
    sessions.set(key, opening);
    opening.catch(() => sessions.delete(key));
  }
  return sessions.get(key);
}

async function opened({ name, graph }) {
  runtime ??= await loaded();
  const reply = await fetch(new URL(`../${graph.address}`, import.meta.url));
  if (!reply.ok) throw new Error(`the network ${name} is not there`);
  const bytes = new Uint8Array(await reply.arrayBuffer());
  if (hex(await crypto.subtle.digest("SHA-256", bytes)) !== graph.sha256) throw new Error(`the network ${name} is not what it should be`);
  return runtime.InferenceSession.create(bytes, { executionProviders: ["wasm"], graphOptimizationLevel: "all" });
}

async function loaded() {
  const runtime = await import("../vendor/ort.wasm.min.mjs");
  runtime.env.wasm.wasmPaths = new URL("../vendor/", import.meta.url).href;
  // Threads share memory, which browsers allow to isolated pages only.
  runtime.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(4, navigator.hardwareConcurrency) : 1;
  return runtime;
}

function named({ labels, calibration, activation }, logits) {
  const scores = probabilities(logits, { labels, calibration, activation });
  return Object.fromEntries(labels.map(({ name }, at) => [name, scores[at]]));
}

// Of shape and pixels, as the service gives it: the same film, the same digest.
async function digestOf({ pixels, pixelWidth, pixelHeight }) {
  const shape = new TextEncoder().encode(`${pixelHeight}x${pixelWidth}:`);
  const whole = new Uint8Array(shape.length + pixels.length);
  whole.set(shape);
  whole.set(pixels, shape.length);
  return hex(await crypto.subtle.digest("SHA-256", whole));
}

function problem(code, detail, reasons = []) {
  return Object.assign(new Error(detail), { problem: { code, detail, reasons } });
}

const hex = (buffer) => Array.from(new Uint8Array(buffer), (byte) => byte.toString(16).padStart(2, "0")).join("");
