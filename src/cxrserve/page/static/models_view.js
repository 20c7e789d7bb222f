// The networks: what each is for, what it is worth, whom it fails, what it costs here.

import { dressed, fill, make } from "./dom.js";
import { rendered } from "./markdown.js";
import { labelWords, pointWords } from "./words.js";

const PLOTS = { "roc.png": "ROC curves", "reliability.png": "Calibration: how often it was right at each probability", "precision_recall.png": "Precision and recall", "dice.png": "Overlap with readers’ outlines" };

export class ModelsView {
  constructor(element, service) {
    Object.assign(this, { element, service });
    dressed("style/models.css");
  }

  async open() {
    if (!this.service) return this.#say("There is no service here: the cards lie with the service.");
    try {
      const { models, left_out: leftOut } = await this.service.models();
      const details = await Promise.all(models.map(({ name }) => this.service.model(name)));
      fill(this.element,
        make("h2", {}, "Networks"),
        make("p", { className: "soft" }, "What each is worth stands on its card, with the population it was measured on. Read that before you believe a number."),
        make("nav", { className: "chips", "aria-label": "Networks" }, details.map(({ manifest }) => make("a", { className: "chip", href: `#card-${manifest.name}` }, manifest.name))),
        details.map((detail) => this.#card(detail)),
        leftOut.length ? make("section", {}, make("h3", {}, "Left out"), make("ul", {}, leftOut.map(({ folder, reason }) => make("li", {}, `${folder}: ${reason}`)))) : null);
    } catch {
      this.#say("The service cannot be reached. The cards come back with it.");
    }
  }

  #say(words) {
    fill(this.element, make("h2", {}, "Networks"), make("p", { className: "soft" }, words));
  }

  #card(detail) {
    const { manifest, digest, engine, plots } = detail;
    return make("article", { className: "card", id: `card-${manifest.name}` },
      make("header", {}, make("h3", {}, manifest.name, make("span", { className: "soft" }, ` ${manifest.version}`)), make("p", {}, manifest.description)),
      make("p", { className: "chips" }, manifest.labels.map(({ name, trained }) => make("span", { className: `chip${trained ? "" : " untrained"}`, title: trained ? null : "not assessed" }, labelWords(name)))),
      manifest.limitations.length ? make("section", { className: "limits" }, make("h4", {}, "Not for"), make("ul", {}, manifest.limitations.map((one) => make("li", {}, one)))) : null,
      make("div", { className: "figures" }, plots.map((file) => this.#plot(manifest.name, file))),
      thresholds(manifest), latency(detail, manifest.name),
      make("dl", { className: "pairs" }, pair("Engine", engine), pair("Digest", make("code", {}, digest)), pair("Trained on", manifest.provenance.data), pair("Licence", manifest.licence)),
      make("details", {}, make("summary", {}, "The whole card"), make("div", { className: "prose" }, rendered(detail.card, { of: manifest.name, image: (file, alt) => (plots.includes(file) ? this.#plot(manifest.name, file, alt) : null), from: 4 }))));
  }

  #plot(name, file, alt) {
    const words = alt || PLOTS[file] || file;
    return make("figure", {}, make("img", { src: this.service.plot(name, file), alt: `${words} of ${name}`, loading: "lazy" }), make("figcaption", {}, words));
  }
}

function thresholds({ name: model, labels, operating_points: points }) {
  const names = Object.keys(points);
  const judged = labels.filter(({ name }) => names.some((point) => name in points[point]));
  if (!judged.length) return null;
  return wide(`Thresholds of ${model}`, make("table", {}, make("caption", {}, "Thresholds of each operating point"),
    make("thead", {}, make("tr", {}, make("th", { scope: "col" }, "Finding"), names.map((point) => make("th", { scope: "col" }, pointWords(point))))),
    make("tbody", {}, judged.map(({ name }) => make("tr", {}, make("th", { scope: "row" }, labelWords(name)), names.map((point) => make("td", {}, points[point][name]?.toFixed(3) ?? "")))))));
}

function latency({ latency: { sizes, seconds, images, waiting } }, model) {
  return wide(`Time a batch of ${model} takes`, make("table", { className: "latency" }, make("caption", {}, `Measured here; ${images} films read since the start, ${waiting} waiting`),
    make("tbody", {},
      make("tr", {}, make("th", { scope: "row" }, "Films at once"), sizes.map((size) => make("td", {}, size))),
      make("tr", {}, make("th", { scope: "row" }, "Milliseconds"), seconds.map((one) => make("td", {}, (one * 1000).toFixed(1)))),
      make("tr", {}, make("th", { scope: "row" }, "Films a second"), seconds.map((one, at) => make("td", {}, one ? Math.round(sizes[at] / one) : ""))))));
}

const wide = (label, table) => make("div", { className: "wide", tabindex: 0, role: "region", "aria-label": label }, table);
const pair = (term, said) => make("div", {}, make("dt", {}, term), make("dd", {}, said));
