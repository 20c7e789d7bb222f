// Prometheus' text format: `name{label="value"} number`, a sample a line.

const SAMPLE = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)/;
const LABEL = /(\w+)="((?:[^"\\]|\\.)*)"/g;

export function samplesOf(text) {
  const samples = [];
  for (const line of text.split("\n")) {
    const match = line.startsWith("#") ? null : SAMPLE.exec(line);
    if (!match) continue;
    const labels = Object.fromEntries([...(match[2] ?? "").matchAll(LABEL)].map(([, name, value]) => [name, value]));
    samples.push({ name: match[1], labels, value: Number(match[3]) });
  }
  return samples;
}

export function sum(samples, name, labels = {}) {
  return chosen(samples, name, labels).reduce((total, { value }) => total + value, 0);
}

export const chosen = (samples, name, labels = {}) =>
  samples.filter((one) => one.name === name && Object.entries(labels).every(([key, value]) => one.labels[key] === value));
