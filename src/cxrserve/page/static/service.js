// The service's API: one film up, one answer down; what went wrong says what to do next.

export const LOOK_AGAIN_MS = 2000;

export class Problem extends Error {
  constructor(document) {
    super(document.detail ?? document.title ?? "it failed");
    Object.assign(this, document);
  }
}

export class Busy extends Error {
  constructor(seconds) {
    super(`come back in ${seconds} s`);
    this.seconds = seconds;
  }
}

export class Gone extends Error {}
export class Cancelled extends Error {}

// When to try again, in ms: as long as it said, or a little where nobody is there; null: never.
export function againInMs(error) {
  if (error instanceof Busy) return error.seconds * 1000;
  return error instanceof Gone ? LOOK_AGAIN_MS : null;
}

export class Service {
  constructor(base) {
    this.base = base;
  }

  // XMLHttpRequest, because fetch tells nothing of what has been sent so far.
  predict(file, { models, point, force, signal, onProgress }) {
    const query = new URLSearchParams({ explain: "true" });
    for (const model of models) query.append("model", model);
    if (point) query.set("operating_point", point);
    if (force) query.set("force", "true");
    return new Promise((resolve, reject) => {
      const request = new XMLHttpRequest();
      request.open("POST", `${this.base}/v1/predict?${query}`);
      request.setRequestHeader("Content-Type", file.type || "application/octet-stream");
      request.upload.onprogress = ({ loaded, total }) => onProgress(total ? loaded / total : 0);
      request.upload.onload = () => onProgress(1);
      request.onerror = () => reject(new Gone());
      request.onabort = () => reject(new Cancelled());
      request.onload = () => {
        const failure = failureOf(request.status, (name) => request.getResponseHeader(name), request.responseText);
        if (failure) reject(failure);
        else resolve(JSON.parse(request.responseText));
      };
      signal.addEventListener("abort", () => request.abort());
      if (signal.aborted) reject(new Cancelled());
      else request.send(file);
    });
  }

  // The film's values, to be windowed here: one upload, however often the window is changed.
  async render(file, side, signal) {
    const headers = { Accept: "application/octet-stream", "Content-Type": file.type || "application/octet-stream" };
    const reply = await this.#fetch(`/v1/render?side=${side}`, { method: "POST", headers, body: file, signal });
    const told = JSON.parse(reply.headers.get("Cxr-Film"));
    return { ...told, values: new Uint16Array(await reply.arrayBuffer()) };
  }

  models() {
    return this.#fetch("/v1/models").then((reply) => reply.json());
  }

  model(name) {
    return this.#fetch(`/v1/models/${encodeURIComponent(name)}`).then((reply) => reply.json());
  }

  plot(name, file) {
    return `${this.base}/v1/models/${encodeURIComponent(name)}/plots/${encodeURIComponent(file)}`;
  }

  metrics() {
    return this.#fetch("/metrics").then((reply) => reply.text());
  }

  async isReady() {
    try {
      return (await fetch(`${this.base}/readyz`, { cache: "no-store" })).ok;
    } catch {
      return false;
    }
  }

  async #fetch(path, options = {}) {
    let reply;
    try {
      reply = await fetch(this.base + path, { cache: "no-store", ...options });
    } catch (error) {
      throw error.name === "AbortError" ? new Cancelled() : new Gone();
    }
    if (!reply.ok) throw failureOf(reply.status, (name) => reply.headers.get(name), await reply.text());
    return reply;
  }
}

function failureOf(status, header, text) {
  if (status >= 200 && status < 300) return null;
  const seconds = Number(header("Retry-After"));
  if (status === 429 || (status === 503 && seconds)) return new Busy(seconds || 1);
  // A proxy says so when nobody is behind it.
  if ([0, 502, 503].includes(status)) return new Gone();
  try {
    return new Problem({ status, ...JSON.parse(text) });
  } catch {
    return new Problem({ status, code: "unknown", detail: `the service answered ${status}` });
  }
}
