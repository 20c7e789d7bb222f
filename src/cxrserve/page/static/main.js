// Wires the page together.

import { Catalogue } from "./catalogue.js";
import { find } from "./dom.js";
import { drawScale } from "./evidence.js";
import { Films } from "./films.js";
import { FindingsView } from "./findings_view.js";
import { takeIn } from "./intake.js";
import { listenToKeys } from "./keys.js";
import { Device } from "./local/device.js";
import { kindOf, pictureOf, thumbnailOf } from "./picture.js";
import { Places } from "./place.js";
import { QuestionsView } from "./questions_view.js";
import { Reading } from "./reading.js";
import { Gone, Service, againInMs } from "./service.js";
import { theme } from "./theme.js";
import { ViewState } from "./view_state.js";
import { Viewer } from "./viewer.js";
import { labelWords } from "./words.js";
import { WorklistView } from "./worklist_view.js";

theme(find("theme"));
const about = await (await fetch("about.json")).json();
const api = about.service === null ? null : new Service(new URL(about.service, location.href).href.replace(/\/$/, ""));
const films = new Films();
const catalogue = new Catalogue();
const view = new ViewState();
const questions = new QuestionsView(catalogue, () => reading.all());
const viewer = new Viewer(find("panes"), view, catalogue, (film, signal) => pictureOf(film.file, places.isDevice ? null : api, signal));
const kept = keptForOffline();
const device = new Device(about.local, kept, about.notice);
const service = api && { name: "service", ask: (film, question) => api.predict(film.file, question), isThere: () => api.isReady() };
const places = new Places({ service, device, host: location.host, onChange: placed });
const reading = new Reading(films, () => places.current, () => (isPlaced ? questions.question() : null));
const worklist = new WorklistView(films, reading);
const findings = new FindingsView(catalogue, focused);
// What is not needed to read a film comes when it is asked for.
const views = {
  models: async () => new (await import("./models_view.js")).ModelsView(find("models"), api),
  operations: async () => new (await import("./operations_view.js")).OperationsView(find("operations"), api),
};
const made = {};

let isPlaced = false; // until it is known which networks there are, films wait
async function placed(place) {
  isPlaced = false;
  catalogue.clear();
  if (places.isDevice) for (const model of about.local.models) catalogue.add(model);
  else await networks();
  questions.show(places.isDevice ? [about.local.models[0]?.name] : about.default_models);
  if (place !== places.current) return;
  isPlaced = true;
  // What the service has been given is not taken back; what waits goes where it is now read.
  reading.all(films.list.filter((film) => film.isOpen || film.problem?.code === "needs_service"));
  reading.pump();
}

async function networks() {
  for (;;) {
    try {
      await catalogue.load(api);
      return say("");
    } catch (error) {
      say(error instanceof Gone ? "The service cannot be reached. Trying again." : "The service is starting. Please wait.");
      await new Promise((resolve) => setTimeout(resolve, 1500));
      if (places.isDevice) return say("");
    }
  }
}

function say(words) {
  const notice = find("notice");
  if (notice.textContent === words) return;
  notice.textContent = words;
  notice.hidden = !words;
}

function focused(focus) {
  viewer.look(focus);
  find("scale-of").textContent = focus ? `${labelWords(focus.label)}: log-odds, the same scale for every film` : "log-odds, the same scale for every film";
}

// Thumbnails are made one after the other, from the picture itself, and the picture is let go.
let thumbnails = Promise.resolve();
films.addEventListener("added", ({ detail: added }) => {
  if (films.chosen === added[0]) open(added[0]);
  for (const film of added) thumbnails = thumbnails.then(() => thumbnail(film));
});
let owed = Promise.resolve(); // those that the service could not make yet, one at a time as well
async function thumbnail(film) {
  if (film.thumbnail || !films.list.includes(film)) return;
  const kind = await kindOf(film.file);
  try {
    const picture = await pictureOf(film.file, places.isDevice ? null : api);
    if (picture) films.change(film, { kind, thumbnail: thumbnailOf(picture) });
    picture?.close();
  } catch (error) {
    films.change(film, { kind }); // what is wrong with it, the answer says
    const again = againInMs(error);
    if (again !== null) owed = owed.then(() => new Promise((resolve) => setTimeout(resolve, again))).then(() => thumbnail(film));
  }
}

function open(film) {
  findings.show(film);
  viewer.open(film);
}
films.addEventListener("chosen", ({ detail: film }) => open(film));
films.addEventListener("changed", ({ detail: film }) => {
  if (film !== films.chosen) return;
  if (film.answer !== viewer.answer || film.state !== viewer.state) {
    const answered = film.answer !== viewer.answer;
    Object.assign(viewer, { answer: film.answer, state: film.state });
    findings.show(film);
    if (answered) viewer.answered();
  }
});
reading.addEventListener("service", ({ detail: gone }) => {
  const held = films.list.filter((film) => film.state === "held" || film.isOpen).length;
  say(gone ? `The service cannot be reached. ${held === 1 ? "1 film is" : `${held} films are`} kept here and read when it is back; nothing is lost.` : "");
});

viewer.addEventListener("changed", () => {
  const { picture, film } = viewer;
  find("viewer-tools").hidden = !picture;
  find("scale").hidden = !picture || !film?.answer;
  find("window-tools").hidden = !picture?.film;
  find("empty").hidden = Boolean(picture);
  find("empty").textContent = !film ? "No film is open." : viewer.trouble || "Opening the film …";
  find("compare").disabled = (film?.classifiers.length ?? 0) < 2;
  if (picture?.film) find("window").textContent = `C ${Math.round(picture.window.centre)}  W ${Math.round(picture.window.window)}`;
});
view.addEventListener("changed", () => {
  find("zoom").textContent = `${Math.round(view.zoom * 100)} %`;
  find("opacity").value = Math.round(view.opacity * 100);
  for (const [id, layer] of [["show-map", "map"], ["show-boxes", "boxes"], ["show-lungs", "lungs"]])
    find(id).setAttribute("aria-pressed", String(view[layer]));
});

const acts = {
  film: (by) => {
    const shown = worklist.shown();
    const next = shown[shown.indexOf(films.chosen) + by];
    if (next) films.choose(next);
  },
  finding: (by) => findings.step(by),
  zoom: (factor) => view.zoomAt(factor),
  reset: () => view.reset(),
  move: (x, y) => view.move(x, y),
  turnWindow: (x, y) => viewer.turnWindow(x, y),
  map: () => view.set({ map: !view.map }),
  boxes: () => view.set({ boxes: !view.boxes }),
  lungs: () => view.set({ lungs: !view.lungs }),
  opacity: (by) => view.set({ opacity: Math.min(1, Math.max(0, view.opacity + by)) }),
  compare: () => {
    if (find("compare").disabled) return;
    viewer.compare = !viewer.compare;
    find("compare").setAttribute("aria-pressed", String(viewer.compare));
    viewer.arrange();
  },
  window: () => {
    viewer.windowTool = !viewer.windowTool;
    find("window-tool").setAttribute("aria-pressed", String(viewer.windowTool));
  },
  add: () => find("picker").click(),
  help: () => find("keys").showModal(),
};
listenToKeys(acts);
const clicks = {
  "zoom-in": () => acts.zoom(1.25), "zoom-out": () => acts.zoom(0.8), reset: acts.reset, "show-map": acts.map,
  "show-boxes": acts.boxes, "show-lungs": acts.lungs, compare: acts.compare, "window-tool": acts.window,
  "window-reset": () => viewer.resetWindow(), "show-keys": acts.help, clear: () => films.clear(),
  "as-csv": () => exported("csv"), "as-json": () => exported("json"), "as-report": report,
};
for (const [id, act] of Object.entries(clicks)) find(id).addEventListener("click", act);
find("opacity").addEventListener("input", ({ target }) => view.set({ opacity: target.value / 100 }));

async function exported(kind) {
  const { asCsv, asJson, save } = await import("./exports.js");
  if (kind === "csv") save("cxrserve.csv", "text/csv", asCsv(worklist.shown(), about.notice));
  else save("cxrserve.json", "application/json", asJson(worklist.shown(), about.notice));
}

async function report() {
  if (films.chosen?.answer) (await import("./report.js")).printReport(films.chosen, viewer, about);
}

for (const tab of document.querySelectorAll(".tab")) {
  tab.addEventListener("click", async () => {
    for (const other of document.querySelectorAll(".tab")) other.toggleAttribute("aria-current", false);
    tab.setAttribute("aria-current", "page");
    for (const name of ["reading", "models", "operations"]) find(name).hidden = name !== tab.dataset.view;
    made.operations?.close();
    const { view } = tab.dataset;
    if (!(view in views)) return;
    made[view] ??= await views[view]();
    made[view].open();
  });
}

drawScale(find("scale-bar"));
findings.show(null);
find("made-by").textContent = `cxrserve ${about.version}. ${about.notice}`;
takeIn(films, { drop: find("drop"), pickers: [find("picker"), find("camera")] });
places.start();
document.documentElement.dataset.ready = "true";

// When the page is kept for when there is no net, or cannot be: what is fetched afterwards is kept too.
async function keptForOffline() {
  if (!("serviceWorker" in navigator)) return;
  const { serviceWorker } = navigator;
  const held = new Promise((resolve) => serviceWorker.addEventListener("controllerchange", resolve, { once: true }));
  try {
    await serviceWorker.register("sw.js");
  } catch {
    return; // it is read all the same, as long as there is a net
  }
  if (!serviceWorker.controller) await Promise.race([held, new Promise((resolve) => setTimeout(resolve, 5000))]);
}
