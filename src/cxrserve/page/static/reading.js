// Reads what waits, a few films at a time; waits when it is told to; loses nothing.

import { Busy, Cancelled, Gone, LOOK_AGAIN_MS, Problem } from "./service.js";

const AT_ONCE = 3;

export class Reading extends EventTarget {
  #running = 0;
  #looking = false;

  // `place()` gives who reads now: { name, ask(film, question), isThere() }.
  constructor(films, place, question) {
    super();
    Object.assign(this, { films, place, question, gone: false });
    films.addEventListener("added", () => this.pump());
    films.addEventListener("removed", () => this.pump());
  }

  pump() {
    if (this.gone && this.place().name === "service") {
      for (const film of this.#waiting()) this.films.change(film, { state: "held" });
      return;
    }
    const question = this.question();
    if (!question) return; // whoever makes it known calls again
    for (const film of this.#waiting()) {
      if (this.#running >= AT_ONCE) return;
      this.#read(film, question);
    }
  }

  cancel(film) {
    if (film.abort) film.abort.abort();
    else this.films.change(film, { state: "cancelled" });
  }

  again(film, { force = film.force } = {}) {
    if (film.abort) return;
    this.films.change(film, { state: "waiting", problem: null, progress: 0, until: 0, force });
    this.pump();
  }

  // Another question or another place: what was answered stays until the new answer is there.
  all(films = this.films.list) {
    for (const film of films) {
      film.abort?.abort("again");
      if (!film.abort && film.state !== "cancelled") this.again(film);
    }
  }

  #waiting() {
    return this.films.list.filter((film) => film.state === "waiting");
  }

  async #read(film, asked) {
    this.#running += 1;
    const place = this.place();
    film.abort = new AbortController();
    this.films.change(film, { state: "sending", progress: 0 });
    const onProgress = (part) =>
      film.abort && this.films.change(film, { state: part < 1 ? "sending" : "reading", progress: part });
    let outcome;
    try {
      const question = { ...asked, force: film.force, signal: film.abort.signal, onProgress };
      const answer = await place.ask(film, question);
      outcome = { state: "done", answer, where: place.name, problem: null };
    } catch (error) {
      outcome = this.#failed(film, error);
    }
    film.abort = null;
    this.#running -= 1;
    if (this.films.list.includes(film)) this.films.change(film, outcome);
    this.pump();
  }

  #failed(film, error) {
    if (film.abort.signal.aborted) return { state: film.abort.signal.reason === "again" ? "waiting" : "cancelled" };
    if (error instanceof Cancelled) return { state: "cancelled" };
    if (error instanceof Busy) {
      setTimeout(() => film.state === "busy" && this.again(film), error.seconds * 1000);
      return { state: "busy", until: Date.now() + error.seconds * 1000 };
    }
    if (error instanceof Gone) {
      this.#lost();
      return { state: "held" };
    }
    if (error instanceof Problem) {
      const refused = error.code === "not_readable_as_chest" || error.code === "needs_service";
      return { state: refused ? "refused" : "failed", problem: error };
    }
    console.error(error);
    return { state: "failed", problem: { code: "unknown", detail: String(error.message ?? error) } };
  }

  #lost() {
    this.gone = true;
    this.#told();
    if (this.#looking) return;
    this.#looking = true;
    setTimeout(() => this.#look(), LOOK_AGAIN_MS);
  }

  async #look() {
    const place = this.place();
    if (place.name === "service" && !(await place.isThere())) {
      this.#told();
      setTimeout(() => this.#look(), LOOK_AGAIN_MS);
      return;
    }
    this.gone = this.#looking = false;
    this.#told();
    for (const film of this.films.list) if (film.state === "held") this.again(film);
  }

  #told() {
    this.dispatchEvent(new CustomEvent("service", { detail: this.gone }));
  }
}
