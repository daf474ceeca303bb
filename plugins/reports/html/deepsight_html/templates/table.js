// Filters and sorts the table of samples. The page says everything without it.
(() => {
  "use strict";
  const table = document.getElementById("sample-table");
  if (!table) return;
  const bodies = Array.from(table.tBodies);
  const [dataset, outcome, text] = ["by-dataset", "by-outcome", "by-text"].map((id) => document.getElementById(id));
  const shown = document.getElementById("shown");
  const words = new Map();

  const wordsOf = (body) => {
    if (!words.has(body)) words.set(body, body.textContent.toLowerCase());
    return words.get(body);
  };

  const filter = () => {
    const wanted = text.value.trim().toLowerCase();
    let count = 0;
    for (const body of bodies) {
      const fits =
        (!dataset.value || body.dataset.dataset === dataset.value) &&
        (!outcome.value || body.dataset.outcomes.trim().split(" ").includes(outcome.value)) &&
        (!wanted || wordsOf(body).includes(wanted));
      body.hidden = !fits;
      count += fits;
    }
    shown.textContent = `${count} of ${bodies.length} shown`;
  };

  const keyOf = (body, column) => {
    const cell = body.rows[0].cells[column];
    return cell.dataset.key ? Number(cell.dataset.key) : cell.textContent.trim();
  };

  // Missing values last, whichever way; numbers before words.
  const compare = (a, b, direction) => {
    const missing = (key) => key === "" || key === "–";
    if (missing(a) || missing(b)) return missing(a) - missing(b);
    if (typeof a !== typeof b) return typeof a === "number" ? -1 : 1;
    return direction * (typeof a === "number" ? a - b : a.localeCompare(b));
  };

  const sort = (header) => {
    const direction = header.getAttribute("aria-sort") === "ascending" ? -1 : 1;
    for (const other of header.parentElement.cells) other.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", direction > 0 ? "ascending" : "descending");
    const keyed = bodies.map((body) => [keyOf(body, header.cellIndex), body]);
    keyed.sort((a, b) => compare(a[0], b[0], direction));
    table.append(...keyed.map((pair) => pair[1]));
  };

  for (const header of table.tHead.rows[0].cells) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...header.childNodes);
    button.addEventListener("click", () => sort(header));
    header.append(button);
  }
  const form = document.getElementById("filters");
  form.hidden = false;
  form.addEventListener("input", filter);
  form.addEventListener("submit", (event) => event.preventDefault());
  filter();
})();
