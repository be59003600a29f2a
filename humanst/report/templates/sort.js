"use strict";
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = table.tHead.rows[0].cells;
  for (const head of heads) {
    head.querySelector("button").addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") !== "ascending";
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const at = head.cellIndex;
      const key = (row) => row.cells[at].dataset.key;
      const rows = Array.from(table.tBodies[0].rows);
      const numbers = rows.every((row) => key(row) === "" || Number.isFinite(Number(key(row))));
      rows.sort((a, b) => {
        const [x, y] = [key(a), key(b)];
        // What is not known stands last, whichever way.
        if (x === "" || y === "") return (x === "") - (y === "");
        const order = numbers ? Number(x) - Number(y) : x.localeCompare(y);
        return up ? order : -order;
      });
      table.tBodies[0].append(...rows);
    });
  }
}
