// The route explorer: what of a recorded route stays open at another threshold, and what that costs.
//
// The first part is arithmetic on the page's data, free of the page; tests run it in Node and hold it to the Python code
// that it repeats (dynroute_suite/report/threshold.py, cost.py, numbers.py). The second part draws and listens.
"use strict";

const dynroute = (() => {
  const decode = (text) =>
    Array.from({ length: text.length / 2 }, (_, k) => parseInt(text.slice(2 * k, 2 * k + 2), 36));

  // states: a letter per cell (o open, c closed, d dead); factors: thousandths per path, 0 where closed.
  function routeAt(network, image, threshold) {
    const recorded = image[2];
    const factors = decode(image[3]).map((value) => (value > threshold ? value : 0));
    const leaving = network.cells.map(() => []);
    network.paths.forEach(([source], path) => leaving[source].push(path));
    const reached = new Set([0]);
    const states = network.cells.map((_, cell) => {
      const someOpen = leaving[cell].some((path) => factors[path] > 0);
      const state = !reached.has(cell) ? "d" : recorded[cell] === "o" && (someOpen || threshold === 0) ? "o" : "c";
      for (const path of leaving[cell]) {
        const [, target, name] = network.paths[path];
        if (state !== "o") factors[path] = 0;
        if (target >= 0 && (state === "o" || (state === "c" && name === "keep"))) reached.add(target);
      }
      return state;
    });
    return { states, factors, layers: layerCosts(network, states, factors) };
  }

  // MACs per layer by part, and as they would be with every path open; paths are charged where they arrive.
  function layerCosts(network, states, factors) {
    const layers = Array.from({ length: network.layers }, () => ({ gates: 0, operations: 0, paths: 0, outline: 0 }));
    network.cells.forEach(([layer], cell) => {
      if (layer < 0) return;
      const here = layers[layer];
      here.gates += network.gates[cell];
      here.outline += network.gates[cell] + network.operations[cell];
      if (states[cell] === "o") here.operations += network.operations[cell];
    });
    network.paths.forEach(([, target], path) => {
      if (target < 0) return;
      const here = layers[network.cells[target][0]];
      here.outline += network.arrivals[path];
      if (factors[path] > 0) here.paths += network.arrivals[path];
    });
    return layers;
  }

  const totalMacs = (network, route) =>
    network.fixed + route.layers.reduce((sum, layer) => sum + layer.gates + layer.operations + layer.paths, 0);
  const allOpenMacs = (network, route) =>
    network.fixed + route.layers.reduce((sum, layer) => sum + layer.outline, 0);

  function significant(value) {
    if (value === 0) return "0";
    if (Math.round(100 * value) / 100 >= 10) return value.toFixed(1);
    return value.toFixed(Math.max(2 - Math.floor(Math.log10(value)), 0));
  }
  function macsOf(macs, all) {
    const [unit, name] = all >= 1e9 ? [1e9, "GMACs"] : [1e6, "MMACs"];
    return `${significant(macs / unit)} of ${significant(all / unit)} ${name}`;
  }
  const share = (part, all) => `${((100 * part) / all).toFixed(0)} %`;

  return { routeAt, totalMacs, allOpenMacs, macsOf, share };
})();

if (typeof module !== "undefined") module.exports = dynroute;

if (typeof document !== "undefined") {
  (() => {
    const { routeAt, totalMacs, allOpenMacs, macsOf, share } = dynroute;
    const byId = (id) => document.getElementById(id);
    const holder = byId("dr-data");
    if (!holder) return;
    const data = JSON.parse(holder.textContent);
    if (!data.records.length) return;
    const cache = new Map();
    const state = { record: 0, image: 0, threshold: 0, compare: false, recordB: 0, imageB: 0 };

    const networkOf = (record) => data.networks[data.records[record].network];
    const shape = (record) => JSON.stringify([networkOf(record).cells, networkOf(record).paths]);
    function route(record, image) {
      const key = [record, image, state.threshold].join();
      if (!cache.has(key)) {
        if (cache.size > 4000) cache.clear();
        cache.set(key, routeAt(networkOf(record), data.records[record].images[image], state.threshold));
      }
      return cache.get(key);
    }

    // The address keeps the state, by names that outlive a new build.
    function readAddress() {
      const given = new URLSearchParams(location.hash.slice(1));
      const place = (list, wanted, name) => Math.max(list.findIndex((item) => name(item) === wanted), 0);
      state.record = place(data.records, given.get("record"), (record) => record.id);
      state.image = place(data.records[state.record].images, given.get("image"), (image) => image[0]);
      const threshold = Math.round(data.steps * Number(given.get("threshold")));
      state.threshold = threshold >= 0 && threshold <= data.steps ? threshold : 0;
      state.recordB = place(data.records, given.get("versus"), (record) => record.id);
      state.compare = given.has("versus") && shape(state.record) === shape(state.recordB);
      if (!state.compare) state.recordB = state.record;
      const images = data.records[state.recordB].images;
      state.imageB = given.has("to") ? place(images, given.get("to"), (image) => image[0]) : images.length - 1;
    }
    function writeAddress() {
      const kept = new URLSearchParams();
      kept.set("record", data.records[state.record].id);
      kept.set("image", data.records[state.record].images[state.image][0]);
      if (state.threshold) kept.set("threshold", state.threshold / data.steps);
      if (state.compare) {
        kept.set("versus", data.records[state.recordB].id);
        kept.set("to", data.records[state.recordB].images[state.imageB][0]);
      }
      const hash = "#" + kept.toString().replaceAll("%2F", "/");
      if (location.hash !== hash) history.replaceState(null, "", hash);
    }

    function fill(select, words, chosen) {
      const wanted = words.join("\n");
      if (select.dataset.words !== wanted) {
        select.replaceChildren(...words.map((text, index) => new Option(text, index)));
        select.dataset.words = wanted;
      }
      select.value = chosen;
    }
    function imageWords(record) {
      const network = networkOf(record);
      return data.records[record].images.map((image, index) => {
        const now = route(record, index);
        return `${image[0]} (${share(totalMacs(network, now), allOpenMacs(network, now))} of all open)`;
      });
    }
    function fillControls() {
      const labels = data.records.map((record) => record.label);
      fill(byId("dr-record"), labels, state.record);
      fill(byId("dr-image"), imageWords(state.record), state.image);
      byId("dr-threshold").value = state.threshold / data.steps;
      byId("dr-threshold-value").textContent = (state.threshold / data.steps).toFixed(2);
      byId("dr-compare").checked = state.compare;
      byId("dr-others").hidden = !state.compare;
      if (!state.compare) return;
      fill(byId("dr-record-b"), labels, state.recordB);
      for (const option of byId("dr-record-b").options) {
        option.disabled = shape(Number(option.value)) !== shape(state.record);
      }
      fill(byId("dr-image-b"), imageWords(state.recordB), state.imageB);
    }

    const mixed = (weak, strong, part) =>
      "#" +
      [1, 3, 5]
        .map((at) => {
          const [a, b] = [weak, strong].map((color) => parseInt(color.slice(at, at + 2), 16));
          return Math.round(a + (b - a) * part).toString(16).padStart(2, "0");
        })
        .join("");
    function set(element, attributes) {
      for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    }

    const HAIRLINE = { class: "dr-closed", "stroke-width": 0.7 };
    function pathLook(drawing, mine, other) {
      const { thinnest, widest, weak, strong } = drawing.dataset;
      const wide = (part) => Number(thinnest) + (widest - thinnest) * part;
      if (other === null) {
        if (!mine) return HAIRLINE;
        const part = mine / data.steps;
        return { class: "dr-open", stroke: mixed(weak, strong, part), "stroke-width": wide(part) };
      }
      const apart = (mine - other) / data.steps;
      if (Math.abs(apart) < 0.05) return mine || other ? { class: "dr-both", "stroke-width": 1.6 } : HAIRLINE;
      return { class: apart > 0 ? "dr-first" : "dr-second", "stroke-width": wide(Math.abs(apart)) };
    }
    function cellLook(drawing, mine, other) {
      const radius = Number(drawing.dataset.radius);
      if (other === null) {
        if (mine === "o") return { class: "dr-cell-open", r: radius };
        return mine === "c" ? { class: "dr-cell-closed", r: Math.max(0.4 * radius, 1.8) } : { class: "dr-cell-dead", r: 0.68 * radius };
      }
      const [a, b] = [mine === "o", other === "o"];
      if (a && b) return { class: "dr-cell-both", r: radius };
      if (a || b) return { class: a ? "dr-cell-first" : "dr-cell-second", r: radius };
      return { class: "dr-cell-closed", r: Math.max(0.4 * radius, 1.8) };
    }

    function draw() {
      const here = data.records[state.record];
      const network = networkOf(state.record);
      const mine = route(state.record, state.image);
      const other = state.compare ? route(state.recordB, state.imageB) : null;
      for (const drawing of document.querySelectorAll("#dr-stage .dr-drawing")) {
        drawing.hidden = Number(drawing.dataset.network) !== here.network;
        if (drawing.hidden) continue;
        drawing.querySelectorAll("[data-path]").forEach((path, index) => {
          path.removeAttribute("stroke");
          set(path, pathLook(drawing, mine.factors[index], other && other.factors[index]));
          const [source, , name] = network.paths[index];
          path.classList.toggle("dr-passed", !other && name === "keep" && mine.states[source] === "c");
        });
        drawing.querySelectorAll("[data-cell]").forEach((circle, index) => {
          for (const name of ["fill", "stroke", "stroke-width"]) circle.removeAttribute(name);
          set(circle, cellLook(drawing, mine.states[index], other && other.states[index]));
        });
        drawBars(drawing, mine, other);
        drawing.setAttribute("aria-label", words(mine, other));
      }
      byId("dr-headline").textContent = words(mine, other);
      byId("dr-difference").hidden = !state.compare;
      byId("dr-legend").hidden = state.compare;
    }
    function drawBars(drawing, mine, other) {
      const { foot, macsPerUnit } = drawing.dataset;
      const total = (layer) => layer.gates + layer.operations + layer.paths;
      drawing.querySelectorAll("[data-layer]").forEach((group) => {
        const layer = mine.layers[group.dataset.layer];
        let y = Number(foot);
        for (const part of ["gates", "operations", "paths"]) {
          const box = group.querySelector(`[data-part=${part}]`);
          const tall = layer[part] / macsPerUnit;
          y -= tall;
          set(box, { y, height: tall });
        }
        const outline = group.querySelector("[data-part=outline]");
        const bound = (other ? total(other.layers[group.dataset.layer]) : layer.outline) / macsPerUnit;
        set(outline, { y: foot - bound, height: bound });
        outline.classList.toggle("dr-other", other !== null);
      });
    }
    function words(mine, other) {
      const record = data.records[state.record];
      const network = networkOf(state.record);
      const image = record.images[state.image];
      const cost = totalMacs(network, mine);
      const all = allOpenMacs(network, mine);
      const count = (states) => states.filter((letter) => letter === "o").length;
      const open = mine.factors.filter((factor) => factor > 0).length;
      let text =
        `${image[0]}: ${macsOf(cost, all)} (${share(cost, all)} of all open); ${open} of ${mine.factors.length} paths ` +
        `and ${count(mine.states)} of ${mine.states.length} cells open`;
      if (!other) return text + (state.threshold ? "." : `; mIoU of this image ${image[1]} %.`);
      const second = data.records[state.recordB].images[state.imageB];
      const otherNetwork = networkOf(state.recordB);
      const differing = mine.factors.filter((factor, index) => factor > 0 !== other.factors[index] > 0).length;
      return (
        text +
        `. Second, ${second[0]} of ${data.records[state.recordB].label}: ` +
        `${macsOf(totalMacs(otherNetwork, other), allOpenMacs(otherNetwork, other))}; ` +
        `${differing} paths are open in one and closed in the other.`
      );
    }

    // Every image's cost at this threshold, cheapest as recorded first; a click chooses.
    function drawStrip() {
      const strip = byId("dr-costs");
      const network = networkOf(state.record);
      const record = data.records[state.record];
      const all = allOpenMacs(network, route(state.record, 0));
      const costs = record.images.map((_, index) => totalMacs(network, route(state.record, index)));
      const mean = costs.reduce((sum, cost) => sum + cost, 0) / costs.length;
      const [low, high] = [Math.min(...costs), Math.max(...costs)];
      const [width, height, mark] = [640, 64, 7];
      const step = width / costs.length;
      const marks = costs.map((cost, index) => {
        const y = (height - mark) * (high > low ? 1 - (cost - low) / (high - low) : 0.5);
        const chosen = index === state.image ? ' class="dr-chosen"' : "";
        const box = (top, tall, look) =>
          `<rect ${look} x="${(index * step).toFixed(2)}" y="${top.toFixed(2)}" width="${step.toFixed(2)}" height="${tall}"/>`;
        return `<g data-image="${index}"${chosen}>${box(0, height, 'class="dr-reach"')}${box(y, mark, 'class="dr-mark"')}</g>`;
      });
      const shown = costs.length < record.of ? `${costs.length} of ${record.of} images` : `all ${costs.length} images`;
      const told =
        `Cost of ${shown} at this threshold, between the cheapest (${macsOf(low, all)}) and the dearest ` +
        `(${macsOf(high, all)}); mean ${macsOf(mean, all)}, ${share(mean, all)} of all open. Click to choose an image.`;
      strip.innerHTML =
        `<svg viewBox="0 0 ${width} ${height}" width="100%" preserveAspectRatio="none" role="img" aria-label="Cost of each image, the cheapest as recorded first">` +
        `${marks.join("")}</svg><p>${told}</p>`;
    }

    function show() {
      fillControls();
      draw();
      drawStrip();
      writeAddress();
    }
    function step(by) {
      const count = data.records[state.record].images.length;
      state.image = Math.min(Math.max(state.image + by, 0), count - 1);
      show();
    }
    // Another record opens on the image of the same name, if it has it: rows are then compared like with like.
    function sameImage(from, image, to) {
      const name = data.records[from].images[image][0];
      return Math.max(data.records[to].images.findIndex((item) => item[0] === name), 0);
    }

    function listen() {
      byId("dr-record").addEventListener("change", (event) => {
        const chosen = Number(event.target.value);
        state.image = sameImage(state.record, state.image, chosen);
        state.record = chosen;
        if (shape(state.record) !== shape(state.recordB)) state.compare = false;
        if (!state.compare) state.recordB = chosen;
        show();
      });
      byId("dr-image").addEventListener("change", (event) => {
        state.image = Number(event.target.value);
        show();
      });
      byId("dr-previous").addEventListener("click", () => step(-1));
      byId("dr-next").addEventListener("click", () => step(1));
      byId("dr-threshold").addEventListener("input", (event) => {
        state.threshold = Math.round(event.target.value * data.steps);
        show();
      });
      byId("dr-compare").addEventListener("change", (event) => {
        state.compare = event.target.checked;
        if (shape(state.record) !== shape(state.recordB)) state.recordB = state.record;
        state.imageB = Math.min(state.imageB, data.records[state.recordB].images.length - 1);
        show();
      });
      byId("dr-record-b").addEventListener("change", (event) => {
        const chosen = Number(event.target.value);
        state.imageB = sameImage(state.recordB, state.imageB, chosen);
        state.recordB = chosen;
        show();
      });
      byId("dr-image-b").addEventListener("change", (event) => {
        state.imageB = Number(event.target.value);
        show();
      });
      byId("dr-controls").addEventListener("submit", (event) => event.preventDefault());
      byId("dr-costs").addEventListener("click", (event) => {
        const bar = event.target.closest("[data-image]");
        if (!bar) return;
        state.image = Number(bar.dataset.image);
        show();
      });
      listenToStage(byId("dr-stage"));
      window.addEventListener("hashchange", () => {
        readAddress();
        show();
      });
    }
    function listenToStage(stage) {
      stage.tabIndex = 0;
      stage.addEventListener("keydown", (event) => {
        const by = { ArrowLeft: -1, ArrowRight: 1, Home: -1e9, End: 1e9 }[event.key];
        if (!by || event.altKey || event.ctrlKey || event.metaKey) return;
        event.preventDefault();
        // The theme's own arrow keys leave the page.
        event.stopPropagation();
        step(by);
      });
      let start = null;
      stage.addEventListener("pointerdown", (event) => (start = event.pointerType === "mouse" ? null : event.clientX));
      stage.addEventListener("pointerup", (event) => {
        if (start !== null && Math.abs(event.clientX - start) > 40) step(event.clientX < start ? 1 : -1);
        start = null;
      });
    }

    for (const id of ["dr-controls", "dr-headline", "dr-costs"]) byId(id).hidden = false;
    readAddress();
    listen();
    show();
  })();
}
