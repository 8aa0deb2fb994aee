// The route explorer's page: what is chosen, what then stands there, and the address that keeps it.
"use strict";

(() => {
  const { routeAt, totalMacs, allOpenMacs, differing, extreme, pathName, macsOf, share } = dynroute;
  const { draw, thumbnail, costMarks } = dynrouteDrawing;
  const byId = (id) => document.getElementById(id);
  const holder = byId("dr-data");
  if (!holder) return;
  const data = JSON.parse(holder.textContent);
  const pictures = new URL("pictures/", document.currentScript.src);
  const cache = new Map();

  // Both sides are a record and an image, by their places; the second counts while `compare`.
  const OVER = { over: "prediction", opacity: 60 };
  const state = { first: null, second: null, threshold: 0, compare: false, ...OVER };
  const SIDES = [["first", ""], ["second", "-b"]];

  const recordOf = (side) => data.records[side.record];
  const imageOf = (side) => recordOf(side).images[side.image];
  const picturesOf = (side) => recordOf(side).pictures[side.image];
  const networkOf = (side) => data.networks[recordOf(side).network];
  const shape = (side) => JSON.stringify([networkOf(side).cells, networkOf(side).paths]);
  function routeOf(side, image = side.image) {
    const key = [side.record, image, state.threshold].join();
    if (!cache.has(key)) {
      if (cache.size > 4000) cache.clear();
      cache.set(key, routeAt(networkOf(side), recordOf(side).images[image], state.threshold));
    }
    return cache.get(key);
  }
  const runsOf = (row) => data.records.flatMap((one, record) => (one.row === row ? [record] : []));
  const fits = (record) => shape({ record }) === shape(state.first);
  const cheapest = ({ record }) => ({ record, image: 0 });
  const dearest = ({ record }) => ({ record, image: data.records[record].images.length - 1 });
  const routesOf = (side) => recordOf(side).images.map((_, image) => routeOf(side, image));
  const costShare = (side, route) => share(totalMacs(networkOf(side), route), allOpenMacs(networkOf(side), route));

  // The address, by names that outlive a new build.

  const place = (list, wanted, name, otherwise = 0) => {
    const found = list.findIndex((item) => name(item) === wanted);
    return found < 0 ? otherwise : found;
  };
  function within(text, most) {
    const value = Math.round(Number(text));
    return value >= 0 && value <= most ? value : 0;
  }
  function readAddress() {
    const given = new URLSearchParams(location.hash.slice(1));
    const side = (record, otherwise, image, end) => {
      const chosen = end({ record: place(data.records, given.get(record), (one) => one.id, otherwise) });
      chosen.image = place(recordOf(chosen).images, given.get(image), (one) => one[0], chosen.image);
      return chosen;
    };
    state.first = side("record", data.first, "image", cheapest);
    state.second = side("versus", state.first.record, "to", dearest);
    state.threshold = within(data.steps * Number(given.get("threshold")), data.steps);
    state.compare = given.has("versus") && shape(state.first) === shape(state.second);
    if (!state.compare) state.second = dearest(state.first);
    state.over = ["truth", "photo"].includes(given.get("over")) ? given.get("over") : OVER.over;
    state.opacity = given.has("opacity") ? within(given.get("opacity"), 100) : OVER.opacity;
  }
  function writeAddress() {
    const kept = new URLSearchParams();
    kept.set("record", recordOf(state.first).id);
    kept.set("image", imageOf(state.first)[0]);
    if (state.threshold) kept.set("threshold", state.threshold / data.steps);
    if (state.compare) {
      kept.set("versus", recordOf(state.second).id);
      kept.set("to", imageOf(state.second)[0]);
    }
    for (const name of ["over", "opacity"]) if (state[name] !== OVER[name]) kept.set(name, state[name]);
    const hash = "#" + kept.toString().replaceAll("%2F", "/");
    if (location.hash !== hash) history.replaceState(null, "", hash);
  }

  // The controls

  function fill(select, options, chosen) {
    const wanted = JSON.stringify(options);
    if (select.dataset.options !== wanted) {
      select.replaceChildren(...options.map(([value, words]) => new Option(words, value)));
      select.dataset.options = wanted;
    }
    select.value = chosen;
  }
  function fillFilm(strip, side) {
    if (strip.dataset.record !== String(side.record)) {
      strip.replaceChildren(...recordOf(side).images.map((_, image) => frame(strip.id, { ...side, image })));
      strip.dataset.record = side.record;
    }
    routesOf(side).forEach((route, image) => {
      const label = strip.children[image];
      const words = costShare(side, route);
      label.lastChild.textContent = words;
      label.firstChild.setAttribute("aria-label", `${recordOf(side).images[image][0]}, ${words} of all open`);
    });
    const chosen = strip.children[side.image];
    chosen.firstChild.checked = true;
    strip.scrollLeft = chosen.offsetLeft - (strip.clientWidth - chosen.clientWidth) / 2;
  }
  function frame(name, side) {
    const label = document.createElement("label");
    const kept = picturesOf(side);
    label.title = imageOf(side)[0];
    label.innerHTML = '<input type="radio"><span class="dr-frame"></span><span></span>';
    Object.assign(label.firstChild, { name, value: side.image });
    if (kept) label.children[1].append(picture(kept[0], ""));
    else label.children[1].innerHTML = thumbnail(networkOf(side), imageOf(side)[2]);
    return label;
  }
  function fillControls() {
    const rows = [...new Set(data.records.map((record) => record.row))].map((row) => [row, row]);
    for (const [name, which] of SIDES) {
      const side = state[name];
      if (name === "second" && !state.compare) continue;
      const { row } = recordOf(side);
      const runs = runsOf(row).filter((record) => name === "first" || fits(record));
      fill(byId("dr-row" + which), rows, row);
      fill(byId("dr-record" + which), runs.map((record) => [record, data.records[record].setting]), side.record);
      fillFilm(byId("dr-image" + which), side);
    }
    for (const option of byId("dr-row-b").options) option.disabled = !runsOf(option.value).some(fits);
    byId("dr-threshold").value = state.threshold / data.steps;
    byId("dr-threshold-value").textContent = (state.threshold / data.steps).toFixed(2);
    byId("dr-compare").checked = state.compare;
    document.querySelector(`[name="dr-over"][value="${state.over}"]`).checked = true;
    byId("dr-opacity").value = state.opacity;
    byId("dr-opacity-value").textContent = `${state.opacity} %`;
  }

  // What stands there

  function picture(address, words) {
    const made = new Image(512, 256);
    // The theme dims pictures on dark pages; these would then not have the classes' colours.
    Object.assign(made, { className: "dark-light", alt: words, loading: "lazy", src: new URL(address, pictures).href });
    return made;
  }
  const drawingOf = (side) => document.querySelector(`#dr-stage [data-network="${recordOf(side).network}"]`);

  function showSide(place, side) {
    const [kept, [name]] = [picturesOf(side), imageOf(side)];
    const parts = [];
    if (state.compare) parts.push(sentence(`${name}, ${recordOf(side).row} (${recordOf(side).setting})`));
    if (kept) {
      const [photo, truth, prediction] = kept;
      const stack = document.createElement("div");
      stack.className = "dr-stack";
      stack.append(picture(photo, `Photograph of ${name}`));
      const over = { photo: "", truth, prediction }[state.over];
      if (over) stack.append(picture(over, state.over === "truth" ? "Its true classes" : "Its predicted classes"));
      if (over) stack.lastChild.style.opacity = state.opacity / 100;
      parts.push(stack);
      if (!prediction && state.over === "prediction") parts.push(sentence("This run kept no segmentation of this image."));
    } else if (state.compare) parts.push(sentence("No picture of this image is kept."));
    if (state.compare) {
      const drawing = drawingOf(side).cloneNode(true);
      drawing.hidden = false;
      draw(drawing, networkOf(side), data.steps, routeOf(side), null);
      drawing.setAttribute("aria-label", words(side));
      parts.push(drawing);
    }
    place.replaceChildren(...parts);
  }
  function sentence(words) {
    const made = document.createElement("p");
    made.textContent = words;
    return made;
  }
  function showSights() {
    const sides = state.compare ? [state.first, state.second] : [state.first];
    const seen = sides.some(picturesOf);
    byId("dr-side-b").hidden = !state.compare;
    sides.forEach((side, index) => showSide(byId("dr-side" + SIDES[index][1]), side));
    byId("dr-over").hidden = !seen;
    byId("dr-sights").hidden = !seen && !state.compare;
  }
  function showRoute() {
    const other = state.compare ? routeOf(state.second) : null;
    for (const drawing of document.querySelectorAll("#dr-stage .dr-drawing")) {
      drawing.hidden = drawing !== drawingOf(state.first);
    }
    const told = state.compare ? difference() : words(state.first);
    draw(drawingOf(state.first), networkOf(state.first), data.steps, routeOf(state.first), other);
    drawingOf(state.first).setAttribute("aria-label", told);
    byId("dr-headline").textContent = told;
    for (const id of ["dr-difference", "dr-others"]) byId(id).hidden = !state.compare;
    byId("dr-legend").hidden = state.compare;
    if (state.compare) showApart();
  }
  function showApart() {
    const [mine, other] = [routeOf(state.first), routeOf(state.second)];
    const apart = differing(mine, other);
    const factor = (value) => (value ? (value / data.steps).toFixed(2) : "closed");
    byId("dr-apart").textContent = `The ${apart.length} paths that are open in one and closed in the other`;
    byId("dr-apart-paths").replaceChildren(
      ...apart.map((path) => {
        const line = document.createElement("tr");
        const cells = [pathName(networkOf(state.first), path), factor(mine.factors[path]), factor(other.factors[path])];
        for (const words of cells) line.insertCell().textContent = words;
        return line;
      }),
    );
  }
  function words(side) {
    const [network, route, image] = [networkOf(side), routeOf(side), imageOf(side)];
    const open = route.factors.filter((factor) => factor > 0).length;
    const cells = route.states.filter((letter) => letter === "o").length;
    const told =
      `${image[0]}: ${macsOf(totalMacs(network, route), allOpenMacs(network, route))} (${costShare(side, route)} of all ` +
      `open); ${open} of ${route.factors.length} paths and ${cells} of ${route.states.length} cells open`;
    return told + (state.threshold ? "." : `; mIoU of this image ${image[1]} %.`);
  }
  function difference() {
    const count = differing(routeOf(state.first), routeOf(state.second)).length;
    return `First, ${words(state.first)} Second, ${words(state.second)} ${count} paths are open in one and closed in the other.`;
  }
  // Every image's cost at this threshold, cheapest as recorded first; a click chooses.
  function showCosts() {
    const [side, record] = [state.first, recordOf(state.first)];
    const all = allOpenMacs(networkOf(side), routeOf(side));
    const costs = routesOf(side).map((route) => totalMacs(networkOf(side), route));
    const mean = costs.reduce((sum, cost) => sum + cost, 0) / costs.length;
    const shown = costs.length < record.of ? `${costs.length} of ${record.of} images` : `all ${costs.length} images`;
    const told =
      `Cost of ${shown} at this threshold, between the cheapest (${macsOf(Math.min(...costs), all)}) and the dearest ` +
      `(${macsOf(Math.max(...costs), all)}); mean ${macsOf(mean, all)}, ${share(mean, all)} of all open. ` +
      "Click to choose an image.";
    byId("dr-costs").innerHTML = costMarks(costs, side.image);
    byId("dr-costs").append(sentence(told));
  }
  function show() {
    showSights();
    showRoute();
    fillControls();
    showCosts();
    writeAddress();
  }

  // What changes it

  function choose(name, image) {
    state[name].image = Math.min(Math.max(image, 0), recordOf(state[name]).images.length - 1);
    show();
  }
  // Another record opens on the image of the same name, if it has it: rows are then compared like with like.
  function chooseRecord(name, record) {
    const image = place(data.records[record].images, imageOf(state[name])[0], (one) => one[0]);
    state[name] = { record, image };
    if (shape(state.first) !== shape(state.second)) state.compare = false;
    if (!state.compare) state.second = dearest(state.first);
    show();
  }
  // A row's run with the setting of the one that is shown, or else the row's first.
  function chooseRow(name, row) {
    const runs = runsOf(row).filter((record) => name === "first" || fits(record));
    const alike = runs.find((record) => data.records[record].setting === recordOf(state[name]).setting);
    chooseRecord(name, alike ?? runs[0]);
  }

  function on(id, event, act) {
    byId(id).addEventListener(event, act);
  }
  function listenToSide(name, which) {
    on("dr-row" + which, "change", (event) => chooseRow(name, event.target.value));
    on("dr-record" + which, "change", (event) => chooseRecord(name, Number(event.target.value)));
    on("dr-image" + which, "change", (event) => choose(name, Number(event.target.value)));
    on("dr-image" + which, "keydown", (event) => {
      if (event.key !== "Home" && event.key !== "End") return;
      event.preventDefault();
      choose(name, event.key === "Home" ? 0 : Infinity);
      byId("dr-image" + which).querySelector(":checked").focus();
    });
    on("dr-previous" + which, "click", () => choose(name, state[name].image - 1));
    on("dr-next" + which, "click", () => choose(name, state[name].image + 1));
  }
  function listen() {
    for (const [name, which] of SIDES) listenToSide(name, which);
    on("dr-threshold", "input", (event) => {
      state.threshold = Math.round(event.target.value * data.steps);
      show();
    });
    on("dr-compare", "change", (event) => {
      state.compare = event.target.checked;
      show();
    });
    for (const [id, farthest] of [["dr-nearest", false], ["dr-farthest", true]]) {
      on(id, "click", () => {
        const own = state.first.record === state.second.record ? state.first.image : -1;
        choose("second", Math.max(extreme(routeOf(state.first), routesOf(state.second), farthest, own), 0));
      });
    }
    on("dr-over", "input", (event) => {
      if (event.target.id === "dr-opacity") state.opacity = Number(event.target.value);
      else state.over = event.target.value;
      show();
    });
    on("dr-controls", "submit", (event) => event.preventDefault());
    on("dr-costs", "click", (event) => {
      const bar = event.target.closest("[data-image]");
      if (bar) choose("first", Number(bar.dataset.image));
    });
    // The theme's own arrow keys leave the page; here they scroll.
    on("dr-stage", "keydown", (event) => event.stopPropagation());
    window.addEventListener("hashchange", () => {
      readAddress();
      show();
    });
  }

  for (const id of ["dr-controls", "dr-headline", "dr-costs"]) byId(id).hidden = false;
  readAddress();
  listen();
  show();
})();
