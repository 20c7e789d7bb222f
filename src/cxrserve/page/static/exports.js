// The worklist as CSV and JSON, with where each figure comes from.

const COLUMNS = [
  "file", "state", "read_by", "model", "version", "digest", "operating_point", "finding", "probability",
  "threshold", "positive", "warnings", "problem", "notice",
];

export function asCsv(films, notice) {
  const rows = films.flatMap((film) => rowsOf(film, notice));
  return [COLUMNS, ...rows].map((row) => row.map(cell).join(",")).join("\r\n") + "\r\n";
}

export function asJson(films, notice) {
  const told = films.map((film) => ({
    file: film.name, state: film.state, read_by: film.where, answer: film.answer,
    problem: film.problem && { code: film.problem.code, detail: film.problem.detail, reasons: film.problem.reasons },
  }));
  return JSON.stringify({ notice, films: told }, null, 2);
}

export function save(name, type, text) {
  const address = URL.createObjectURL(new Blob([text], { type }));
  const link = Object.assign(document.createElement("a"), { href: address, download: name });
  link.click();
  URL.revokeObjectURL(address);
}

function rowsOf(film, notice) {
  const problem = film.problem?.code ?? "";
  if (!film.answer) return [[film.name, film.state, "", "", "", "", "", "", "", "", "", "", problem, notice]];
  const { warnings, reasons } = film.answer.image;
  const codes = [...reasons, ...warnings].map(({ code }) => code).join(" ");
  return film.classifiers.flatMap(({ model, operating_point: point, findings }) =>
    findings.map((one) => [
      film.name, film.state, film.where, model.name, model.version, model.digest, point ?? "", one.label,
      one.probability ?? "", one.threshold ?? "", one.positive ?? "", codes, problem, notice,
    ]),
  );
}

// A file's name may begin like a formula; a spreadsheet must not run it.
function cell(value) {
  const text = typeof value === "string" && /^[=+\-@\t\r]/.test(value) ? `'${value}` : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
