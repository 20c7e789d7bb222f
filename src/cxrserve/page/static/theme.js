// Colours: as the system has them, or as chosen here. The choice is all that is ever kept.

const KEPT = "cxrserve-theme";

export function theme(select) {
  const set = (name) => {
    if (name) document.documentElement.dataset.theme = name;
    else delete document.documentElement.dataset.theme;
  };
  try {
    select.value = localStorage.getItem(KEPT) ?? "";
  } catch {
    select.value = ""; // a browser may keep nothing at all
  }
  set(select.value);
  select.addEventListener("change", () => {
    set(select.value);
    try {
      localStorage.setItem(KEPT, select.value);
    } catch {
      /* it lasts until the page is closed */
    }
  });
}
