// What of a recorded route stays open at another threshold, and what that costs.
//
// Arithmetic on the page's data, free of the page; tests run it in Node and hold it to the Python code that it repeats
// (dynroute_suite/report/threshold.py, cost.py, numbers.py).
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

  // The paths that are open in one route and closed in the other, by their place in the network.
  const differing = (one, other) =>
    one.factors.flatMap((factor, path) => (factor > 0 !== other.factors[path] > 0 ? [path] : []));

  // The place of the route that differs from `one` in the fewest paths, or in the most; the first of equals. `own`: the
  // place of `one` itself, which does not count.
  function extreme(one, others, farthest, own) {
    const counts = others.map((other) => differing(one, other).length);
    const counted = counts.filter((_, place) => place !== own);
    const wanted = farthest ? Math.max(...counted) : Math.min(...counted);
    return counts.findIndex((count, place) => count === wanted && place !== own);
  }

  // As files and settings write it.
  function pathName(network, path) {
    const [source, , name] = network.paths[path];
    const [layer, scale] = network.cells[source];
    return `${layer < 0 ? "init" : `${layer}.${scale}`}>${name}`;
  }

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

  return { routeAt, totalMacs, allOpenMacs, differing, extreme, pathName, macsOf, share };
})();

if (typeof module !== "undefined") module.exports = dynroute;
