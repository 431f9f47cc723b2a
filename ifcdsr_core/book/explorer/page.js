/* The explorer's page: what a reader does changes `state`, and `show` draws what follows from it. */
"use strict";

(() => {
  const root = document.getElementById("explorer");
  const data = JSON.parse(document.getElementById("explorer-data").textContent);
  const { catalogue, models: exported, cases, domains } = data;
  const { X, Y, XY, Model, best, rank } = IFCDSR;
  const SHELF = 60; // items of the catalogue that are shown at a time
  const TOP = 10; // recommended items of a domain
  const at = (role) => root.querySelector(`[data-role="${role}"]`);
  const sliders = [...root.querySelectorAll("[data-knob]")];
  const models = []; // of `exported`, built when asked for

  // ------------------------------------------------------------------ state, and its address

  const first = () => ({
    model: exported.length - 1,
    history: cases[0].history,
    caseNumber: 0, // of `cases`; null once the history is no longer a case's
    revealed: false,
    selected: null, // place in the history
    asked: null, // item whose votes are shown; null: the first that is recommended
    knobs: {}, // what differs from what the model was trained with
    shown: SHELF,
  });
  const state = first();

  function model() {
    models[state.model] ??= new Model(exported[state.model], catalogue);
    return models[state.model];
  }

  function trained() {
    const { alpha, lambda_1, lambda_2 } = exported[state.model].config;
    return { alpha, lambda_1, lambda_2, temperature: model().temperature };
  }

  /** #m=2&case=7, or #m=1&items=12.1300&alpha=0.5: what a link to this view says. */
  function address() {
    const said = new URLSearchParams({ m: state.model });
    if (state.caseNumber !== null) said.set("case", state.caseNumber + 1);
    else said.set("items", state.history.join("."));
    for (const [name, value] of Object.entries(state.knobs)) said.set(name, value);
    return `#${said}`;
  }

  function readAddress() {
    const said = new URLSearchParams(location.hash.slice(1));
    const whole = (text, least, most) => (/^\d+$/.test(text ?? "") && +text >= least && +text <= most ? +text : null);
    if (!said.has("m")) return false;
    Object.assign(state, first(), { model: whole(said.get("m"), 0, exported.length - 1) ?? exported.length - 1 });
    const number = whole(said.get("case"), 1, cases.length);
    if (number !== null) load(number - 1);
    else if (said.has("items")) {
      const items = said.get("items").split(".").map((text) => whole(text, 1, catalogue.titles.length));
      Object.assign(state, { history: items.filter((item) => item !== null), caseNumber: null });
    }
    for (const slider of sliders) {
      const name = slider.dataset.knob, value = Number(said.get(name));
      if (said.get(name) && value >= Number(slider.min) && value <= Number(slider.max)) state.knobs[name] = value;
    }
    return true;
  }

  function load(number) {
    Object.assign(state, { caseNumber: number, history: cases[number].history, revealed: false, selected: null, asked: null });
  }

  function setHistory(history, selected = null) {
    Object.assign(state, { history, caseNumber: null, revealed: false, asked: null, selected });
  }

  // ------------------------------------------------------------------ small things to draw with

  const element = (tag, properties = {}, ...children) => {
    const made = Object.assign(document.createElement(tag), properties);
    made.append(...children);
    return made;
  };
  const domainOf = (item) => (item <= catalogue.num_items_x ? X : Y);
  const title = (item) => catalogue.titles[item - 1];
  const wordsOf = { [X]: domains[0], [Y]: domains[1], [XY]: "merged" };
  const voteName = ({ branch, modality }) => `${wordsOf[branch]} by ${{ id: "ID", image: "image" }[modality]}`;
  const percent = (share) => (share > 0 && share < 0.01 ? "<1" : String(Math.round(100 * share)));
  const number = (value) => value.toLocaleString("en");

  const picture = (item) => pictured(element("span", { ariaHidden: "true" }), item);

  /** Have a place show an item's picture. */
  function pictured(place, item) {
    const { columns, rows } = catalogue.sprite ?? {};
    place.className = `explorer-picture explorer-domain-${domainOf(item)}`;
    if (columns) {
      const column = (item - 1) % columns, row = Math.floor((item - 1) / columns);
      place.style.backgroundSize = `${100 * columns}% ${100 * rows}%`;
      place.style.backgroundPosition =
        `${(100 * column) / Math.max(1, columns - 1)}% ${(100 * row) / Math.max(1, rows - 1)}%`;
    }
    return place;
  }

  // ------------------------------------------------------------------ what follows from the state

  let votes = [], mixed = {}, read = ""; // of the history and model that `read` names

  /** Votes where history or model have changed, their mixture where anything has. */
  function compute() {
    const key = `${state.model}:${state.history}`;
    if (key !== read) [votes, read] = [model().votes(state.history), key];
    const knobs = { ...trained(), temperature: null, ...state.knobs };
    mixed = Object.fromEntries([X, Y].map((domain) => [domain, model().mixture(votes, domain, knobs)]));
  }

  function show() {
    compute();
    showModel();
    showHistory();
    showTop(X);
    showTop(Y);
    showVotes();
    showKnobs();
  }

  function showModel() {
    const { mrr, run, seed, label } = exported[state.model];
    root.querySelectorAll('[name="explorer-model"]').forEach((radio, i) => (radio.checked = i === state.model));
    at("model-note").textContent =
      `“${label}”, seed ${seed}: test MRR against 999 negatives ${mrr.map((value) => (value === null ? "–" : (100 * value).toFixed(2))).join(" / ")} ` +
      `(${domains.join(" / ")}, in percent). Run ${run}.`;
  }

  function showHistory() {
    const { history, selected, caseNumber, revealed } = state;
    const list = at("history"), focused = list.contains(document.activeElement);
    at("history-count").textContent = history.length === 1 ? "1 item" : `${history.length} items`;
    at("encoders").replaceChildren(
      ...votes.map((vote) => element("li", { className: `explorer-domain-${vote.branch}`, textContent: voteName(vote) })),
    );
    list.replaceChildren(...history.map((item, place) => historyItem(item, place)));
    if (!history.length) list.append(element("li", { className: "explorer-empty", textContent: "Nothing yet. Choose from the catalogue." }));
    if (focused && selected !== null) list.children[selected]?.firstChild.focus({ preventScroll: true });
    at("case").value = caseNumber === null ? "" : caseNumber + 1;
    at("reveal").disabled = caseNumber === null;
    at("reveal").ariaExpanded = String(revealed);
    at("answer").replaceChildren(...answer());
    at("clear").disabled = !history.length;
    at("selected").textContent = selected === null ? "No item is selected." : `${title(history[selected])}, ${selected + 1} of ${history.length}`;
    at("earlier").disabled = selected === null || selected === 0;
    at("later").disabled = selected === null || selected === history.length - 1;
    at("remove").disabled = selected === null;
  }

  function historyItem(item, place) {
    const looks = votes.filter((vote) => vote.attention[place] > 0);
    const spoken = looks.map((vote) => `${voteName(vote)} ${percent(vote.attention[place])} %`).join(", ");
    const tile = element("button", {
      type: "button",
      className: "explorer-tile",
      title: title(item),
      ariaLabel: `${place + 1}: ${title(item)}, ${wordsOf[domainOf(item)]}. Attention: ${spoken || "none"}.`,
      ariaPressed: String(place === state.selected),
      tabIndex: place === (state.selected ?? 0) ? 0 : -1,
    });
    tile.append(picture(item));
    const cells = votes.map((vote) => {
      const share = vote.attention[place];
      const cell = element("span", { className: `explorer-cell explorer-domain-${vote.branch}`, ariaHidden: "true" });
      cell.style.setProperty("--share", share.toFixed(3));
      cell.textContent = share > 0 ? percent(share) : "";
      return cell;
    });
    const made = element("li", {}, tile, ...cells);
    made.dataset.place = place;
    return made;
  }

  function answer() {
    if (state.caseNumber === null) return ["A history of your own."];
    if (!state.revealed) return ["What a user of the test split bought, in order. One item followed."];
    const { target } = cases[state.caseNumber], { total, first } = mixed[domainOf(target)];
    const place = rank(total, target - 1 - first);
    const ask = element("button", { type: "button", className: "explorer-link", textContent: title(target) });
    ask.addEventListener("click", () => askAbout(target));
    return [`Bought next (${wordsOf[domainOf(target)]}): `, ask, `. Rank ${number(place)} of ${number(total.length)}.`];
  }

  /** The rows are made once and filled anew: that is faster, and keeps the focus where it is. */
  function showTop(domain) {
    const { total, first } = mixed[domain], list = at(`top-${domain}`);
    const sum = total.reduce((all, value) => all + value, 0);
    const top = best(total, TOP);
    while (list.children.length < top.length) list.append(topRow());
    top.forEach((index, place) => fill(list.children[place], first + index + 1, total[index] / sum, total[index] / total[top[0]]));
  }

  function topRow() {
    const ask = element(
      "button",
      { type: "button", className: "explorer-ask" },
      element("span", { ariaHidden: "true" }),
      element("span", { className: "explorer-name" }),
      element("span", { className: "explorer-share" }),
    );
    const put = element("button", { type: "button", className: "explorer-put", textContent: "+" });
    const row = element("li", {}, ask, put), item = () => Number(row.dataset.item);
    for (const happening of ["mouseenter", "focus", "click"]) ask.addEventListener(happening, () => askAbout(item()));
    put.addEventListener("click", () => change(() => setHistory([...state.history, item()])));
    return row;
  }

  function fill(row, item, share, length) {
    const [ask, put] = row.children, [place, name, told] = ask.children;
    const isTarget = state.revealed && state.caseNumber !== null && cases[state.caseNumber].target === item;
    row.dataset.item = item;
    row.className = `explorer-domain-${domainOf(item)}${isTarget ? " explorer-target" : ""}`;
    pictured(place, item);
    ask.title = name.textContent = title(item);
    ask.style.setProperty("--length", length.toFixed(3));
    told.textContent = `${(100 * share).toFixed(share < 0.0995 ? 1 : 0)} %`;
    put.ariaLabel = `Add ${title(item)} to the history`;
  }

  function askAbout(item) {
    state.asked = item;
    showVotes();
  }

  function showVotes() {
    const item = state.asked ?? best(mixed[X].total, 1)[0] + 1;
    const { parts, total, first } = mixed[domainOf(item)], index = item - 1 - first;
    root.querySelectorAll(".explorer-top li").forEach((row) => row.classList.toggle("explorer-asked", row.dataset.item === String(item)));
    at("why-item").textContent = title(item);
    at("votes").replaceChildren(
      ...parts.map(({ vote, weight, added }) => {
        const share = added[index] / total[index];
        const bar = element("span", { className: `explorer-bar explorer-by-${vote.modality}`, ariaHidden: "true" });
        bar.style.setProperty("--length", share.toFixed(4));
        const place = !weight ? "weight 0" : !vote.reads ? "nothing read" : `rank ${number(rank(added, index))}`;
        return element(
          "div",
          { className: `explorer-vote explorer-domain-${vote.branch}` },
          element("span", { className: "explorer-vote-name", textContent: voteName(vote) }),
          bar,
          element("span", { className: "explorer-vote-share", textContent: `${percent(share)} %` }),
          element("span", { className: "explorer-vote-place", textContent: place }),
        );
      }),
    );
  }

  function showKnobs() {
    const { config } = exported[state.model], values = { ...trained(), ...state.knobs };
    const used = { alpha: config.image_fusion, lambda_1: config.multiple_attention, lambda_2: config.multiple_attention, temperature: true };
    for (const slider of sliders) {
      const name = slider.dataset.knob, value = values[name].toFixed(slider.step.length - 2); // as many digits
      slider.value = values[name];
      slider.disabled = !used[name];
      slider.ariaValueText = used[name] ? value : "not used by this model";
      at(`${name}-value`).textContent = used[name] ? value : "–";
    }
    at("reset").disabled = !Object.keys(state.knobs).length;
  }

  // ------------------------------------------------------------------ catalogue

  const filters = [...root.querySelectorAll("[data-filter]")];
  const folded = catalogue.titles.map((text) => text.toLocaleLowerCase());

  function found() {
    const words = at("search").value.toLocaleLowerCase().split(/\s+/).filter(Boolean);
    const chosen = filters.filter((select) => select.value !== "");
    return catalogue.titles
      .map((_, index) => index + 1)
      .filter((item) => words.every((word) => folded[item - 1].includes(word)))
      .filter((item) => chosen.every((select) => String(catalogue[select.dataset.filter][item - 1]) === select.value));
  }

  function showShelf() {
    const items = found();
    at("found").textContent = `${number(items.length)} of ${number(catalogue.titles.length)} items`;
    at("shelf").replaceChildren(...items.slice(0, state.shown).map(shelfItem));
    at("more").disabled = items.length <= state.shown;
  }

  function shelfItem(item) {
    const add = element(
      "button",
      { type: "button", className: "explorer-good", title: title(item), ariaLabel: `Add ${title(item)}, ${wordsOf[domainOf(item)]}` },
      picture(item),
      element("span", { className: "explorer-name", textContent: title(item) }),
    );
    add.addEventListener("click", () => change(() => setHistory([...state.history, item])));
    return element("li", {}, add);
  }

  // ------------------------------------------------------------------ what a reader does

  let speaking = 0;

  function speak() {
    clearTimeout(speaking);
    speaking = setTimeout(() => {
      const firsts = [X, Y].map((domain) => `${wordsOf[domain]}: ${title(mixed[domain].first + best(mixed[domain].total, 1)[0] + 1)}`);
      at("spoken").textContent = `Recommended first. ${firsts.join(". ")}.`;
    }, 600);
  }

  let remembering = 0;

  /** Browsers allow so many changes of the address in a second: a moving slider waits. */
  function remember() {
    clearTimeout(remembering);
    remembering = setTimeout(() => {
      if (location.hash !== address()) history.replaceState(null, "", address());
    }, 150);
  }

  function change(how) {
    how();
    show();
    speak();
    remember();
  }

  function move(place, to) {
    if (to < 0 || to >= state.history.length) return;
    const moved = [...state.history], [item] = moved.splice(place, 1);
    moved.splice(to, 0, item);
    setHistory(moved, to);
  }

  function remove(place) {
    const left = state.history.filter((_, other) => other !== place);
    setHistory(left, left.length ? Math.min(place, left.length - 1) : null);
  }

  const stepCase = (by) => load(((state.caseNumber ?? (by > 0 ? -1 : 0)) + by + cases.length) % cases.length);
  const click = (role, how) => at(role).addEventListener("click", () => change(how));

  click("case-before", () => stepCase(-1));
  click("case-next", () => stepCase(1));
  click("reveal", () => {
    state.revealed = !state.revealed;
    state.asked = state.revealed ? cases[state.caseNumber].target : null;
  });
  click("clear", () => setHistory([]));
  click("earlier", () => move(state.selected, state.selected - 1));
  click("later", () => move(state.selected, state.selected + 1));
  click("remove", () => remove(state.selected));
  click("reset", () => (state.knobs = {}));
  at("case").addEventListener("change", ({ target }) => {
    const wanted = Math.round(Number(target.value));
    change(() => wanted >= 1 && wanted <= cases.length && load(wanted - 1));
  });
  root.querySelectorAll('[name="explorer-model"]').forEach((radio, i) =>
    radio.addEventListener("change", () => change(() => Object.assign(state, { model: i, knobs: {} }))),
  );
  sliders.forEach((slider) =>
    slider.addEventListener("input", () => change(() => (state.knobs[slider.dataset.knob] = Number(slider.value)))),
  );
  for (const input of [at("search"), ...filters]) {
    input.addEventListener("input", () => {
      state.shown = SHELF;
      showShelf();
    });
  }
  at("more").addEventListener("click", () => {
    state.shown += SHELF;
    showShelf();
  });

  const placeOf = (target) => Number(target.closest?.("[data-place]")?.dataset.place ?? NaN);

  at("history").addEventListener("keydown", (event) => {
    const place = placeOf(event.target), step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (Number.isNaN(place)) return;
    if (step) {
      const to = Math.min(Math.max(place + step, 0), state.history.length - 1);
      if (event.shiftKey) change(() => move(place, to));
      else change(() => (state.selected = to));
    } else if (event.key === "Delete" || event.key === "Backspace") change(() => remove(place));
    else return;
    event.preventDefault();
  });

  // Dragging with a mouse or pen: the item goes to where the pointer is let go. A finger scrolls.
  let dragged = null;
  at("history").addEventListener("pointerdown", (event) => {
    const place = placeOf(event.target);
    if (!Number.isNaN(place) && event.pointerType !== "touch" && event.button === 0) dragged = { place, to: place };
  });
  document.addEventListener("pointermove", (event) => {
    if (!dragged) return;
    const over = placeOf(document.elementFromPoint(event.clientX, event.clientY) ?? root);
    if (!Number.isNaN(over)) dragged.to = over;
    [...at("history").children].forEach((row, place) => {
      row.classList.toggle("explorer-dragged", place === dragged.place && dragged.to !== dragged.place);
      row.classList.toggle("explorer-before", place === dragged.to && dragged.to < dragged.place);
      row.classList.toggle("explorer-after", place === dragged.to && dragged.to > dragged.place);
    });
  });
  document.addEventListener("pointerup", () => {
    const done = dragged;
    dragged = null;
    if (done && done.to !== done.place) change(() => move(done.place, done.to));
  });
  at("history").addEventListener("click", (event) => {
    const place = placeOf(event.target);
    if (!Number.isNaN(place)) {
      change(() => (state.selected = place));
      at("history").children[place].firstChild.focus({ preventScroll: true });
    }
  });
  at("history").addEventListener("dragstart", (event) => event.preventDefault());

  window.addEventListener("hashchange", () => {
    if (location.hash !== address() && readAddress()) show();
  });

  if (catalogue.sprite) {
    const bytes = Uint8Array.from(atob(catalogue.sprite.webp), (sign) => sign.charCodeAt(0));
    root.style.setProperty("--sprite", `url(${URL.createObjectURL(new Blob([bytes], { type: "image/webp" }))})`);
  }
  readAddress();
  showShelf();
  show();
})();
