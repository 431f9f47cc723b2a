/* Tables that sort by any column.
 *
 * The headings of a table become buttons. The first click sorts numbers from the largest, text from A; the second the
 * other way; the third brings back the order as printed. Equal values keep the order as printed, missing ones are last.
 *
 * The book says once what neighbouring rows have in common in the first column: an empty first cell means "as above".
 * Such rows are a group. Where groups are few and long (no more groups than rows in each: the models on Food, the models
 * on Kitchen), they stay together, and the rows of each are sorted among themselves. Where they are many and short (each
 * step of an ablation, on Food and on Kitchen), all rows are sorted together. While a table is sorted, each row says
 * what its group is.
 *
 * Left alone: headings of several rows, cells that span several, fewer than two rows, and the class "keeps-order".
 */
(() => {
  "use strict";

  const MISSING = /^[-–—]?$/;
  // 1,234  −0.5  1e-05  < 0.001, and then nothing, or a unit, a spread, an interval, a whole: 5 %  ± 0.4  (1 to 2)  of 9
  const NUMBER = /^[<>±]?\s*([+−-]?)(\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?)(?:\s*[%×]|\s*[±[(].*|\s+(?:to|of)\s.*)?$/;
  const words = new Intl.Collator("en", { numeric: true });

  /** The number that a cell's text begins with, or NaN if the text is not that of a number. */
  function number(text) {
    const [, sign, digits] = NUMBER.exec(text) ?? [];
    return digits === undefined ? NaN : Number(digits.replaceAll(",", "")) * (/[−-]/.test(sign) ? -1 : 1);
  }

  const sortable = (table) =>
    table.tHead?.rows.length === 1 &&
    table.tBodies.length === 1 &&
    table.tBodies[0].rows.length > 1 &&
    !table.classList.contains("keeps-order") &&
    !table.querySelector("[colspan], [rowspan]");

  /** Number the groups of rows, and write into each row what its group is, to be seen while the table is sorted. */
  function grouped(rows) {
    let group = -1, name;
    return rows.map((row) => {
      const cell = row.cells[0], place = cell.querySelector("p") ?? cell;
      if (group < 0 || cell.textContent.trim()) {
        group += 1;
        name = place;
      } else {
        const again = document.createElement("span");
        again.className = "said-again";
        again.append(...[...name.childNodes].map((node) => node.cloneNode(true)));
        place.replaceChildren(again);
      }
      return { row, group, texts: [...row.cells].map((one) => one.textContent.trim()) };
    });
  }

  /** How a column compares two rows, and the direction of its first click: 1 upwards, -1 downwards. */
  function column(rows, index) {
    const texts = rows.map((one) => one.texts[index] ?? "").filter((text) => !MISSING.test(text));
    const numeric = texts.every((text) => !Number.isNaN(number(text)));
    const compare = numeric ? (a, b) => number(a) - number(b) : words.compare;
    return {
      first: numeric ? -1 : 1,
      compare: (direction) => (a, b) => {
        const [left, right] = [a.texts[index] ?? "", b.texts[index] ?? ""];
        const gaps = MISSING.test(left) - MISSING.test(right);
        return gaps || (MISSING.test(left) ? 0 : direction * compare(left, right));
      },
    };
  }

  function makeSortable(table) {
    const body = table.tBodies[0], headings = [...table.tHead.rows[0].cells];
    const rows = grouped([...body.rows]);
    const together = (rows.at(-1).group + 1) ** 2 <= rows.length;
    let sorted = { index: -1, direction: 0 };

    function show({ index, direction }, compare) {
      const inGroups = together && index > 0;
      const order = direction
        ? [...rows].sort((a, b) => (inGroups ? a.group - b.group : 0) || compare(direction)(a, b))
        : rows;
      body.append(...order.map((one) => one.row));
      order.forEach((one, place) => {
        one.row.cells[0].classList.toggle("as-above", direction !== 0 && one.group === order[place - 1]?.group);
      });
      table.classList.toggle("sorted", direction !== 0);
      headings.forEach((heading, place) => {
        if (direction && place === index) heading.ariaSort = direction > 0 ? "ascending" : "descending";
        else heading.removeAttribute("aria-sort");
      });
      sorted = { index, direction };
    }

    headings.forEach((heading, index) => {
      const place = heading.querySelector("p") ?? heading;
      if (!place.textContent.trim() || place.querySelector("a, button")) return;
      const { first, compare } = column(rows, index);
      const button = document.createElement("button");
      button.type = "button";
      button.className = "sort";
      button.append(...place.childNodes);
      button.addEventListener("click", () => {
        const again = sorted.index === index && sorted.direction;
        show({ index, direction: again ? (again === first ? -first : 0) : first }, compare);
      });
      place.append(button);
    });
  }

  [...document.querySelectorAll(".bd-article table")].filter(sortable).forEach(makeSortable);
})();
