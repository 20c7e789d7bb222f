// One canvas: the film, and over it map, boxes and lungs of one network.

import { make } from "./dom.js";

export class Pane {
  constructor(view, hands) {
    this.view = view;
    this.picture = null;
    this.layers = { map: null, boxes: [], lungs: [] };
    this.canvas = make("canvas", { tabindex: 0, role: "img", "aria-label": "No film" });
    this.caption = make("figcaption");
    this.element = make("figure", { className: "pane" }, this.canvas, this.caption);
    this.watch = new ResizeObserver(() => this.draw());
    this.watch.observe(this.element);
    hands(this);
  }

  show(picture, layers, words) {
    Object.assign(this, { picture, layers });
    this.caption.textContent = words.caption;
    this.caption.hidden = !words.caption;
    this.canvas.setAttribute("aria-label", words.label);
    this.draw();
  }

  close() {
    this.watch.disconnect();
    this.element.remove();
  }

  // Place of the film (0..1) at a place of the screen.
  placeAt(clientX, clientY) {
    const bounds = this.canvas.getBoundingClientRect();
    const { scale, left, top } = this.#fitted(bounds.width, bounds.height);
    return [
      (clientX - bounds.left - left) / (this.picture.width * scale),
      (clientY - bounds.top - top) / (this.picture.height * scale),
    ];
  }

  // How much of the film (0..1 at zoom 1) a way on the screen is.
  distance(dx, dy) {
    const bounds = this.canvas.getBoundingClientRect();
    const { scale } = this.#fitted(bounds.width, bounds.height);
    const { zoom } = this.view;
    return [(dx * zoom) / (this.picture.width * scale), (dy * zoom) / (this.picture.height * scale)];
  }

  draw() {
    const bounds = this.canvas.getBoundingClientRect();
    const density = window.devicePixelRatio || 1;
    const width = Math.round(bounds.width * density);
    const height = Math.round(bounds.height * density);
    if (!width || !height) return;
    if (this.canvas.width !== width || this.canvas.height !== height) Object.assign(this.canvas, { width, height });
    const context = this.canvas.getContext("2d");
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, width, height);
    if (!this.picture) return;
    const { scale, left, top } = this.#fitted(bounds.width, bounds.height);
    context.setTransform(scale * density, 0, 0, scale * density, left * density, top * density);
    this.paint(context, 1 / scale);
  }

  // In pixels of the film; `thin` is one pixel of the screen. The report draws with it as well.
  paint(context, thin) {
    const { picture, view, layers } = this;
    context.imageSmoothingQuality = "high";
    context.drawImage(picture.source, 0, 0, picture.width, picture.height);
    if (view.map && layers.map) {
      context.globalAlpha = view.opacity;
      context.drawImage(layers.map, 0, 0, picture.width, picture.height);
      context.globalAlpha = 1;
    }
    if (view.lungs) for (const lung of layers.lungs) stroked(context, lung, "#7fe3c4", 1.6 * thin);
    if (view.boxes) for (const box of layers.boxes) stroked(context, rectangle(box), "#ffd84d", 2 * thin);
  }

  #fitted(width, height) {
    const { zoom, x, y } = this.view;
    const scale = Math.min(width / this.picture.width, height / this.picture.height) * zoom;
    const across = this.picture.width * scale;
    const down = this.picture.height * scale;
    return {
      scale,
      left: across <= width ? (width - across) / 2 : width / 2 - x * across,
      top: down <= height ? (height - down) / 2 : height / 2 - y * down,
    };
  }
}

function rectangle({ left, top, width, height }) {
  const path = new Path2D();
  path.rect(left, top, width, height);
  return path;
}

// Dark below light: visible on bone and on air.
function stroked(context, path, colour, width) {
  context.lineJoin = "round";
  for (const [style, wide] of [["rgba(0, 0, 0, .65)", 2.2 * width], [colour, width]]) {
    context.strokeStyle = style;
    context.lineWidth = wide;
    context.stroke(path);
  }
}
