// The film that is open, in one pane or in one for each network.

import { drawnEvidence, evidenceOf } from "./evidence.js";
import { handsOn } from "./hands.js";
import { Pane } from "./pane.js";
import { Cancelled, againInMs } from "./service.js";
import { labelWords } from "./words.js";

export class Viewer extends EventTarget {
  #panes = [];
  #loading = null;
  #lungs = [];
  film = null;
  picture = null;
  compare = false;
  focus = null; // { model, label } whose map is shown
  trouble = "";

  // `catalogue.get(name)` gives a network's labels, input and activation; `pictures(film, signal)` its picture.
  constructor(element, view, catalogue, pictures) {
    super();
    Object.assign(this, { element, view, catalogue, pictures, windowTool: true });
    this.hands = handsOn(view, {
      isTool: () => this.windowTool,
      drag: (dx, dy, width) => this.turnWindow(dx / width, dy / width),
    });
    view.addEventListener("changed", () => this.#panes.forEach((pane) => pane.draw()));
  }

  async open(film) {
    this.#loading?.abort();
    const before = this.picture;
    Object.assign(this, { film, picture: null, trouble: "" });
    this.#lungs = [];
    this.arrange();
    before?.close();
    this.view.reset();
    this.#told();
    if (!film) return;
    await this.#load(film, (this.#loading = new AbortController()));
  }

  async #load(film, loading) {
    try {
      const picture = await this.pictures(film, loading.signal);
      if (loading.signal.aborted) return picture?.close();
      this.picture = picture;
      if (!picture) this.trouble = "This kind of file is only shown by the service; it has not left this device.";
    } catch (error) {
      if (loading.signal.aborted || error instanceof Cancelled) return;
      const again = againInMs(error);
      if (again !== null) setTimeout(() => loading.signal.aborted || this.#load(film, loading), again);
      this.trouble = again === null ? "This picture cannot be shown." : "The service shows this film as soon as it can.";
    }
    await this.answered();
  }

  // The answer of the open film is there, or another one.
  async answered() {
    const { film, picture } = this;
    const result = film?.answer?.results.find((one) => one.segmentation);
    const known = result && this.catalogue.get(result.model.name);
    this.#lungs = [];
    if (known && picture) {
      const { outlineOf } = await import("./outline.js");
      const masks = result.segmentation.segments.filter((segment) => segment.mask_png);
      const lungs = await Promise.all(masks.map(({ mask_png }) => outlineOf(mask_png, known.input, picture)));
      if (this.film !== film || this.picture !== picture) return;
      this.#lungs = lungs;
    }
    this.arrange();
    this.#told();
  }

  look(focus) {
    this.focus = focus;
    this.arrange();
  }

  turnWindow(across, down) {
    const { picture } = this;
    if (!picture?.film) return;
    const { centre, window } = picture.window;
    const range = picture.film.high - picture.film.low;
    picture.look(centre + down * range, window + across * range);
    this.arrange();
    this.#told();
  }

  resetWindow() {
    this.picture?.reset?.();
    this.arrange();
    this.#told();
  }

  arrange() {
    const shown = this.#shown();
    while (this.#panes.length > shown.length) this.#panes.pop().close();
    while (this.#panes.length < shown.length) {
      const pane = new Pane(this.view, this.hands);
      this.#panes.push(pane);
      this.element.append(pane.element);
    }
    shown.forEach((result, at) => this.#panes[at].show(this.picture, this.#layers(result), this.#words(result, shown.length)));
    this.element.dataset.panes = shown.length;
  }

  // The film with its layers at its own size, for the report.
  painted(longest) {
    const [pane] = this.#panes;
    if (!this.picture || !pane) return null;
    const scale = longest / Math.max(this.picture.width, this.picture.height);
    const canvas = document.createElement("canvas");
    canvas.width = Math.round(this.picture.width * scale);
    canvas.height = Math.round(this.picture.height * scale);
    const context = canvas.getContext("2d");
    context.scale(scale, scale);
    pane.paint(context, 1 / scale);
    return canvas;
  }

  #shown() {
    if (!this.picture) return [];
    const results = this.film.classifiers;
    if (this.compare && results.length > 1) return results;
    return [results.find((one) => one.model.name === this.focus?.model) ?? results[0] ?? null];
  }

  #layers(result) {
    const layers = { map: null, boxes: [], lungs: this.#lungs };
    const known = result && this.catalogue.get(result.model.name);
    const index = result ? this.#index(result) : -1;
    if (!known || index < 0) return layers;
    const finding = result.findings[index];
    layers.boxes = finding.boxes ?? [];
    if (finding.heat_map) {
      const evidence = evidenceOf(result.findings, index, known.activation);
      layers.map = drawnEvidence(evidence, known.input, this.picture);
    }
    return layers;
  }

  // The finding in focus, as this network calls it; side by side, else its most probable one.
  #index(result) {
    if (!this.focus) return -1;
    const named = result.findings.findIndex(({ label, probability }) => label === this.focus.label && probability !== null);
    if (named >= 0 || result.model.name === this.focus.model) return named;
    const probabilities = result.findings.map(({ probability }) => probability ?? -1);
    return probabilities.indexOf(Math.max(...probabilities));
  }

  #words(result, panes) {
    const index = result ? this.#index(result) : -1;
    const finding = result?.findings[index];
    const of = finding ? `${labelWords(finding.label)}, ${result.model.name}` : "";
    return {
      caption: panes > 1 ? of || result.model.name : "",
      label: `Film ${this.film.name}${of ? `, map for ${of}` : ""}. Plus and minus zoom, arrows move, 0 shows all.`,
    };
  }

  #told() {
    this.dispatchEvent(new Event("changed"));
  }
}
