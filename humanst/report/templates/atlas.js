"use strict";
(() => {
  const form = document.querySelector("form.filter");
  const rows = Array.from(document.querySelectorAll("#section-table tbody tr"));
  const text = document.getElementById("filter-text");
  const selects = Array.from(form.querySelectorAll("select"));
  const shown = document.getElementById("shown");
  const words = new Map(rows.map((row) => [row, row.textContent.toLowerCase()]));
  const apply = () => {
    const asked = text.value.toLowerCase().split(/\s+/).filter(Boolean);
    let n = 0;
    for (const row of rows) {
      const fits = asked.every((word) => words.get(row).includes(word)) &&
        selects.every((select) => select.value === "" || row.dataset[select.dataset.filter] === select.value);
      row.hidden = !fits;
      n += fits;
    }
    shown.textContent = `${n} of ${rows.length} sections`;
  };
  form.hidden = false;
  form.addEventListener("submit", (event) => event.preventDefault());
  // Fields are empty only after the event of the reset.
  form.addEventListener("reset", () => setTimeout(apply));
  form.addEventListener("input", apply);
  // A browser that comes back to the page may have kept what was typed.
  apply();

  // In one file a section is folded until a link leads to it.
  const unfold = () => {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    const page = target && target.closest("details.page-of-section");
    if (!page) return;
    page.open = true;
    target.scrollIntoView();
  };
  addEventListener("hashchange", unfold);
  unfold();
})();
