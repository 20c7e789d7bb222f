// One page on one film, for the browser to print.

import { dressed, fill, find, make } from "./dom.js";
import { certainty, labelWords, pointWords, remarkWords } from "./words.js";

export async function printReport(film, viewer, about) {
  await dressed("style/print.css");
  const report = find("report");
  fill(report, head(about), body(film, viewer.painted(1024)), foot(film, about));
  report.hidden = false;
  window.addEventListener("afterprint", () => fill(report).hidden = true, { once: true });
  window.print();
}

function head(about) {
  return make("header", {}, make("h1", {}, "Chest radiograph: what the networks see"), make("p", { className: "research" }, about.notice));
}

function body(film, painted) {
  const { image } = film.answer;
  const remarks = [...image.reasons, ...image.warnings];
  const picture = painted && make("img", { src: painted.toDataURL("image/jpeg", 0.9), alt: `Film ${film.name}` });
  return [
    make("section", { className: "report-film" },
      make("figure", {}, picture, make("figcaption", {}, "Orange speaks for the finding in focus, blue against it; the same scale for every film. A map shows a region, not an outline.")),
      make("dl", { className: "pairs" },
        pair("File", film.name), pair("Printed", new Date().toLocaleString()), pair("Picture", `${image.width} × ${image.height}${image.view ? `, ${image.view}` : ""}`),
        pair("Read", film.where === "device" ? "on the user’s device" : "by the service"),
        (film.segmentation?.measurements ?? []).filter(({ value }) => value !== null).map(({ name, value }) => pair(`${labelWords(name)} (derived)`, value.toFixed(2))),
      ),
      remarks.length ? make("ul", { className: "doubts" }, remarks.map(({ code, detail }) => make("li", {}, remarkWords(code, detail)))) : null),
    film.classifiers.map(table),
  ];
}

function table({ model, operating_point: point, findings, cautions }) {
  const row = ({ label, probability, threshold, positive }) =>
    make("tr", { className: positive ? "positive" : "" },
      make("th", { scope: "row" }, labelWords(label)),
      make("td", {}, probability === null ? "not assessed" : probability.toFixed(3)),
      make("td", {}, probability === null ? "" : certainty(probability)),
      make("td", {}, threshold === null ? "" : threshold.toFixed(3)),
      make("td", {}, positive === null ? "" : positive ? "above" : "below"));
  const sorted = [...findings].sort((one, other) => (other.probability ?? -1) - (one.probability ?? -1));
  return make("section", {},
    make("h2", {}, `${model.name} ${model.version}`, make("span", {}, point ? ` at “${pointWords(point)}”` : "")),
    cautions.map(({ code, detail }) => make("p", { className: "caution" }, remarkWords(code, detail))),
    make("table", {}, make("thead", {}, make("tr", {}, ["Finding", "Probability", "In words", "Threshold", "Film is"].map((one) => make("th", { scope: "col" }, one)))),
      make("tbody", {}, sorted.map(row))),
    make("p", { className: "digest" }, `${model.digest}, ${model.engine}`));
}

function foot(film, about) {
  return make("footer", {}, make("p", { className: "research" }, about.notice), make("p", {}, `cxrserve ${about.version}, answer ${film.answer.id}, picture sha256 ${film.answer.image.sha256}`));
}

const pair = (term, said) => make("div", {}, make("dt", {}, term), make("dd", {}, said));
