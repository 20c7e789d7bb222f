// Model cards: headings, paragraphs, lists, tables, code, emphasis. Anything else stays text.

import { make } from "./dom.js";

export function rendered(text, { of = "", image = () => null, from = 3 } = {}) {
  const lines = text.replaceAll("\r", "").split("\n");
  const blocks = [];
  while (lines.length) {
    const line = lines[0];
    const heading = /^(#{1,6})\s+(.*)/.exec(line);
    if (!line.trim()) lines.shift();
    else if (heading) {
      lines.shift();
      blocks.push(make(`h${Math.min(6, heading[1].length - 1 + from)}`, {}, inline(heading[2], image)));
    } else if (line.startsWith("```")) blocks.push(code(lines));
    else if (line.startsWith("|")) blocks.push(table(taken(lines, (one) => one.startsWith("|")), image, `Table ${blocks.length} of ${of}`));
    else if (/^\s*[-*]\s/.test(line)) blocks.push(list(lines, image));
    else blocks.push(make("p", {}, inline(taken(lines, isText).join(" "), image)));
  }
  return blocks;
}

const isText = (line) => line.trim() && !/^(#{1,6}\s|\||```|\s*[-*]\s)/.test(line);

function taken(lines, fits) {
  const block = [lines.shift()];
  while (lines.length && fits(lines[0])) block.push(lines.shift());
  return block;
}

function code(lines) {
  lines.shift();
  const block = [];
  while (lines.length && !lines[0].startsWith("```")) block.push(lines.shift());
  lines.shift();
  return make("pre", { tabindex: 0 }, block.join("\n"));
}

function list(lines, image) {
  const items = [];
  while (lines.length && (/^\s*[-*]\s/.test(lines[0]) || (items.length && /^\s+\S/.test(lines[0])))) {
    const line = lines.shift();
    if (/^\s*[-*]\s/.test(line)) items.push(line.replace(/^\s*[-*]\s/, ""));
    else items[items.length - 1] += ` ${line.trim()}`;
  }
  return make("ul", {}, items.map((item) => make("li", {}, inline(item, image))));
}

function table(rows, image, label) {
  const cells = (row) => row.replace(/^\||\|\s*$/g, "").split("|").map((cell) => cell.trim());
  const [head, , ...body] = rows.map(cells);
  return make("div", { className: "wide", tabindex: 0, role: "region", "aria-label": label },
    make("table", {},
      make("thead", {}, make("tr", {}, head.map((cell) => make("th", { scope: "col" }, inline(cell, image))))),
      make("tbody", {}, body.map((row) => make("tr", {}, row.map((cell) => make("td", {}, inline(cell, image))))))));
}

function inline(text, image) {
  const pattern = /!\[([^\]]*)\]\(([^)]+)\)|\[([^\]]+)\]\([^)]+\)|`([^`]+)`|\*\*([^*]+)\*\*|\*([^*]+)\*/g;
  const parts = [];
  let end = 0;
  for (const match of text.matchAll(pattern)) {
    parts.push(text.slice(end, match.index));
    const [all, alt, file, link, raw, strong, weak] = match;
    if (file) parts.push(image(file, alt));
    else if (raw) parts.push(make("code", {}, raw));
    else if (strong) parts.push(make("strong", {}, strong));
    else if (weak) parts.push(make("em", {}, weak));
    else parts.push(link);
    end = match.index + all.length;
  }
  parts.push(text.slice(end));
  return parts.filter((part) => part !== "" && part !== null);
}
