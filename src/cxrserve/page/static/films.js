// The worklist: every film that was added, in memory and nowhere else.

let next = 1;

export class Film {
  constructor(file) {
    this.id = next++;
    this.file = file;
    this.name = file.name || "pasted picture";
    this.state = "waiting";
    this.progress = 0;
    this.force = false;
    this.answer = null;
    this.problem = null;
    this.until = 0; // when to ask again, in ms since the epoch
    this.where = null; // "service" or "device": who gave the answer
    this.thumbnail = null;
    this.kind = "";
    this.abort = null;
  }

  get isOpen() {
    return ["waiting", "sending", "reading", "busy", "held"].includes(this.state);
  }

  get classifiers() {
    return this.answer ? this.answer.results.filter((result) => result.findings.length) : [];
  }

  get segmentation() {
    return this.answer?.results.find((result) => result.segmentation)?.segmentation ?? null;
  }

  probability(model, label) {
    const result = this.classifiers.find((one) => !model || one.model.name === model);
    return result?.findings.find((one) => one.label === label)?.probability ?? null;
  }

  // The strongest of what was found, else what is most probable.
  get leading() {
    const all = this.classifiers.flatMap((result) => result.findings.map((finding) => ({ result, finding })));
    const assessed = all.filter(({ finding }) => finding.probability !== null);
    const positive = assessed.filter(({ finding }) => finding.positive);
    const pool = positive.length ? positive : assessed;
    return pool.reduce((best, one) => (best && best.finding.probability >= one.finding.probability ? best : one), null);
  }
}

export class Films extends EventTarget {
  list = [];
  chosen = null;

  add(files) {
    const added = files.map((file) => new Film(file));
    this.list.push(...added);
    if (!this.chosen) this.chosen = added[0] ?? null;
    this.told("added", added);
    return added;
  }

  change(film, changes) {
    Object.assign(film, changes);
    this.told("changed", film);
  }

  choose(film) {
    this.chosen = film;
    this.told("chosen", film);
  }

  remove(film) {
    film.abort?.abort();
    const place = this.list.indexOf(film);
    this.list.splice(place, 1);
    if (this.chosen === film) this.choose(this.list[Math.min(place, this.list.length - 1)] ?? null);
    this.told("removed", film);
  }

  clear() {
    for (const film of this.list) film.abort?.abort();
    this.list = [];
    this.choose(null);
    this.told("removed", null);
  }

  told(what, detail) {
    this.dispatchEvent(new CustomEvent(what, { detail }));
  }
}
