// What a route looks like: in the routing diagrams that the page brings along, and as a thumbnail.
"use strict";

const dynrouteDrawing = (() => {
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
  function pathLook(drawing, mine, other, steps) {
    const { thinnest, widest, weak, strong } = drawing.dataset;
    const wide = (part) => Number(thinnest) + (widest - thinnest) * part;
    if (other === null) {
      if (!mine) return HAIRLINE;
      const part = mine / steps;
      return { class: "dr-open", stroke: mixed(weak, strong, part), "stroke-width": wide(part) };
    }
    const apart = (mine - other) / steps;
    if (Math.abs(apart) < 0.05) return mine || other ? { class: "dr-both", "stroke-width": 1.6 } : HAIRLINE;
    return { class: apart > 0 ? "dr-first" : "dr-second", "stroke-width": wide(Math.abs(apart)) };
  }
  function cellLook(drawing, mine, other) {
    const radius = Number(drawing.dataset.radius);
    const closed = { class: "dr-cell-closed", r: Math.max(0.4 * radius, 1.8) };
    if (other === null) {
      if (mine === "o") return { class: "dr-cell-open", r: radius };
      return mine === "c" ? closed : { class: "dr-cell-dead", r: 0.68 * radius };
    }
    const [a, b] = [mine === "o", other === "o"];
    if (a && b) return { class: "dr-cell-both", r: radius };
    return a || b ? { class: a ? "dr-cell-first" : "dr-cell-second", r: radius } : closed;
  }

  // Draws a route, or its difference from another one (null: none), into a drawing of its network.
  function draw(drawing, network, steps, mine, other) {
    drawing.querySelectorAll("[data-path]").forEach((path, index) => {
      path.removeAttribute("stroke");
      set(path, pathLook(drawing, mine.factors[index], other && other.factors[index], steps));
      const [source, , name] = network.paths[index];
      path.classList.toggle("dr-passed", !other && name === "keep" && mine.states[source] === "c");
    });
    drawing.querySelectorAll("[data-cell]").forEach((circle, index) => {
      for (const name of ["fill", "stroke", "stroke-width"]) circle.removeAttribute(name);
      set(circle, cellLook(drawing, mine.states[index], other && other.states[index]));
    });
    drawBars(drawing, mine, other);
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

  // A route the size of a thumb: a square per open cell, a dot per closed one, layers from left to right.
  function thumbnail(network, states) {
    const squares = (letter, size) =>
      network.cells
        .flatMap(([layer, scale], cell) => (states[cell] === letter ? [[layer + 1.5, scale + 0.5]] : []))
        .map(([x, y]) => `M${x - size / 2} ${y - size / 2}h${size}v${size}h-${size}z`)
        .join("");
    return (
      `<svg viewBox="0 0 ${network.layers + 1} 4" preserveAspectRatio="none" aria-hidden="true">` +
      `<path class="dr-thumb-open" d="${squares("o", 0.8)}"/><path class="dr-thumb-closed" d="${squares("c", 0.25)}"/></svg>`
    );
  }

  // Every image's cost as a mark of its own, a click's reach around it.
  function costMarks(costs, chosen) {
    const [low, high] = [Math.min(...costs), Math.max(...costs)];
    const [width, height, mark] = [640, 64, 7];
    const step = width / costs.length;
    const marks = costs.map((cost, index) => {
      const y = (height - mark) * (high > low ? 1 - (cost - low) / (high - low) : 0.5);
      const box = (top, tall, look) =>
        `<rect class="${look}" x="${(index * step).toFixed(2)}" y="${top.toFixed(2)}" width="${step.toFixed(2)}" height="${tall}"/>`;
      const look = index === chosen ? ' class="dr-chosen"' : "";
      return `<g data-image="${index}"${look}>${box(0, height, "dr-reach")}${box(y, mark, "dr-mark")}</g>`;
    });
    return (
      `<svg viewBox="0 0 ${width} ${height}" width="100%" preserveAspectRatio="none" role="img" ` +
      `aria-label="Cost of each image, the cheapest as recorded first">${marks.join("")}</svg>`
    );
  }

  return { draw, thumbnail, costMarks };
})();
