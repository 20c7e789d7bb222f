// Reading on this device: a worker does it, so that the page stays quick.

import { Cancelled, Problem } from "../service.js";

export class Device {
  name = "device";
  #worker = null;
  #open = new Map();
  #next = 1;

  // `kept`: when the page is kept for when there is no net; a worker that starts later is so as well.
  constructor({ runtime, models, gate }, kept, notice) {
    Object.assign(this, { runtime, models, gate, kept, notice });
  }

  get isOffered() {
    return this.runtime && this.models.length > 0;
  }

  get whyNot() {
    return this.runtime ? "No network that runs on a device is installed here." : "Reading on this device is not installed here (make page).";
  }

  isThere() {
    return Promise.resolve(true);
  }

  // Fetch runtime and networks now: afterwards the device may be offline.
  prepare() {
    const models = [...this.models, ...(this.gate ? [this.gate] : [])];
    return this.#ask({ prepare: { models } });
  }

  async ask(film, { models, point, force, signal, onProgress }) {
    if (!this.isOffered) throw new Problem({ code: "not_offered", detail: this.whyNot });
    onProgress(1);
    const chosen = this.models.filter(({ name }) => models.includes(name));
    const question = { file: film.file, models: chosen, gate: this.gate, point, force, id: identifier(), notice: this.notice };
    const gone = new Promise((_, reject) => signal.addEventListener("abort", () => reject(new Cancelled())));
    return Promise.race([this.#ask({ film: question }), gone]);
  }

  async #ask(message) {
    await this.kept;
    this.#worker ??= this.#started();
    const id = this.#next++;
    return new Promise((resolve, reject) => {
      this.#open.set(id, { resolve, reject });
      this.#worker.postMessage({ id, ...message });
    });
  }

  #started() {
    const worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
    worker.addEventListener("message", ({ data: { id, told, problem } }) => {
      const { resolve, reject } = this.#open.get(id);
      this.#open.delete(id);
      if (problem) reject(new Problem(problem));
      else resolve(told);
    });
    worker.addEventListener("error", () => {
      for (const { reject } of this.#open.values()) reject(new Problem({ code: "unknown", detail: "The reader on this device stopped." }));
      this.#open.clear();
      this.#worker = null;
    });
    return worker;
  }
}

// crypto.randomUUID exists on secure pages only.
const identifier = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
