// The table of films: picture, state, leading finding, and what can be done with each.

import { fill, find, make } from "./dom.js";
import { STATES, certainty, labelWords, problemWords } from "./words.js";

const MOST_SHOWN = 28;
const ORDERS = { added: "As added", name: "Name", state: "State", leading: "Leading finding" };

export class WorklistView {
  constructor(films, reading) {
    Object.assign(this, { films, reading, rows: new Map(), order: "added", filter: "" });
    this.body = find("worklist").tBodies[0];
    for (const event of ["added", "removed", "chosen"]) films.addEventListener(event, () => this.show());
    films.addEventListener("changed", ({ detail }) => this.#changed(detail));
    find("filter").addEventListener("input", ({ target }) => this.#set({ filter: target.value.trim().toLowerCase() }));
    find("sort").addEventListener("change", ({ target }) => this.#set({ order: target.value }));
    setInterval(() => this.#count(), 500);
    this.show();
  }

  // In the order that is shown: what J and K walk through.
  shown() {
    const kept = this.films.list.filter((film) => this.#matches(film));
    const key = this.#key();
    return key ? kept.map((film) => [key(film), film]).sort(([a], [b]) => compared(a, b)).map(([, film]) => film) : kept;
  }

  show() {
    const films = this.shown();
    const present = new Set(this.films.list);
    for (const [film] of this.rows) if (!present.has(film)) this.rows.delete(film);
    fill(this.body, films.map((film) => this.#row(film)));
    const any = this.films.list.length > 0;
    for (const id of ["worklist", "tools", "all-tools"]) find(id).hidden = !any;
    find("drop").classList.toggle("small", any);
    find("as-report").disabled = !this.films.list.some((film) => film.answer);
    this.#orders();
    this.#counts(films.length);
  }

  #set(changes) {
    Object.assign(this, changes);
    this.show();
  }

  #changed(film) {
    if (!this.rows.has(film)) return;
    this.#write(film, this.rows.get(film));
    // Rows move only when an answer is there, not while bytes go up.
    if (film.state === "done" || this.filter) this.show();
    else this.#counts(this.body.rows.length);
  }

  #matches(film) {
    if (!this.filter) return true;
    const found = film.classifiers.flatMap(({ findings }) => findings.filter(({ positive }) => positive));
    const words = [film.name, STATES[film.state], ...found.map(({ label }) => labelWords(label))];
    return words.join(" ").toLowerCase().includes(this.filter);
  }

  #key() {
    if (this.order === "name") return (film) => film.name.toLowerCase();
    if (this.order === "state") return (film) => Object.keys(STATES).indexOf(film.state);
    if (this.order === "leading") return (film) => -(film.leading?.finding.probability ?? -1);
    if (this.order === "added") return null;
    const [model, label] = this.order.split("|");
    return (film) => -(film.probability(model, label) ?? -1);
  }

  #orders() {
    const labels = new Map();
    for (const film of this.films.list)
      for (const { model, findings } of film.classifiers)
        for (const { label, probability } of findings)
          if (probability !== null) labels.set(`${model.name}|${label}`, `${labelWords(label)} (${model.name})`);
    const options = [...Object.entries(ORDERS), ...labels];
    const select = find("sort");
    if (select.options.length !== options.length)
      fill(select, options.map(([value, words]) => make("option", { value }, `Sort: ${words}`)));
    if (!options.some(([value]) => value === this.order)) this.order = "added";
    select.value = this.order;
    const finding = this.order.includes("|");
    find("sorted-by").textContent = finding ? labelWords(this.order.split("|")[1]) : "Leading finding";
  }

  #counts(shown) {
    const { list } = this.films;
    const read = list.filter((film) => film.state === "done").length;
    find("count").textContent = list.length ? `${read} of ${list.length} read${shown < list.length ? `, ${shown} shown` : ""}` : "";
  }

  #row(film) {
    if (!this.rows.has(film)) {
      const cells = {
        picture: make("td", { className: "thumbnail" }),
        name: make("td", { className: "name" }),
        finding: make("td", { className: "leading" }),
        actions: make("td", { className: "actions" }),
      };
      const row = make("tr", { "data-film": film.id, onclick: () => this.films.choose(film) }, Object.values(cells));
      this.rows.set(film, { row, ...cells });
    }
    const parts = this.rows.get(film);
    this.#write(film, parts);
    return parts.row;
  }

  #write(film, parts) {
    const chosen = this.films.chosen === film;
    parts.row.className = `state-${film.state}${chosen ? " chosen" : ""}`;
    if (film.thumbnail && film.thumbnail.parentNode !== parts.picture) fill(parts.picture, film.thumbnail);
    const focused = parts.row.contains(document.activeElement) && document.activeElement.dataset.action;
    const open = make("button", { type: "button", className: "open", "data-action": "open", "aria-current": chosen ? "true" : null, title: film.name }, shortened(film.name));
    fill(parts.name, open, this.#state(film));
    // What went wrong needs the room of the finding that is not there.
    parts.name.colSpan = film.answer ? 1 : 2;
    parts.finding.hidden = !film.answer;
    fill(parts.finding, leading(film, this.order));
    fill(parts.actions, this.#actions(film));
    if (focused) parts.row.querySelector(`[data-action="${focused}"]`)?.focus();
  }

  #state(film) {
    if (film.state === "sending" && film.progress < 1)
      return make("progress", { max: 1, value: film.progress, "aria-label": `Sending ${film.name}` });
    const words = film.problem ? problemWords(film.problem) : film.state === "done" ? "" : STATES[film.state];
    const left = film.state === "busy" ? `, again in ${this.#left(film)} s` : "";
    return make("span", { className: "state", "data-state": film.state }, words + left);
  }

  #left(film) {
    return Math.max(0, Math.ceil((film.until - Date.now()) / 1000));
  }

  #count() {
    for (const [film, parts] of this.rows) if (film.state === "busy") this.#write(film, parts);
  }

  #actions(film) {
    const button = (action, words, does, shown = words) =>
      make("button", {
        type: "button", className: "small", "data-action": action, "aria-label": `${words}: ${film.name}`, title: words,
        onclick: (event) => {
          event.stopPropagation();
          does();
        },
      }, shown);
    if (film.isOpen) return [button("cancel", "Cancel", () => this.reading.cancel(film))];
    const actions = [];
    if (film.problem?.code === "not_readable_as_chest")
      actions.push(button("force", "Read anyway", () => this.reading.again(film, { force: true })));
    else if (film.state !== "done") actions.push(button("again", "Retry", () => this.reading.again(film)));
    actions.push(button("remove", "Remove", () => this.films.remove(film), "✕"));
    return actions;
  }
}

// Names that an archive gives differ at their end.
const shortened = (name) => (name.length > MOST_SHOWN ? `${name.slice(0, 8)}…${name.slice(-14)}` : name);

function leading(film, order) {
  if (!film.answer) return null;
  let shown = film.leading;
  if (order.includes("|")) {
    const [model, label] = order.split("|");
    const result = film.classifiers.find((one) => one.model.name === model);
    const finding = result?.findings.find((one) => one.label === label);
    shown = finding?.probability != null ? { result, finding } : null;
  }
  if (!shown) return null;
  const { label, probability, positive } = shown.finding;
  return [
    make("span", { className: positive ? "positive" : "" }, labelWords(label)),
    make("span", { className: "number", title: certainty(probability) }, probability.toFixed(2)),
  ];
}

const compared = (a, b) => (a < b ? -1 : a > b ? 1 : 0);
