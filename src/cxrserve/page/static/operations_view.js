// What the service does right now, from its own metrics.

import { dressed, fill, make } from "./dom.js";
import { chosen, samplesOf, sum } from "./metrics_text.js";
import { problemWords } from "./words.js";

const EVERY_MS = 2000;
const KEPT = 60;
const CLASSES = ["stat", "urgent", "routine"]; // who goes first stands first

export class OperationsView {
  #timer = 0;
  #before = null;
  #rates = [];

  constructor(element, service) {
    Object.assign(this, { element, service });
    dressed("style/models.css");
    this.body = make("div", { className: "tiles-and-tables" });
    this.state = make("p", { className: "soft", role: "status" });
    fill(element, make("h2", {}, "Operation"), this.state, this.body);
  }

  open() {
    if (!this.service) this.state.textContent = "There is no service here.";
    else this.#look();
  }

  close() {
    clearTimeout(this.#timer);
  }

  async #look() {
    clearTimeout(this.#timer);
    try {
      const now = { at: performance.now(), samples: samplesOf(await this.service.metrics()) };
      this.#show(now);
      this.#before = now;
      this.state.textContent = `Looked at ${new Date().toLocaleTimeString()}, every ${EVERY_MS / 1000} seconds.`;
    } catch {
      this.state.textContent = "The service cannot be reached; looking again.";
    }
    this.#timer = setTimeout(() => this.#look(), EVERY_MS);
  }

  #show({ at, samples }) {
    const rate = (name, labels) => {
      if (!this.#before) return 0;
      return Math.max(0, sum(samples, name, labels) - sum(this.#before.samples, name, labels)) / ((at - this.#before.at) / 1000);
    };
    const answered = rate("cxrserve_requests_total", { outcome: "answered" });
    this.#rates = [...this.#rates, answered].slice(-KEPT);
    const memory = sum(samples, "process_resident_memory_bytes") / 2 ** 20;
    fill(this.body,
      make("div", { className: "tiles" },
        tile("Films answered a second", answered.toFixed(1), spark(this.#rates)),
        tile("Waiting", sum(samples, "cxrserve_queue_requests"), byClass(samples)),
        tile("Answered since the start", sum(samples, "cxrserve_requests_total", { outcome: "answered" })),
        tile("Refused for want of time", sum(samples, "cxrserve_batcher_refused_total")),
        tile("Processor", `${(100 * rate("process_cpu_seconds_total")).toFixed(0)} %`),
        tile("Memory", `${memory.toFixed(0)} MiB`)),
      queues(samples), endings(samples));
  }
}

const tile = (words, value, more) => make("div", { className: "tile" }, make("p", { className: "big" }, value), make("p", {}, words), more ?? null);

const byClass = (samples) =>
  make("p", {}, CLASSES.map((one) => `${sum(samples, "cxrserve_queue_requests", { class: one })} ${one}`).join(", "));

function spark(rates) {
  const space = "http://www.w3.org/2000/svg";
  const picture = document.createElementNS(space, "svg");
  picture.setAttribute("viewBox", "0 0 120 24");
  picture.setAttribute("aria-hidden", "true");
  const most = Math.max(1, ...rates);
  const line = document.createElementNS(space, "polyline");
  line.setAttribute("points", rates.map((one, at) => `${(at / (KEPT - 1)) * 120},${23 - (22 * one) / most}`).join(" "));
  picture.append(line);
  return picture;
}

// A network's queues together, whichever engines run it; who waits, by class.
function queues(samples) {
  const models = [...new Set(chosen(samples, "cxrserve_queue_requests").map(({ labels }) => labels.model))];
  const row = (model) => {
    const waiting = CLASSES.map((one) => sum(samples, "cxrserve_queue_requests", { model, class: one }));
    const images = sum(samples, "cxrserve_images_total", { model, outcome: "answered" });
    const mean = (where) => (images ? ((1000 * sum(samples, "cxrserve_image_seconds_total", { model, in: where })) / images).toFixed(1) : "");
    const batches = chosen(samples, "cxrserve_batches_total", { model });
    const ran = batches.reduce((total, { value }) => total + value, 0);
    const size = ran ? (batches.reduce((total, { labels, value }) => total + Number(labels.size) * value, 0) / ran).toFixed(2) : "";
    const late = sum(samples, "cxrserve_images_total", { model, outcome: "late" });
    return [...waiting, images, late, mean("queue"), mean("engine"), size];
  };
  const head = ["Network", ...CLASSES.map((one) => `Waiting: ${one}`), "Read", "Late", "ms waiting", "ms running", "Films a batch"];
  return table("Queues", head, models.map((model) => [model, ...row(model)]));
}

function endings(samples) {
  const outcomes = [...new Set(chosen(samples, "cxrserve_requests_total").map(({ labels }) => labels.outcome))];
  const ended = outcomes
    .map((outcome) => ({ outcome, value: sum(samples, "cxrserve_requests_total", { outcome }) }))
    .sort((one, other) => other.value - one.value);
  const words = (code) => (code === "answered" ? "Answered" : problemWords({ code, detail: code.replaceAll("_", " ") }));
  return table("How requests ended", ["Outcome", "Requests"], ended.map(({ outcome, value }) => [words(outcome), value]));
}

function table(title, head, rows) {
  return make("section", { className: "card" }, make("h3", {}, title),
    make("div", { className: "wide", tabindex: 0, role: "region", "aria-label": title },
      make("table", {}, make("thead", {}, make("tr", {}, head.map((one) => make("th", { scope: "col" }, one)))),
        make("tbody", {}, rows.map(([first, ...rest]) => make("tr", {}, make("th", { scope: "row" }, first), rest.map((one) => make("td", {}, one))))))));
}
