// How the film is looked at; shared by all panes, so that they move together.

const MOST = 16;

export class ViewState extends EventTarget {
  zoom = 1; // 1: the whole film fits
  x = 0.5; // the place of the film at the pane's middle, 0..1
  y = 0.5;
  opacity = 0.55;
  map = true;
  boxes = true;
  lungs = true;

  set(changes) {
    Object.assign(this, changes);
    this.zoom = Math.min(MOST, Math.max(1, this.zoom));
    const slack = 0.5 / this.zoom;
    this.x = Math.min(1 - slack, Math.max(slack, this.x));
    this.y = Math.min(1 - slack, Math.max(slack, this.y));
    this.dispatchEvent(new Event("changed"));
  }

  // Zoom so that the place (0..1) under the pointer stays under it.
  zoomAt(factor, x = this.x, y = this.y) {
    const zoom = Math.min(MOST, Math.max(1, this.zoom * factor));
    const keep = this.zoom / zoom;
    this.set({ zoom, x: x + (this.x - x) * keep, y: y + (this.y - y) * keep });
  }

  move(dx, dy) {
    this.set({ x: this.x + dx / this.zoom, y: this.y + dy / this.zoom });
  }

  reset() {
    this.set({ zoom: 1, x: 0.5, y: 0.5 });
  }
}
