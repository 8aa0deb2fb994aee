"""The signs of a routing diagram: where things stand, how they look, and the legend that says what they mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dynroute_suite.figures import svg
from dynroute_suite.figures.style import BLUE, GREY, ORANGE

WIDTH = 640.0
LEFT, RIGHT = 58.0, 44.0
TITLE_HEIGHT = 30.0
ROW_HEIGHT = 46.0
BAR_HEIGHT = 62.0
SMALL_TEXT = 12.5
PATH_COLOR, CELL_COLOR = BLUE, ORANGE
HEAD_WIDTH = 9.0
THINNEST = 0.9  # an open path's width at factor 0

Look = dict[str, svg.Value]
HAIRLINE: Look = {"stroke": "currentColor", "stroke-width": 0.7, "stroke-opacity": 0.38}
ABSENT: Look = {"stroke": "currentColor", "stroke-width": 0.6, "stroke-opacity": 0.26}
DASHES: Look = {"stroke": "currentColor", "stroke-width": 1.5, "stroke-dasharray": "4 3", "stroke-opacity": 0.8}
OUTLINE: Look = {"fill": "none", "stroke": "currentColor", "stroke-width": 0.7, "stroke-opacity": 0.55}
FIXED_COST: Look = {"fill": "currentColor", "fill-opacity": 0.45}
OPERATION_COST: Look = {"fill": CELL_COLOR}
PATH_COST: Look = {"fill": PATH_COLOR}

Kind = Literal["route", "mean", "space"]


def path_color(factor: float) -> str:
    """From grey to blue: what is weak is pale on light and on dark pages alike."""
    weak, strong = (tuple(int(color[i : i + 2], 16) for i in (1, 3, 5)) for color in (GREY, PATH_COLOR))
    mixed = (round(a + (b - a) * factor) for a, b in zip(weak, strong, strict=True))
    return "#" + "".join(f"{part:02x}" for part in mixed)


@dataclass(frozen=True)
class Frame:
    """The size of a drawing and its parts. labels: whether scales and layers are named within it."""

    width: float
    left: float
    right: float
    row_height: float
    bar_height: float
    gap: float  # from the coarsest scale to the top of the bars
    labels: bool


WIDE = Frame(WIDTH, LEFT, RIGHT, ROW_HEIGHT, BAR_HEIGHT, 36.0, True)
SMALL = Frame(300.0, 2.0, 24.0, 24.0, 30.0, 20.0, False)  # one of many side by side: the legend stands apart


@dataclass(frozen=True)
class Plan:
    """Where things stand, in units of the drawing. rows: how many scales there are; top: the y of the first."""

    layers: int
    rows: int
    top: float
    frame: Frame = WIDE

    @property
    def step(self) -> float:
        """From layer to layer; short networks are not stretched over the whole width."""
        return min((self.frame.width - self.frame.left - self.frame.right) / (self.layers + 1), 84.0)

    @property
    def radius(self) -> float:
        return min(max(0.2 * self.step, 3.4), 6.5)

    @property
    def widest_path(self) -> float:
        return min(max(0.19 * self.step, 2.6), 6.0)

    def x(self, layer: int) -> float:
        """The initial layer is -1; the head stands at `layers`."""
        return self.frame.left + 8 + self.step * (layer + 1)

    @property
    def head_middle(self) -> float:
        return self.x(self.layers) + HEAD_WIDTH / 2

    def y(self, scale: int) -> float:
        return self.top + self.frame.row_height * scale

    @property
    def bars_top(self) -> float:
        return self.y(self.rows - 1) + self.frame.gap

    @property
    def bars_bottom(self) -> float:
        return self.bars_top + self.frame.bar_height


def disc(radius: float) -> Look:
    return {"r": radius, "fill": CELL_COLOR, "stroke": "currentColor", "stroke-width": 0.9}


def dot(radius: float) -> Look:
    return {"r": max(0.4 * radius, 1.8), "fill": "currentColor"}


def ring(radius: float) -> Look:
    return {"r": radius, "fill": "none", "stroke": "currentColor", "stroke-opacity": 0.55}


def legend(kind: Kind, y: float, *, fixed: bool = False, width: float = WIDTH) -> tuple[str, float]:
    """The signs and their meaning, in lines as wide as the drawing; gives the y where it ends.

    fixed: of a fixed network, whose missing paths are drawn too.
    """
    line: Look = {"fill": "none", "stroke-linecap": "round"}

    def strokes(widths: list[float]) -> str:
        return "".join(
            svg.element("path", {**line, "d": f"M{9 * i} 0h6", "stroke-width": w, "stroke": path_color(w / widths[-1])})
            for i, w in enumerate(widths)
        )

    def square(look: Look) -> str:
        return svg.element("rect", {"x": 0, "y": -6, "width": 12, "height": 12, **look})

    def circle(look: Look) -> str:
        return svg.element("circle", {"cx": 6, "cy": 0, **look})

    absent = (svg.element("path", {**ABSENT, "d": "M0 0h22"}), 22, "not in this network")
    items: list[tuple[str, float, str]] = [(circle(disc(6)), 12, "cell" if fixed else "open cell")]
    if kind != "space":
        mean = kind == "mean"
        items = [
            (strokes([1.0, 3.0, 6.0]), 24, "mean factor" if mean else "path, by factor"),
            (svg.element("path", {**HAIRLINE, "d": "M0 0h22", "stroke-width": 0.8}), 22, "closed path"),
            (circle(disc(6)), 12, "cell, by share open" if mean else "open cell"),
            (circle(dot(6)) + svg.element("path", {**DASHES, "d": "M9 0h19"}), 28, "closed, passes on"),
            (circle(ring(4.5)), 12, "dead"),
        ]
    items += [absent] if fixed else []
    items += [
        (square(FIXED_COST), 12, "stem, head" if fixed else "gates, stem, head"),
        (square(OPERATION_COST), 12, "operations"),
        (square(PATH_COST), 12, "paths"),
    ]
    if kind != "space":
        items.append((square(OUTLINE), 12, "if all were open"))
    return flow_legend(items, y, width)


def flow_legend(items: list[tuple[str, float, str]], y: float, width: float = WIDTH) -> tuple[str, float]:
    """(sign, its width, meaning) side by side, breaking lines as text does; gives SVG and the y where it ends."""
    x, parts = 0.0, []
    for sign, wide, words in items:
        needed = wide + 6 + svg.text_width(words, SMALL_TEXT)
        if x and x + needed > width:
            x, y = 0.0, y + 21
        parts.append(
            svg.element("g", {"transform": f"translate({svg.number(x)} {svg.number(y)})"}, sign)
            + svg.text(x + wide + 6, y + 4.5, words, size=SMALL_TEXT)
        )
        x += needed + 16
    return "\n".join(parts), y + 14
