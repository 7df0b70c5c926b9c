"use strict";
(() => {
  const root = document.documentElement;
  root.classList.add("js");

  const value = (row, column, numeric) => {
    const cell = row.cells[column];
    const text = cell.dataset.v ?? cell.textContent.trim();
    if (!numeric) return text;
    const number = parseFloat(text.replace("\u2212", "-").replace(/[^\d.eE+-]/g, ""));
    return Number.isNaN(number) ? -Infinity : number;
  };

  const sortBy = (table, header) => {
    const column = header.cellIndex;
    const numeric = header.classList.contains("num");
    const down = header.getAttribute("aria-sort") === "ascending" ||
      (numeric && header.getAttribute("aria-sort") !== "descending");
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", down ? "descending" : "ascending");
    const keyed = [...table.tBodies[0].rows].map((row) => [value(row, column, numeric), row]);
    keyed.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0) * (down ? -1 : 1));
    table.tBodies[0].append(...keyed.map(([, row]) => row));
  };

  for (const table of document.querySelectorAll("table.sortable")) {
    for (const header of table.tHead.rows[0].cells) {
      if (!header.textContent.trim() || header.dataset.sort === "no") continue;
      const button = document.createElement("button");
      button.type = "button";
      button.append(...header.childNodes);
      button.title = "Sort";
      button.addEventListener("click", () => sortBy(table, header));
      header.append(button);
    }
  }

  for (const tools of document.querySelectorAll(".tools")) {
    const table = tools.parentElement.querySelector("table");
    const rows = [...table.tBodies[0].rows].map((row) => [row, row.textContent.toLowerCase()]);
    const search = tools.querySelector("input");
    const count = tools.querySelector("output");
    const chips = [...tools.querySelectorAll("button[data-state]")];
    const apply = () => {
      const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
      const states = chips.filter((c) => c.ariaPressed === "true").map((c) => c.dataset.state);
      let shown = 0;
      for (const [row, text] of rows) {
        row.hidden = !(words.every((word) => text.includes(word)) &&
          (!states.length || states.includes(row.dataset.state)));
        shown += !row.hidden;
      }
      count.textContent = shown === rows.length ? `${shown} rows` : `${shown} of ${rows.length} rows`;
    };
    search.addEventListener("input", apply);
    for (const chip of chips) {
      chip.addEventListener("click", () => {
        chip.ariaPressed = chip.ariaPressed === "true" ? "false" : "true";
        apply();
      });
    }
    apply();
    tools.reveal = () => {
      search.value = "";
      for (const chip of chips) chip.ariaPressed = "false";
      apply();
    };
  }

  const reveal = () => {
    const target = location.hash && document.getElementById(location.hash.slice(1));
    if (!target || target.tagName !== "TR") return;
    if (target.hidden) target.closest(".panel").querySelector(".tools").reveal();
    target.scrollIntoView({ block: "center" });
  };
  window.addEventListener("hashchange", reveal);
  if (location.hash) reveal();

  const dialog = document.querySelector("dialog");
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a.pic");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    const small = link.querySelector("img");
    if (small.naturalWidth < 300) return; // too small to enlarge: open the file itself
    event.preventDefault();
    const large = dialog.querySelector("img");
    large.src = small.src;
    large.alt = small.alt;
    dialog.querySelector("span").textContent = small.alt;
    dialog.querySelector("a").href = link.href;
    dialog.showModal();
  });
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog || event.target.id === "close") dialog.close();
  });

  // Served by the operator page, the report leads back to it; as a file it stands alone.
  if (/\/operator\/nights\/[^/]+\/report\.html$/.test(location.pathname)) {
    for (const link of document.querySelectorAll("a.operator")) link.hidden = false;
  }

  window.addEventListener("beforeprint", () => {
    for (const details of document.querySelectorAll("details")) details.open = true;
  });
  root.dataset.ready = "yes";
})();
