"""The route explorer as part of a page: its controls, a drawing of every network for the script to fill in, its data.

Takes committed runs; gives one block of HTML. Without JavaScript the drawings show the routing space with every path
open. What a script may change carries a number: `data-path`, `data-cell`, `data-layer`.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from dynroute_core.data.labels import CITYSCAPES
from dynroute_suite.book.explorer.data import Network, explorer_json, networks_of
from dynroute_suite.figures import svg
from dynroute_suite.figures.bars import BarScale, axis, bar_scale, ends
from dynroute_suite.figures.diagram import course, head, legend_picture, plan_of, scale_labels
from dynroute_suite.figures.signs import (
    FIXED_COST,
    OPERATION_COST,
    OUTLINE,
    PATH_COLOR,
    PATH_COST,
    THINNEST,
    WIDTH,
    Look,
    Plan,
    disc,
)
from dynroute_suite.figures.style import GREY, svg_picture
from dynroute_suite.report.flow import Flow, all_open
from dynroute_suite.report.routed_runs import RoutedRun

ASSETS = "../explorer"  # from a page of a chapter: book/_assets/explorer
SCRIPTS = ("route.js", "drawing.js", "explorer.js")  # in the order in which they use each other
TOP = 16.0

_NO_SCRIPT = (
    '<noscript><p>The explorer needs JavaScript. Without it, the <a href="gallery.html">gallery</a> shows the same '
    "routes as pictures; below stands the routing space with every path open.</p></noscript>"
)


def explorer_block(runs: Sequence[RoutedRun]) -> str:
    """The whole explorer, data included, as HTML without blank lines, fit for a raw block of a Markdown page."""
    drawings = "\n".join(_drawing(network, index) for index, network in enumerate(networks_of(runs)))
    parts = [
        f'<link rel="stylesheet" href="{ASSETS}/explorer.css">',
        '<div class="dr-explorer" id="dr-explorer">',
        _NO_SCRIPT,
        _controls(),
        _sights(),
        '<p class="dr-headline" id="dr-headline" role="status" hidden></p>',
        '<div class="dr-stage" id="dr-stage" role="group" aria-label="Routing diagram" tabindex="0">',
        drawings,
        f'<div id="dr-legend">{legend_picture().html}</div>',
        "</div>",
        _difference(),
        '<div class="dr-costs" id="dr-costs" hidden></div>',
        "</div>",
        f'<script type="application/json" id="dr-data">{explorer_json(runs)}</script>',
        *(f'<script src="{ASSETS}/{name}" defer></script>' for name in SCRIPTS),
    ]
    return "\n".join(part for part in parts if part.strip())


def _controls() -> str:
    return f"""<form class="dr-controls" id="dr-controls" hidden>
<div class="dr-field"><label for="dr-row">Row</label><select id="dr-row"></select></div>
<div class="dr-field"><label for="dr-record">Run</label><select id="dr-record"></select></div>
{_filmstrip("Image, cheapest first", "")}
<div class="dr-field dr-wide"><label for="dr-threshold">Threshold: paths with a factor of at most
<output id="dr-threshold-value" for="dr-threshold">0.00</output> count as closed</label>
<input type="range" id="dr-threshold" min="0" max="1" step="0.01" value="0"></div>
<div class="dr-field dr-wide"><span class="dr-line"><input type="checkbox" id="dr-compare">
<label for="dr-compare">Show the difference from a second image</label></span></div>
<div class="dr-controls" id="dr-others" hidden>
<div class="dr-field"><label for="dr-row-b">Row of the second</label><select id="dr-row-b"></select></div>
<div class="dr-field"><label for="dr-record-b">Run of the second</label><select id="dr-record-b"></select></div>
{_filmstrip("Second image, cheapest first", "-b")}
<p class="dr-line dr-wide"><button type="button" id="dr-nearest">Nearest route</button>
<button type="button" id="dr-farthest">Farthest route</button></p>
</div>
<p class="dr-hint dr-wide">Arrow keys change a chosen image. The address keeps what you see.</p>
</form>"""


def _filmstrip(title: str, which: str) -> str:
    """Buttons around a strip that the script fills with an image each. which: `-b` for the second image's."""
    of = " of the second" if which else ""
    return f"""<fieldset class="dr-field dr-wide"><legend>{title}</legend><div class="dr-line">
<button type="button" id="dr-previous{which}" aria-label="Previous image{of}">\N{LEFTWARDS ARROW}</button>
<div class="dr-strip" id="dr-image{which}"></div>
<button type="button" id="dr-next{which}" aria-label="Next image{of}">\N{RIGHTWARDS ARROW}</button></div></fieldset>"""


def _sights() -> str:
    """Photographs with what is laid over them, one image or two side by side; the script fills them in."""
    choices = (("prediction", "segmentation"), ("truth", "truth"), ("photo", "nothing"))
    radios = "".join(
        f'<label class="dr-line"><input type="radio" name="dr-over" value="{value}">{words}</label>'
        for value, words in choices
    )
    swatches = "".join(
        f'<li><span class="dr-class" style="background:#{bytes(color).hex()}"></span>{escape(name)}</li>'
        for name, color in zip(CITYSCAPES.names, CITYSCAPES.colors, strict=True)
    )
    return f"""<div id="dr-sights" hidden>
<div class="dr-sides"><div class="dr-side" id="dr-side"></div><div class="dr-side" id="dr-side-b"></div></div>
<div id="dr-over" class="dr-controls"><fieldset class="dr-field dr-over"><legend>Over the picture</legend>
<div class="dr-line">{radios}</div></fieldset>
<div class="dr-field"><label for="dr-opacity">Opacity
<output id="dr-opacity-value" for="dr-opacity"></output></label>
<input type="range" id="dr-opacity" min="0" max="100" step="5"></div>
<details class="dr-wide"><summary>The classes' colours</summary><ul class="dr-classes">{swatches}</ul></details></div>
</div>"""


def _difference() -> str:
    """The legend of a difference, and room for its paths as a table."""
    items = [
        ("dr-first", "stronger, or open only, in the first"),
        ("dr-second", "stronger, or open only, in the second"),
        ("dr-both", "alike"),
        ("dr-other", "what the second costs, layer by layer"),
    ]
    listed = "".join(f'<li><span class="dr-swatch {name}"></span>{words}</li>' for name, words in items)
    return f"""<div id="dr-difference" hidden><ul class="dr-difference">{listed}</ul>
<details><summary id="dr-apart"></summary>
<div class="dr-table" role="region" aria-label="Paths that differ" tabindex="0">
<table class="table"><thead><tr><th>path</th><th>factor in the first</th><th>in the second</th></tr></thead>
<tbody id="dr-apart-paths"></tbody></table></div></details></div>"""


def _drawing(network: Network, index: int) -> str:
    """One network with every path open, as a figure. data- attributes tell the script sizes and colours."""
    config, height, width = network
    shown = all_open(config, height=height, width=width)
    plan = plan_of(shown, top=TOP)
    scale = bar_scale(shown, plan)
    parts = [scale_labels(shown, plan, "route"), _paths(shown, plan), _cells(shown, plan), head(plan, shown)]
    body = "\n".join([*parts, _bars(shown, plan, scale)])
    alt = f"Routing space of {config.layers} layers with every path open: {shown.summary()}."
    picture = svg_picture(body, width=WIDTH, height=plan.bars_bottom + 24, alt=alt)
    facts: Look = {
        "data-network": str(index),
        "data-thinnest": THINNEST,
        "data-widest": plan.widest_path,
        "data-radius": plan.radius,
        "data-foot": scale.bottom,
        "data-macs-per-unit": repr(scale.highest / scale.height),
        "data-weak": GREY,
        "data-strong": PATH_COLOR,
    }
    told = "".join(f' {key}="{escape(str(value))}"' for key, value in facts.items())
    hidden = " hidden" if index else ""
    return picture.html.replace('<figure class="dr-fig"', f'<figure class="dr-fig dr-drawing"{told}{hidden}', 1)


def _paths(shown: Flow, plan: Plan) -> str:
    look: Look = {"stroke": PATH_COLOR, "stroke-width": svg.number(plan.widest_path)}
    drawn = [
        svg.element("path", {"data-path": str(index), "d": course(plan, shown.space, key), **look})
        for index, key in enumerate(shown.space.all_paths)
    ]
    return svg.group({"class": "dr-paths", "fill": "none", "stroke-linecap": "round"}, drawn)


def _cells(shown: Flow, plan: Plan) -> str:
    return "\n".join(
        svg.element(
            "circle",
            {"data-cell": str(index), "cx": plan.x(cell.layer), "cy": plan.y(cell.scale), **disc(plan.radius)},
        )
        for index, cell in enumerate(shown.space.cells)
    )


def _bars(shown: Flow, plan: Plan, scale: BarScale) -> str:
    """Per layer gates, operations, paths, and the outline of all open; stem and head at the ends."""
    looks = {"gates": FIXED_COST, "operations": OPERATION_COST, "paths": PATH_COST, "outline": OUTLINE}

    def box(middle: float, y: float, tall: float, look: Look, part: str) -> str:
        place: Look = {"x": middle - scale.wide / 2, "y": y, "width": scale.wide, "height": tall}
        return svg.element("rect", {"data-part": part, **place, **look})

    parts = []
    for layer, cost in enumerate(shown.layers):
        amounts = {"gates": cost.gates, "operations": cost.operations, "paths": cost.paths, "outline": cost.all_open}
        y, boxes = scale.bottom, []
        for part, macs in amounts.items():
            tall = scale.tall(macs)
            y = scale.bottom - tall if part == "outline" else y - tall
            boxes.append(box(plan.x(layer), y, tall, looks[part], part))
        parts.append(svg.element("g", {"data-layer": str(layer)}, "".join(boxes)))
    return "\n".join([*parts, *ends(shown, plan, scale), axis(plan, scale)])
