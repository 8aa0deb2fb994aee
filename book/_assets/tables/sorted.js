// Tables of the page that sort by the column whose head is pressed: once from the largest, again from the smallest.
"use strict";

(() => {
  const NUMBER = /^[+−-]?\d+(\.\d+)?/;

  /** What a cell sorts by: its first number, or its text; a dash sorts last. */
  const valueOf = (row, column) => {
    const text = row.cells[column].textContent.trim().replace("−", "-");
    if (text === "–") return null;
    const found = text.match(NUMBER);
    return found ? Number(found[0]) : text.toLowerCase();
  };

  const compare = (a, b) => (typeof a === typeof b ? (a < b ? -1 : Number(a > b)) : typeof a === "number" ? -1 : 1);

  const sort = (table, column, order) => {
    const body = table.tBodies[0];
    const keyed = [...body.rows].map((row) => ({ row, value: valueOf(row, column) }));
    keyed.sort((a, b) => {
      if (a.value === null || b.value === null) return Number(a.value === null) - Number(b.value === null);
      return order * compare(a.value, b.value);
    });
    body.append(...keyed.map(({ row }) => row));
  };

  for (const table of document.querySelectorAll(".bd-article table")) {
    [...table.tHead.rows[0].cells].forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "dr-sort";
      button.append(...head.querySelectorAll("p").length ? head.querySelector("p").childNodes : head.childNodes);
      head.replaceChildren(button);
      button.addEventListener("click", () => {
        const falling = head.getAttribute("aria-sort") !== "descending";
        for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", falling ? "descending" : "ascending");
        sort(table, column, falling ? -1 : 1);
      });
    });
  }
})();
