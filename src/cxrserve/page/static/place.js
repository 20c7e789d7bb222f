// Where films are read: by the service, or on this device, from which no pixel goes out then.

import { fill, find, make } from "./dom.js";

export class Places {
  current = null;

  constructor({ service, device, host, onChange }) {
    Object.assign(this, { service, device, host, onChange });
    for (const input of document.querySelectorAll("input[name=place]"))
      input.addEventListener("change", () => this.choose(input.value));
  }

  get isDevice() {
    return this.current === this.device;
  }

  start() {
    const choice = (name) => document.querySelector(`input[name=place][value=${name}]`);
    choice("service").disabled = !this.service;
    choice("device").disabled = !this.device.isOffered;
    choice("device").closest("label").title = this.device.isOffered ? "" : this.device.whyNot;
    this.choose(this.service ? "service" : "device");
  }

  // The networks are fetched once; from then on the page needs no net.
  async #prepare() {
    const told = make("span", { id: "prepared" }, " Fetching networks …");
    find("whereabouts").append(told);
    try {
      await this.device.prepare();
      told.textContent = " Works offline.";
    } catch {
      told.textContent = " The networks cannot be fetched; trying again with the next film.";
    }
  }

  choose(name) {
    this.current = name === "device" ? this.device : this.service;
    for (const input of document.querySelectorAll("input[name=place]")) input.checked = input.value === name;
    find("place").dataset.place = name;
    const words = name === "device"
      ? this.device.isOffered ? ["Images stay ", make("strong", {}, "on this device"), "."] : [this.device.whyNot]
      : ["Images are sent to ", make("strong", {}, this.host), "."];
    fill(find("whereabouts"), words);
    if (name === "device" && this.device.isOffered) this.#prepare();
    this.onChange(this.current);
  }
}
