// What the networks say of the open film: bars with ticks, doubts first, provenance last.

import { fill, find, make } from "./dom.js";
import { certainty, inHundred, labelWords, milliseconds, pointWords, problemWords, remarkWords, sentence } from "./words.js";

export class FindingsView {
  // `onFocus({model, label} | null)`: whose map is to be shown.
  constructor(catalogue, onFocus) {
    Object.assign(this, { catalogue, onFocus, chosen: null, film: null });
    this.list = find("finding-list");
  }

  show(film) {
    const fresh = film !== this.film;
    this.film = film;
    if (!film) return this.#nothing("Add a film to see what the networks see in it.");
    if (!film.answer) return this.#nothing(film.problem ? problemWords(film.problem) : "Not read yet.");
    if (fresh || !this.#isThere(this.chosen)) this.chosen = this.#first(film);
    const focused = document.activeElement?.dataset?.finding;
    fill(
      this.list,
      doubts(film),
      film.classifiers.map((result) => this.#result(result)),
      film.segmentation ? lungs(film.segmentation) : null,
      film.where === "device" ? make("p", { className: "soft" }, "Boxes and lung outlines are given by the service only.") : null,
      provenance(film),
    );
    if (focused) this.list.querySelector(`[data-finding="${CSS.escape(focused)}"]`)?.focus();
    this.onFocus(this.chosen);
  }

  // The next or previous finding, over all networks.
  step(by) {
    const rows = [...this.list.querySelectorAll("button.finding")];
    if (!rows.length) return;
    const at = rows.findIndex((row) => row.getAttribute("aria-pressed") === "true");
    const next = rows[(at + by + rows.length) % rows.length];
    next.click();
    this.list.querySelector(`[data-finding="${CSS.escape(next.dataset.finding)}"]`)?.focus();
  }

  #nothing(words) {
    this.chosen = null;
    fill(this.list, make("p", { className: "soft" }, words));
    this.onFocus(null);
  }

  #isThere(chosen) {
    return chosen && this.film.probability(chosen.model, chosen.label) !== null;
  }

  #first(film) {
    const { leading } = film;
    return leading && { model: leading.result.model.name, label: leading.finding.label };
  }

  #result(result) {
    const known = this.catalogue.get(result.model.name);
    const assessed = result.findings.filter(({ probability }) => probability !== null);
    assessed.sort((one, other) => other.probability - one.probability);
    const untrained = result.findings.filter(({ probability }) => probability === null);
    return make("section", { className: "result" },
      make("h3", {}, result.model.name, make("span", { className: "soft" }, ` ${result.model.version}, ${pointWords(result.operating_point ?? "no operating point").toLowerCase()}`)),
      result.cautions.map(({ code, detail }) => make("p", { className: "caution", title: detail }, remarkWords(code, detail))),
      make("ul", { className: "bars" }, assessed.map((finding) => make("li", {}, this.#row(result, finding, known)))),
      untrained.length ? make("p", { className: "soft" }, `Not assessed (nothing trustworthy trained it): ${untrained.map(({ label }) => labelWords(label)).join(", ")}.`) : null,
      result.boxes_within ? make("p", { className: "soft" }, `Boxes keep to the lungs as ${result.boxes_within} outlines them.`) : null,
    );
  }

  #row(result, finding, known) {
    const model = result.model.name;
    const { label, probability, threshold, positive, code } = finding;
    const pressed = this.chosen?.model === model && this.chosen?.label === label;
    const focus = { model, label };
    const ticks = Object.entries(known?.operating_points ?? {}).filter(([, of]) => label in of);
    const judged = positive === null ? "no threshold" : `${positive ? "above" : "below"} the threshold ${threshold.toFixed(3)}`;
    const bar = make("span", { className: "track", "aria-hidden": "true" }, make("span", { className: "level" }));
    bar.firstChild.style.inlineSize = `${100 * probability}%`;
    for (const [point, of] of ticks) {
      const tick = make("span", { className: `tick${point === result.operating_point ? " in-force" : ""}`, title: `${pointWords(point)}: ${of[label].toFixed(3)}` });
      tick.style.insetInlineStart = `${100 * of[label]}%`;
      bar.append(tick);
    }
    return make("button", {
      type: "button", className: `finding${positive ? " positive" : ""}`, "aria-pressed": String(pressed), "data-finding": `${model}|${label}`,
      title: code ? `${code.system} ${code.value} ${code.meaning}` : null,
      onclick: () => {
        this.chosen = focus;
        this.show(this.film);
      },
      onmouseenter: () => this.onFocus(focus),
      onmouseleave: () => this.onFocus(this.chosen),
    },
      make("span", { className: "label" }, labelWords(label)),
      make("span", { className: "number" }, probability.toFixed(3)),
      bar,
      make("span", { className: "said" }, `${certainty(probability)}, ${inHundred(probability)}; ${judged}`),
    );
  }
}

function doubts(film) {
  const { reasons, warnings } = film.answer.image;
  if (!reasons.length && !warnings.length) return null;
  const item = ({ code, detail }, className) => make("li", { className, title: detail, "data-code": code }, remarkWords(code, detail));
  return make("ul", { className: "doubts", "aria-label": "Warnings" },
    reasons.map((one) => item(one, "reason")), warnings.map((one) => item(one, "warning")));
}

function lungs({ segments, measurements }) {
  const area = (one) => (one.area_cm2 === null ? `${(100 * one.area_share).toFixed(1)} % of the film` : `${one.area_cm2.toFixed(0)} cm² at the detector`);
  return make("section", { className: "result" }, make("h3", {}, "Lungs"),
    make("dl", { className: "pairs" },
      segments.map((one) => make("div", {}, make("dt", {}, labelWords(one.label)), make("dd", {}, area(one)))),
      measurements.map(({ name, value, detail }) =>
        make("div", { title: detail, "data-measurement": name }, make("dt", {}, labelWords(name)), make("dd", {}, value === null ? "not given" : value.toFixed(2)))),
    ),
    measurements.map(({ value, detail }) => make("p", { className: "soft" }, value === null ? sentence(detail.replace(/^not given: /, "")) : "The ratio is derived from the masks; AP and supine films show the heart larger than it is.")));
}

function provenance(film) {
  const { answer } = film;
  const { decode, queue, inference, total } = answer.timings_ms;
  const pair = (term, said, attributes = {}) => make("div", attributes, make("dt", {}, term), make("dd", {}, said));
  const { width, height, format, view } = answer.image;
  return make("details", { className: "provenance" }, make("summary", {}, "How this was read"),
    make("dl", { className: "pairs" },
      pair("Read", film.where === "device" ? "on this device" : "by the service"),
      pair("Time", `${milliseconds(total)}: decoding ${milliseconds(decode)}, waiting ${milliseconds(queue)}, network ${milliseconds(inference)}`, { "data-pair": "time" }),
      pair("Picture", [`${width} × ${height}`, format.replace(/^.*\//, "").toUpperCase(), view].filter(Boolean).join(", ")),
      answer.results.map(({ model }) => pair(`${model.name} ${model.version}`, make("span", {}, `${model.engine} · `, make("code", {}, model.digest.slice(0, 19)), "…"), { title: model.digest, "data-digest": model.digest })),
      pair("Answer", make("code", {}, answer.id)),
    ),
    make("p", { className: "soft" }, answer.notice));
}
