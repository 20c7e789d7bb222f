// What is known of each network, by name: from the service, or from the page itself for the device.

export class Catalogue {
  #known = new Map();

  add(manifest) {
    this.#known.set(manifest.name, manifest);
  }

  get(name) {
    return this.#known.get(name);
  }

  get classifiers() {
    return [...this.#known.values()].filter(({ task }) => task !== "segmentation" && task !== "gate");
  }

  get outliner() {
    return [...this.#known.values()].find(({ task }) => task === "segmentation") ?? null;
  }

  get points() {
    return [...new Set(this.classifiers.flatMap((one) => Object.keys(one.operating_points)))];
  }

  async load(service) {
    const { models } = await service.models();
    for (const { name } of models) this.add((await service.model(name)).manifest);
  }

  clear() {
    this.#known.clear();
  }
}
