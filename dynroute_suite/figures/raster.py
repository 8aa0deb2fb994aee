"""A figure as pixels, for viewers that know no SVG: what `figures.svg` writes, drawn by matplotlib on a light ground.

It knows the elements, attributes and path commands that our own drawings have, and refuses all others.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from xml.etree import ElementTree

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyBboxPatch, Patch, PathPatch, Rectangle
from matplotlib.path import Path as Course
from matplotlib.transforms import Affine2D
from PIL import Image

from dynroute_suite.figures.style import Picture

INK, GROUND = "#1f2328", "#ffffff"
POINTS_PER_INCH = 72.0
MARGIN = 20.0  # units of the drawing
ORDER = 1  # the same for all, so that what comes later lies above

_NUMBER = r"-?[0-9]*\.?[0-9]+"
_COMMAND = re.compile(rf"([MLHVCZh])((?:[ ,]*{_NUMBER})*)")
_TAKES = {"M": 2, "L": 2, "H": 1, "V": 1, "C": 6, "Z": 0, "h": 1}  # numbers per command
_ALIGNED = {"start": "left", "middle": "center", "end": "right"}
Attributes = Mapping[str, str]


def png(shown: Picture, *, width_px: int) -> bytes:
    """The figure, `width_px` pixels wide, as a PNG with its text alternative as description.

    Raises ValueError for elements that only matplotlib's own figures have.
    """
    root = ElementTree.fromstring(shown.svg)
    right, bottom = (float(word) + MARGIN for word in root.attrib["viewBox"].split()[2:])
    wide, high = right + MARGIN, bottom + MARGIN
    figure = Figure(figsize=(wide / POINTS_PER_INCH, high / POINTS_PER_INCH), dpi=width_px / wide * POINTS_PER_INCH)
    figure.patch.set_facecolor(GROUND)
    ax = figure.add_axes((0, 0, 1, 1))
    ax.set(xlim=(-MARGIN, right), ylim=(bottom, -MARGIN))
    ax.set_axis_off()
    _draw(ax, root, _Place(dict(root.attrib)))
    target = io.BytesIO()
    FigureCanvasAgg(figure).print_png(target, metadata={"Software": None, "Description": shown.alt})
    return target.getvalue()


@dataclass(frozen=True)
class _Place:
    """An element's attributes, its own and inherited, and where its zero lies."""

    given: Attributes
    x: float = 0.0
    y: float = 0.0

    def inner(self, element: ElementTree.Element) -> _Place:
        x, y = self.x, self.y
        if transform := element.get("transform"):
            moved = re.fullmatch(rf"translate\(({_NUMBER}) ({_NUMBER})\)", transform)
            if moved is None:
                raise ValueError(f"transform {transform!r} cannot be drawn: only translate(x y) can.")
            x, y = x + float(moved[1]), y + float(moved[2])
        return replace(self, given={**self.given, **element.attrib}, x=x, y=y)

    def number(self, name: str, default: float = 0.0) -> float:
        return float(self.given.get(name, default))

    def look(self) -> dict[str, object]:
        """Matplotlib's words for fill and stroke."""
        look: dict[str, object] = {
            "facecolor": _color(self.given.get("fill", INK), self.number("fill-opacity", 1)),
            "edgecolor": _color(self.given.get("stroke", "none"), self.number("stroke-opacity", 1)),
            "linewidth": self.number("stroke-width", 1),
            "capstyle": self.given.get("stroke-linecap", "butt"),
            "joinstyle": "round",
        }
        if dashes := self.given.get("stroke-dasharray"):
            look["linestyle"] = (0, [float(word) / self.number("stroke-width", 1) for word in dashes.split()])
        return look


def _color(name: str, opacity: float) -> tuple[str, float]:
    return (INK if name == "currentColor" else name, opacity if name != "none" else 0.0)


def _draw(ax: Axes, element: ElementTree.Element, place: _Place) -> None:
    for child in element:
        name = child.tag.rpartition("}")[2]
        if name == "title":
            continue
        inner = place.inner(child)
        if name == "g":
            _draw(ax, child, inner)
        elif name in _SHAPES:
            patch = _SHAPES[name](inner)
            patch.set(zorder=ORDER, **inner.look())
            patch.set_transform(Affine2D().translate(inner.x, inner.y) + ax.transData)
            ax.add_artist(patch)
        elif name == "text":
            _write(ax, child.text or "", inner)
        elif name == "image":
            _show(ax, inner)
        else:
            raise ValueError(f"<{name}> cannot be drawn: {', '.join(['g', 'text', 'image', *_SHAPES])} can.")


def _write(ax: Axes, words: str, place: _Place) -> None:
    ax.text(
        place.x + place.number("x"),
        place.y + place.number("y"),
        words,
        fontsize=place.number("font-size"),  # a unit of the drawing is a point of the figure
        fontweight=place.given.get("font-weight", "normal"),
        fontfamily="DejaVu Sans",
        ha=_ALIGNED[place.given.get("text-anchor", "start")],
        va="baseline",
        color=_color(place.given.get("fill", INK), place.number("fill-opacity", 1)),
        parse_math=False,
        zorder=ORDER,
    )


def _show(ax: Axes, place: _Place) -> None:
    left, top = place.x + place.number("x"), place.y + place.number("y")
    picture = Image.open(io.BytesIO(base64.b64decode(place.given["href"].partition(",")[2]))).convert("RGBA")
    ax.imshow(
        np.asarray(picture),
        extent=(left, left + place.number("width"), top + place.number("height"), top),
        aspect="auto",
        interpolation="antialiased",
        zorder=ORDER,
    )


def _rectangle(place: _Place) -> Patch:
    x, y, wide, high = (place.number(name) for name in ("x", "y", "width", "height"))
    if radius := place.number("rx"):
        return FancyBboxPatch((x, y), wide, high, boxstyle=f"round,pad=0,rounding_size={radius}")
    return Rectangle((x, y), wide, high)


def _circle(place: _Place) -> Patch:
    return Circle((place.number("cx"), place.number("cy")), place.number("r"))


def _path(place: _Place) -> Patch:
    points, codes = zip(*_course(place.given["d"]), strict=True)
    return PathPatch(Course(points, codes))


_SHAPES: Mapping[str, Callable[[_Place], Patch]] = {"rect": _rectangle, "circle": _circle, "path": _path}


def _course(words: str) -> Iterator[tuple[tuple[float, float], np.uint8]]:
    """The points of a path's `d`, each with matplotlib's code for how it is reached."""
    if _COMMAND.sub("", words).strip():
        raise ValueError(f"path {words[:40]!r} cannot be drawn: only {' '.join(_TAKES)} can.")
    x = y = 0.0
    start = (x, y)
    for command, text in _COMMAND.findall(words):
        numbers = [float(number) for number in re.findall(_NUMBER, text)]
        if len(numbers) != _TAKES[command]:
            raise ValueError(f"path {words[:40]!r}: {command} takes {_TAKES[command]} numbers, not {len(numbers)}.")
        if command == "Z":
            yield start, Course.CLOSEPOLY
            x, y = start
            continue
        if command == "C":
            yield (numbers[0], numbers[1]), Course.CURVE4
            yield (numbers[2], numbers[3]), Course.CURVE4
        x, y = _end(command, numbers, x, y)
        if command == "M":
            start = (x, y)
        yield (x, y), {"M": Course.MOVETO, "C": Course.CURVE4}.get(command, Course.LINETO)


def _end(command: str, numbers: list[float], x: float, y: float) -> tuple[float, float]:
    match command:
        case "H":
            return numbers[0], y
        case "h":
            return x + numbers[0], y
        case "V":
            return x, numbers[0]
        case _:
            return numbers[-2], numbers[-1]
