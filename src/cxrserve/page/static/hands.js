// What mouse, finger and wheel do on a pane: move, zoom, window.

const ROUGH = 1.2;

export function handsOn(view, windowing) {
  return (pane) => {
    const held = new Map();
    const { canvas } = pane;
    canvas.addEventListener("wheel", (event) => {
      if (!pane.picture) return;
      event.preventDefault();
      view.zoomAt(ROUGH ** (-event.deltaY / 100), ...pane.placeAt(event.clientX, event.clientY));
    }, { passive: false });
    canvas.addEventListener("dblclick", () => view.reset());
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("pointerdown", (event) => {
      if (!pane.picture) return;
      canvas.setPointerCapture(event.pointerId);
      held.set(event.pointerId, event);
    });
    canvas.addEventListener("pointermove", (event) => {
      const before = held.get(event.pointerId);
      if (!before) return;
      held.set(event.pointerId, event);
      if (held.size === 2) pinch([...held.values()], event, before);
      else drag(event, event.clientX - before.clientX, event.clientY - before.clientY);
    });
    for (const end of ["pointerup", "pointercancel"])
      canvas.addEventListener(end, (event) => held.delete(event.pointerId));

    // The right button does what the left one does not.
    function drag(event, dx, dy) {
      const windows = pane.picture.film && (event.buttons & 2 ? !windowing.isTool() : windowing.isTool());
      if (windows) windowing.drag(dx, dy, canvas.clientWidth);
      else {
        const [x, y] = pane.distance(dx, dy);
        view.move(-x, -y);
      }
    }

    function pinch([one, other], event, before) {
      const resting = one.pointerId === event.pointerId ? other : one;
      const apart = (point) => Math.hypot(point.clientX - resting.clientX, point.clientY - resting.clientY);
      const middle = pane.placeAt((one.clientX + other.clientX) / 2, (one.clientY + other.clientY) / 2);
      view.zoomAt(apart(event) / Math.max(1, apart(before)), ...middle);
    }
  };
}
