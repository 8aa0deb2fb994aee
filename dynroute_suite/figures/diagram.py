"""The routing diagram: layers from left to right, four scales from top to bottom, and what every layer costs beneath.

A path's width and strength show its factor; what is closed is a hairline, so that the whole space stays in sight. An
open cell is a disc, a closed one a dot whose keep, dashed, passes its input on, a dead one a ring. Bars share the
cells' and the paths' colours. Written as SVG directly: small, sharp at any size, the same bytes every time.
"""

from __future__ import annotations

from collections.abc import Sequence

from dynroute_core.runs.record import ImageRoute, Routes
from dynroute_core.space import Cell, ModelConfig, PathKey, RoutingSpace
from dynroute_suite.figures import svg
from dynroute_suite.figures.bars import bars
from dynroute_suite.figures.signs import (
    ABSENT,
    DASHES,
    HAIRLINE,
    HEAD_WIDTH,
    LEFT,
    SMALL,
    THINNEST,
    TITLE_HEIGHT,
    WIDE,
    WIDTH,
    Frame,
    Kind,
    Look,
    Plan,
    disc,
    dot,
    legend,
    path_color,
    ring,
)
from dynroute_suite.figures.style import Picture, svg_picture
from dynroute_suite.report.flow import Flow, all_open, flow, image_route, scale_name
from dynroute_suite.report.numbers import macs_of, macs_text, share_text

SMALL_TITLE = 30.0  # the y of the finest scale beneath a small diagram's title


def route_diagram(
    routes: Routes, image_name: str, *, config: ModelConfig, height: int, width: int, title: str | None = None
) -> Picture:
    """One image's route. height, width: the nominal input size at which its cost is shown.

    Raises UsageError for an image the routes lack, ValueError where `config` is another network than the routes'.
    """
    shown = flow(routes, [image_route(routes, image_name)], config=config, height=height, width=width)
    return flow_diagram(shown, title=image_name if title is None else title, alt=f"Route of {image_name}")


def flow_diagram(shown: Flow, *, title: str, alt: str) -> Picture:
    """A flow as a picture; alt: what it is, to which its summary is added."""
    body, full_height = diagram(shown, title=title)
    return svg_picture(body, width=WIDTH, height=full_height, alt=f"{alt}: {shown.summary()}.")


def mean_route_diagram(
    routes: Routes, *, config: ModelConfig, height: int, width: int, title: str | None = None
) -> Picture:
    """The mean route of all images: factors, states and costs are means. Raises as `route_diagram` does."""
    shown = flow(routes, routes.images, config=config, height=height, width=width)
    count = "1 image" if shown.images == 1 else f"{shown.images} images"
    body, full_height = diagram(shown, title=f"Mean over {count}" if title is None else title, kind="mean")
    return svg_picture(
        body,
        width=WIDTH,
        height=full_height,
        alt=f"Mean route of {routes.row} over {count}: {shown.summary()}.",
    )


def space_diagram(config: ModelConfig, *, height: int = 1024, width: int = 2048, title: str | None = None) -> Picture:
    """The routing space of a network, every path open; costs at a nominal height × width.

    Of a fixed network: its cells and paths, what it leaves out of the space as hairlines.
    """
    shown = all_open(config, height=height, width=width)
    space = shown.space
    what = f"{config.layers} layers, {len(space.routed_cells)} cells and the initial one, {len(space.all_paths)} paths"
    body, full_height = diagram(shown, title=what if title is None else title, kind="space")
    coarsest = scale_name(space, max(cell.scale for cell in space.cells))
    alt = (
        f"{'Fixed network' if space.kept else 'Routing space'}: {what}, "
        f"from the initial cell at {scale_name(space, 0)} to the head, down to {coarsest}; "
        f"with every path open it costs {macs_text(shown.table.all_open)} at {height}×{width}."
    )
    return svg_picture(body, width=WIDTH, height=full_height, alt=alt)


def small_diagram(
    routes: Routes, images: Sequence[ImageRoute], *, config: ModelConfig, height: int, width: int, title: str
) -> Picture:
    """One image's route, or the mean of several, as one of many pictures side by side: no legend, no labels.

    Raises as `route_diagram` does.
    """
    shown = flow(routes, images, config=config, height=height, width=width)
    plan = plan_of(shown, top=SMALL_TITLE, frame=SMALL)
    kind: Kind = "route" if len(images) == 1 else "mean"
    body = "\n".join([_title(shown, title, 0, SMALL.width, 12), drawing(shown, plan, kind)])
    alt = f"{title}: {shown.summary()}."
    return svg_picture(body, width=SMALL.width, height=plan.bars_bottom + 4, alt=alt)


def legend_picture() -> Picture:
    """What the signs of small diagrams mean."""
    body, bottom = legend("route", 12)
    alt = (
        "Legend: a path's width and colour show its factor, hairlines are closed paths; discs are open cells, dots "
        "with dashes closed cells that pass their input on, rings dead cells. Bars show each layer's cost: grey gates, "
        "stem and head, orange operations, blue paths; outlines what the layer would cost were all open."
    )
    return svg_picture(body, width=WIDTH, height=bottom, alt=alt)


def plan_of(shown: Flow, *, top: float, frame: Frame = WIDE) -> Plan:
    layers = shown.config.layers
    return Plan(layers, shown.space.scales_in(layers - 1), top, frame)


def diagram(shown: Flow, *, title: str, kind: Kind = "route", top: float = 0.0) -> tuple[str, float]:
    """The drawing as SVG elements, and the y where it ends; `top`: where it begins in a larger picture."""
    plan = plan_of(shown, top=top + (TITLE_HEIGHT if title else 0) + 20)
    signs, bottom = legend(kind, plan.bars_bottom + 44, fixed=bool(shown.space.kept))
    parts = [_title(shown, title, top, WIDTH, 14), scale_labels(shown, plan, kind), drawing(shown, plan, kind), signs]
    return "\n".join(filter(None, parts)), bottom


def drawing(shown: Flow, plan: Plan, kind: Kind) -> str:
    """Paths, cells, head and bars, without a title, labels or a legend."""
    parts = [
        _absent_paths(shown, plan),
        _closed_paths(shown, plan),
        _open_paths(shown, plan, kind),
        _passed_inputs(shown, plan),
        _cells(shown, plan),
        head(plan, shown),
        bars(shown, plan),
    ]
    return "\n".join(filter(None, parts))


def _title(shown: Flow, title: str, top: float, width: float, size: float) -> str:
    if not title:
        return ""
    total = shown.table.all_open
    cost = macs_text(total) if shown.total_macs == total else macs_of(shown.total_macs, total)
    room = width - svg.text_width(cost, size) - 20
    return svg.text(0, top + size + 4, svg.shorten(title, room, size + 0.5), size=size, weight="bold") + svg.text(
        width, top + size + 4, cost, size=size, anchor="end"
    )


def scale_labels(shown: Flow, plan: Plan, kind: Kind) -> str:
    parts = []
    for scale in range(plan.rows):
        parts.append(svg.text(LEFT - 16, plan.y(scale) + 5, scale_name(shown.space, scale), anchor="end"))
        if kind == "space":
            channels = f"{shown.space.channels_at(scale)} ch"
            parts.append(svg.text(LEFT - 16, plan.y(scale) + 19, channels, size=10.5, anchor="end"))
    return "".join(parts)


def _line(shown: Flow, plan: Plan, key: PathKey) -> str:
    """A path's course, from rim to rim where its ends are hollow."""
    cell, path = key
    target = shown.space.target(cell, path)
    return course(
        plan, shown.space, key, start=_rim(shown, plan, cell), end=0 if target is None else _rim(shown, plan, target)
    )


def course(plan: Plan, space: RoutingSpace, key: PathKey, *, start: float = 0.0, end: float = 0.0) -> str:
    """The `d` of a path from its cell's middle to its target's; `start` and `end` are left out at its ends."""
    cell, path = key
    target = space.target(cell, path)
    x1, x2 = plan.x(cell.layer) + start, plan.x(cell.layer + 1) - end
    y1, y2 = plan.y(cell.scale), plan.y(cell.scale if target is None else target.scale)
    a, b, c, d = (svg.number(value) for value in (x1, y1, x2, y2))
    if y1 == y2:
        return f"M{a} {b}H{c}"
    middle = svg.number((x1 + x2) / 2)
    return f"M{a} {b}C{middle} {b} {middle} {d} {c} {d}"


def _rim(shown: Flow, plan: Plan, cell: Cell) -> float:
    """How far from a cell's middle its lines end: at a ring they must not show within it."""
    if cell not in shown.opened:
        return 0.0
    return 0.0 if shown.opened[cell] or shown.closed[cell] else ring_radius(plan)


def ring_radius(plan: Plan) -> float:
    return 0.68 * plan.radius


def _absent_paths(shown: Flow, plan: Plan) -> str:
    """What a fixed network leaves out of the space."""
    absent = sorted(set(shown.space.whole.all_paths) - set(shown.space.all_paths))
    lines = [_line(shown, plan, key) for key in absent]
    return svg.element("path", {**ABSENT, "fill": "none", "d": "".join(lines)}) if lines else ""


def _closed_paths(shown: Flow, plan: Plan) -> str:
    lines = [_line(shown, plan, key) for key in shown.space.all_paths if shown.factors[key] == 0]
    return svg.element("path", {**HAIRLINE, "fill": "none", "d": "".join(lines)}) if lines else ""


def _open_paths(shown: Flow, plan: Plan, kind: Kind) -> str:
    def one(key: PathKey) -> str:
        factor, share = shown.factors[key], shown.open_paths[key]
        seen = 0.55 if kind == "space" else 1.0
        words = f"{key[0]} {key[1]}: factor {factor:.2f}"
        if kind == "mean" and shown.images > 1:
            words = f"{key[0]} {key[1]}: mean factor {factor:.2f}, open in {share_text(share)} of images"
        if key in shown.table.paths:
            words += f", {macs_text(shown.table.paths[key] * share)}"
        return svg.element(
            "path",
            {
                "d": _line(shown, plan, key),
                "stroke-width": seen * (THINNEST + (plan.widest_path - THINNEST) * factor),
                "stroke": path_color(factor),
            },
            svg.tooltip(words),
        )

    # Strong paths last, over the weak ones they cross.
    drawn = sorted((key for key in shown.space.all_paths if shown.factors[key] > 0), key=lambda key: shown.factors[key])
    return svg.group({"fill": "none", "stroke-linecap": "round"}, [one(key) for key in drawn])


def _passed_inputs(shown: Flow, plan: Plan) -> str:
    """Closed cells' inputs, passed on unchanged, where that is what most images do."""
    lines = [_line(shown, plan, (cell, "keep")) for cell in shown.space.cells if shown.closed[cell] > 0.5]
    if not lines:
        return ""
    return svg.element("path", {**DASHES, "fill": "none", "d": "".join(lines)})


def _cells(shown: Flow, plan: Plan) -> str:
    parts = []
    for cell in shown.space.cells:
        share = shown.opened[cell]
        middle: Look = {"cx": plan.x(cell.layer), "cy": plan.y(cell.scale)}
        if share:
            look = disc(plan.radius * (0.4 + 0.6 * share))
        elif shown.closed[cell] >= shown.dead[cell]:
            look = dot(plan.radius)
        else:
            look = ring(ring_radius(plan))
        parts.append(svg.element("circle", middle | look, svg.tooltip(_cell_words(shown, cell))))
    return "\n".join(parts)


def _cell_words(shown: Flow, cell: Cell) -> str:
    name = "initial cell" if cell.layer < 0 else f"cell {cell}"
    states = [(shown.opened[cell], "open"), (shown.closed[cell], "closed"), (shown.dead[cell], "dead")]
    words = ", ".join(word if share == 1 else f"{word} in {share_text(share)}" for share, word in states if share)
    spent = shown.opened[cell] * shown.table.operations.get(cell, 0)
    return f"{name} ({shown.space.channels_at(cell.scale)} channels): {words}" + (
        f", {macs_text(spent)}" if spent else ""
    )


def head(plan: Plan, shown: Flow) -> str:
    reach = plan.y(plan.rows - 1) - plan.y(0)
    body: Look = {
        "x": plan.x(plan.layers),
        "y": plan.y(0) - 9,
        "width": HEAD_WIDTH,
        "height": reach + 18,
        "rx": 3,
        "fill-opacity": 0.75,
    }
    words = svg.tooltip(f"head: {macs_text(shown.table.head)}")
    return svg.element("rect", body, words)
