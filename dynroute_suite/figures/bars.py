"""What every layer of a route costs: stacked bars beneath a routing diagram, in the colours of its signs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dynroute_suite.figures import svg
from dynroute_suite.figures.signs import (
    FIXED_COST,
    HAIRLINE,
    OPERATION_COST,
    OUTLINE,
    PATH_COST,
    SMALL_TEXT,
    Look,
    Plan,
)
from dynroute_suite.report.flow import Flow
from dynroute_suite.report.numbers import macs_of, macs_text, macs_unit, significant

TALLEST = 1.12  # of the dearest layer: stem and head are cut there
CUT_TEXT = 10.5


@dataclass(frozen=True)
class BarScale:
    """How MACs become height. highest: the dearest layer with every path open, as tall as `height`; bottom: the bars'
    common foot."""

    highest: float
    wide: float
    bottom: float
    height: float
    named: bool

    def tall(self, macs: float) -> float:
        return self.height * macs / self.highest


def bars(shown: Flow, plan: Plan) -> str:
    """MACs per layer, stacked; the outline is the layer with every path open. Stem and head stand at the ends."""
    scale = bar_scale(shown, plan)
    parts = []
    for index, layer in enumerate(shown.layers):
        words = f"layer {index}: {macs_of(layer.total, layer.all_open)}"
        stack = [(layer.gates, FIXED_COST), (layer.operations, OPERATION_COST), (layer.paths, PATH_COST)]
        parts.append(_bar(plan.x(index), stack, layer.all_open, words, scale=scale))
    return "\n".join([*parts, *ends(shown, plan, scale), axis(plan, scale)])


def ends(shown: Flow, plan: Plan, scale: BarScale) -> list[str]:
    """The bars of stem and head, which no route changes."""
    parts = []
    for x, macs, words in (
        (plan.x(-1), shown.table.stem, "stem"),
        (plan.head_middle, shown.table.head, "head"),
    ):
        words += f": {macs_text(macs)}"
        parts.append(
            _cut_bar(x, macs, words, scale)
            if macs > TALLEST * scale.highest
            else _bar(x, [(macs, FIXED_COST)], macs, words, scale=scale)
        )
    return parts


def bar_scale(shown: Flow, plan: Plan) -> BarScale:
    highest = max(layer.all_open for layer in shown.layers)
    return BarScale(highest, min(0.62 * plan.step, 22.0), plan.bars_bottom, plan.frame.bar_height, plan.frame.labels)


def _bar(middle: float, stack: Sequence[tuple[float, Look]], bound: float, words: str, *, scale: BarScale) -> str:
    y, drawn = scale.bottom, []
    for macs, look in stack:
        y -= scale.tall(macs)
        if macs:
            drawn.append(_rectangle(middle, y, scale.tall(macs), look, scale))
    drawn.append(_rectangle(middle, scale.bottom - scale.tall(bound), scale.tall(bound), OUTLINE, scale))
    return svg.element("g", {}, svg.tooltip(words) + "".join(drawn))


def _rectangle(middle: float, y: float, tall: float, look: Look, scale: BarScale) -> str:
    return svg.element("rect", {"x": middle - scale.wide / 2, "y": y, "width": scale.wide, "height": tall, **look})


def _cut_bar(middle: float, macs: float, words: str, scale: BarScale) -> str:
    """A bar too tall to show, cut open, with its value: a wide stem before narrow layers would flatten all else."""
    top = scale.bottom - TALLEST * scale.height
    left, right = svg.number(middle - scale.wide / 2), svg.number(middle + scale.wide / 2)
    foot, start, end = (svg.number(y) for y in (scale.bottom, top + 15, top + 21))
    low, high, roof = (svg.number(y) for y in (top + 14, top + 8, top))
    course = f"M{left} {foot}H{right}V{start}L{left} {end}ZM{left} {low}L{right} {high}V{roof}H{left}Z"
    drawn = svg.element("path", {"d": course, **FIXED_COST}, svg.tooltip(words))
    if not scale.named:
        return drawn
    value = significant(macs / macs_unit(scale.highest)[0])
    return drawn + svg.text(middle, top - 4, value, size=CUT_TEXT, anchor="middle")


def axis(plan: Plan, scale: BarScale) -> str:
    """The foot line, the layers' numbers as far as they fit, and the height of the dearest layer."""
    left = plan.frame.left
    end = svg.number(plan.head_middle + scale.wide / 2)
    line = f"M{svg.number(plan.x(-1) - scale.wide / 2 - 3)} {svg.number(scale.bottom)}H{end}"
    foot = svg.element("path", {**HAIRLINE, "stroke-opacity": 0.7, "d": line})
    if not scale.named:
        return foot
    names = [(plan.x(-1), "stem"), (plan.head_middle, "head")]
    every = 1 if plan.step > 26 else 2 if plan.step > 20 else 4
    for index in range(0, plan.layers, every):
        if min(plan.x(index) - plan.x(-1), plan.x(plan.layers) - plan.x(index)) > 30:
            names.append((plan.x(index), str(index)))
    y = scale.bottom + 17
    unit_macs, unit = macs_unit(scale.highest)
    texts = [
        *(svg.text(x, y, name, size=SMALL_TEXT, anchor="middle") for x, name in names),
        svg.text(left - 16, y, "layer", size=SMALL_TEXT, anchor="end"),
        svg.text(left - 16, plan.bars_top + 6, significant(scale.highest / unit_macs), size=SMALL_TEXT, anchor="end"),
        svg.text(left - 16, plan.bars_top + 21, unit, size=SMALL_TEXT - 1, anchor="end"),
    ]
    return "\n".join([*texts, foot])
