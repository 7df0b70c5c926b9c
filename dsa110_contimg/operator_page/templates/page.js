"use strict";
(() => {
  const root = document.documentElement;
  let outer = null;
  try {
    outer = window.parent === window ? null : window.parent.document;
  } catch {
    return; // framed by a stranger
  }
  if (outer === null) return;
  root.classList.add("framed");

  const followTheme = () => {
    const classes = outer.documentElement.classList;
    const theme = ["dark", "light"].find((name) => classes.contains(name));
    if (theme) root.dataset.theme = theme;
  };
  followTheme();
  new MutationObserver(followTheme)
    .observe(outer.documentElement, { attributes: true, attributeFilter: ["class"] });

  // The sandbox of Airflow's frame lets no link of this page move the window around it; a link of
  // that window may.
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-airflow]");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    const copy = outer.createElement("a");
    copy.href = link.href;
    outer.body.append(copy);
    copy.click();
    copy.remove();
  });
})();
