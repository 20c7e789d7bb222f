// Everything can be done from the keyboard; letters are free where somebody writes.

const STEP = 0.08;

export function listenToKeys(acts) {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const { target } = event;
    if (target.closest("dialog")) return;
    if (target.matches("input:not([type=range]):not([type=radio]):not([type=checkbox]):not([type=file]), select, textarea")) return;
    const act = target.matches("canvas") ? (arrows(event, acts) ?? keys(event, acts)) : keys(event, acts);
    if (!act) return;
    event.preventDefault();
    act();
  });
}

function keys({ key }, acts) {
  const known = {
    j: () => acts.film(1), k: () => acts.film(-1), n: () => acts.finding(1), p: () => acts.finding(-1),
    "+": () => acts.zoom(1.25), "=": () => acts.zoom(1.25), "-": () => acts.zoom(0.8), 0: acts.reset,
    h: acts.map, b: acts.boxes, l: acts.lungs, c: acts.compare, w: acts.window, "[": () => acts.opacity(-0.1),
    "]": () => acts.opacity(0.1), a: acts.add, "?": acts.help,
  };
  return known[key.toLowerCase()];
}

function arrows({ key, shiftKey }, acts) {
  const [x, y] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[key] ?? [0, 0];
  if (!x && !y) return undefined;
  return () => (shiftKey ? acts.turnWindow(x * STEP, y * STEP) : acts.move(x * STEP, y * STEP));
}
