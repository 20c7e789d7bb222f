// What is asked: at which operating point, and which networks.

import { fill, find, make } from "./dom.js";
import { POINTS, pointWords } from "./words.js";

const FIRST = "triage"; // what the service asks by default where it is there

export class QuestionsView {
  constructor(catalogue, onChange) {
    Object.assign(this, { catalogue, onChange, point: "balanced", models: new Set() });
  }

  // After the catalogue has changed: networks that are still there stay chosen.
  show(defaults) {
    const names = this.catalogue.classifiers.map(({ name }) => name);
    this.models = new Set(names.filter((name) => this.models.has(name)));
    if (!this.models.size) {
      const wanted = defaults.filter((name) => names.includes(name));
      this.models = new Set(wanted.length ? wanted : names.includes(FIRST) ? [FIRST] : names.slice(0, 1));
    }
    if (!this.catalogue.points.includes(this.point)) this.point = this.catalogue.points[0] ?? null;
    fill(find("points"), make("legend", {}, "Operating point"),
      make("div", { className: "choices" }, this.catalogue.points.map((point) => this.#choice("radio", "point", point, pointWords(point), point === this.point, POINTS[point]?.[1]))));
    fill(find("asked"), make("legend", {}, "Networks"),
      make("div", { className: "choices" }, names.map((name) => this.#choice("checkbox", "model", name, name, this.models.has(name), this.catalogue.get(name).description))));
  }

  // The outliner is always asked: boxes and the cardiothoracic ratio come from its masks.
  question() {
    const outliner = this.catalogue.outliner?.name;
    // A network without this operating point would refuse the question for all.
    const offered = (name) => !this.point || this.point in this.catalogue.get(name).operating_points;
    const point = [...this.models].every(offered) ? this.point : null;
    return { models: [...this.models, ...(outliner ? [outliner] : [])], point };
  }

  #choice(type, name, value, words, checked, title) {
    const input = make("input", { type, name, value });
    input.checked = checked;
    input.addEventListener("change", () => {
      if (type === "radio") this.point = value;
      else if (input.checked) this.models.add(value);
      else if (this.models.size > 1) this.models.delete(value);
      else input.checked = true; // somebody must be asked
      this.onChange();
    });
    return make("label", { className: "choice", title }, input, make("span", {}, words));
  }
}
