/* How many negatives? A slider beside tables of models, one table for each domain.
 *
 * Each figure.negatives of a page holds its tables as they are against 999 negatives, and a script of JSON with the MRR
 * of each model at each stop of the slider, as computed by the book. Here they are shown and ordered, nothing else:
 *   stops      numbers of negatives, ascending; the last is all items of the larger domain
 *   reference  index of the stop that places are compared with
 *   domains    for each table: name, most (negatives that it has), mrr (rows of the table x stops, in percent)
 */
(() => {
  "use strict";

  const ARROWS = ["", "↑", "↓"];
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  const count = (number) => number.toLocaleString("en");

  function element(name, properties = {}, ...children) {
    const made = Object.assign(document.createElement(name), properties);
    made.append(...children);
    return made;
  }

  /** Places from 1; equal values share one. */
  const places = (values) => values.map((value) => 1 + values.filter((other) => other > value).length);

  /** Put rows into an order, each gliding from where it is seen to where it belongs. */
  function reorder(body, order) {
    const before = order.map((row) => row.getBoundingClientRect().top);
    if (order.every((row, place) => row === body.rows[place])) return;
    order.forEach((row) => row.getAnimations().forEach((animation) => animation.cancel()));
    body.append(...order);
    if (still.matches) return;
    order.forEach((row, place) => {
      const way = before[place] - row.getBoundingClientRect().top;
      if (way) row.animate([{ transform: `translateY(${way}px)` }, { transform: "none" }], { duration: 280, easing: "ease-out" });
    });
  }

  /** One domain's table: a function that shows it at a stop, and returns what to say of it. */
  function panel(table, { name, most, mrr }, { stops, reference }) {
    const body = table.tBodies[0], rows = [...body.rows];
    const at = (stop) => mrr.map((values) => values[stop]);
    const usual = places(at(reference));

    return (stop) => {
      const values = at(stop), now = places(values), best = Math.max(...values);
      rows.forEach((row, index) => {
        const up = usual[index] - now[index];
        row.querySelector(".place").textContent = now[index];
        row.querySelector(".moved").replaceChildren(
          element("span", { ariaHidden: "true" }, up ? `${ARROWS.at(up > 0 ? 1 : 2)}${Math.abs(up)}` : ""),
          element("span", { className: "unseen" }, up ? ` ${up > 0 ? "up" : "down"} ${Math.abs(up)}` : ""),
        );
        row.querySelector(".moved").dataset.way = Math.sign(up);
        row.querySelector(".mrr").textContent = values[index].toFixed(2);
        row.querySelector(".bar").style.setProperty("--share", values[index] / best);
      });
      const order = rows.map((_, index) => index).sort((a, b) => now[a] - now[b] || a - b);
      reorder(body, order.map((index) => rows[index]));
      table.querySelector(".drawn").textContent = stops[stop] < most ? `${count(stops[stop])} of` : "all";
      const moved = now.filter((place, index) => place !== usual[index]).length;
      const first = rows[order[0]].querySelector("th").textContent.trim();
      return `${name}: ${first} is first, ${moved} of ${rows.length} models changed place.`;
    };
  }

  function makeSlider(figure) {
    const data = JSON.parse(figure.querySelector("script").textContent);
    const { stops, reference, domains } = data, last = stops.length - 1;
    const panels = domains.map((domain, index) => panel(figure.querySelectorAll("table")[index], domain, data));
    const said = (stop) => (stop === last ? "all items" : `${count(stops[stop])} negative${stops[stop] > 1 ? "s" : ""}`);
    const slider = element("input", { type: "range", min: 0, max: last, step: 1, value: reference });
    const number = element("span", { className: "number" });
    const live = element("p", { className: "unseen", ariaLive: "polite" });
    const choices = [0, stops.indexOf(10), stops.indexOf(100), reference, last]
      .filter((stop, place, all) => stop >= 0 && all.indexOf(stop) === place)
      .map((stop) => {
        const choice = element("button", { type: "button" }, stop === last ? "all" : count(stops[stop]));
        choice.addEventListener("click", () => move(stop));
        return { stop, choice };
      });
    let waiting;

    function move(stop) {
      slider.value = stop;
      slider.ariaValueText = said(stop);
      number.textContent = said(stop);
      choices.forEach((one) => (one.choice.ariaPressed = String(one.stop === stop)));
      const sentences = panels.map((show) => show(stop));
      clearTimeout(waiting);
      waiting = setTimeout(() => (live.textContent = `${said(stop)}. ${sentences.join(" ")}`), 500);
    }

    slider.addEventListener("input", () => move(slider.valueAsNumber));
    slider.ariaLabel = `Number of negatives, ${figure.dataset.title}`;
    figure.querySelector(".control").replaceChildren(
      element("div", {}, "Against ", number),
      element("div", { className: "choices", role: "group", ariaLabel: "Go to a number of negatives" },
        ...choices.map((one) => one.choice)),
      slider,
    );
    figure.append(live);
    move(reference);
    clearTimeout(waiting); // nothing to say before the reader moves it
  }

  document.querySelectorAll("figure.negatives").forEach(makeSlider);
})();
