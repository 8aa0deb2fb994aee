"""A run at a glance: its cheapest, median and dearest image side by side, what was made of them, by which route, at
what cost.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dynroute_core.data.labels import ClassSet
from dynroute_core.runs.record import ImageFacts, Record, Routes, example_names
from dynroute_suite.figures import svg
from dynroute_suite.figures.diagram import drawing, plan_of
from dynroute_suite.figures.examples import Scene, mask_address, open_example, photo_address, raster_legend
from dynroute_suite.figures.signs import FIXED_COST, OUTLINE, SMALL_TEXT, Frame, Look, legend
from dynroute_suite.figures.style import Picture, svg_picture
from dynroute_suite.report.comparable import is_comparable
from dynroute_suite.report.flow import Flow
from dynroute_suite.report.numbers import gmacs, macs_of, percent, share_text

LEFT, COLUMN, GAP = 116.0, 260.0, 14.0  # room for the rows' names, a picture's width, between pictures
TITLE, TEXT, LINE = 22.0, 14.0, 20.0
ALL = LEFT + 3 * COLUMN + 2 * GAP + 1  # and room for the last outline
TOP = 118.0  # of the first picture
FRAME = Frame(COLUMN, 2.0, 20.0, 26.0, 36.0, 20.0, False)
COST_BAR = 13.0
NAMES = {"cheapest": "the cheapest", "median": "the median", "dearest": "the dearest"}


@dataclass(frozen=True, eq=False)
class _Column:
    """One image, from top to bottom."""

    role: str
    scene: Scene
    route: Flow
    facts: ImageFacts
    x: float


def summary_figure(folder: Path, record: Record, routes: Routes) -> Picture:
    """A run's examples side by side: picture, truth, segmentation, route and cost, with mIoU and GFLOPs of all images.

    folder: the run's, with its `examples/`. Raises BlockedError naming a file that is missing or not what it should be.
    """
    columns = [
        _Column(role, *open_example(folder, record, routes, role), x=LEFT + place * (COLUMN + GAP))
        for place, role in enumerate(example_names(record))
    ]
    tall = max(COLUMN * column.scene.photo.height / column.scene.photo.width for column in columns)
    parts = [*_title(record), *map(_name, columns)]
    y = TOP
    for words, address in _RASTERS:
        parts += [_row_name(words, y + 14), *(_raster(column, address(column.scene), y) for column in columns)]
        y += tall + GAP
    plans = [plan_of(column.route, top=y + 14, frame=FRAME) for column in columns]
    for column, plan in zip(columns, plans, strict=True):
        shift: Look = {"transform": f"translate({svg.number(column.x)} 0)"}
        parts.append(svg.element("g", shift, drawing(column.route, plan, "route")))
    parts.append(_row_name("route", y + 18))
    y = plans[0].bars_bottom + 2 * GAP
    parts += [_row_name("cost", y + COST_BAR - 2), *(_cost(column, y) for column in columns)]
    signs, bottom = _legends(columns, columns[0].scene.classes, y + COST_BAR + 60)
    alt = " ".join([*_words(record), *map(_column_words, columns)])
    return svg_picture("\n".join([*parts, signs]), width=ALL, height=bottom, alt=alt)


def _truth(scene: Scene) -> str:
    assert scene.truth is not None, "an evaluated image has a label"
    return mask_address(scene.truth, scene.classes)


_RASTERS: Sequence[tuple[str, Callable[[Scene], str]]] = (
    ("picture", lambda scene: photo_address(scene.photo)),
    ("truth", _truth),
    ("segmentation", lambda scene: mask_address(scene.prediction, scene.classes)),
)


def _words(record: Record) -> list[str]:
    """Title and subtitle."""
    cost = f"{gmacs(record.costs.paper.mean_macs)} GFLOPs"
    first = f"{record.row} on {record.data.name}: {percent(record.metrics.miou_percent)} % mIoU at {cost}."
    apart = "" if is_comparable(record) else ", not comparable with published numbers"
    where = f"{len(record.images)} image{'s' * (len(record.images) > 1)}, seed {record.seed}"
    return [first, f"{'; '.join([f'{record.profile} profile{apart}', where, *record.marks])}.".capitalize()]


def _title(record: Record) -> list[str]:
    first, second = (line.rstrip(".") for line in _words(record))
    return [
        svg.text(0, TITLE, svg.shorten(first, ALL, TITLE), size=TITLE, weight="bold"),
        svg.text(0, TITLE + 26, svg.shorten(second, ALL, TEXT), size=TEXT),
    ]


def _name(column: _Column) -> str:
    miou = f"mIoU {percent(column.facts.miou_percent)} %"
    image = column.facts.name.rpartition("/")[2]
    return "".join(
        [
            svg.text(column.x, TOP - LINE - 10, NAMES[column.role], size=TEXT + 1, weight="bold"),
            svg.text(column.x + COLUMN, TOP - LINE - 10, miou, size=TEXT, anchor="end"),
            svg.text(column.x, TOP - 10, svg.shorten(image, COLUMN, SMALL_TEXT), size=SMALL_TEXT),
        ]
    )


def _row_name(words: str, y: float) -> str:
    return svg.text(LEFT - GAP, y, words, size=TEXT, anchor="end")


def _raster(column: _Column, address: str, y: float) -> str:
    photo = column.scene.photo
    place: Look = {"x": column.x, "y": y, "width": COLUMN, "height": COLUMN * photo.height / photo.width}
    image = svg.element("image", {**place, "href": address, "preserveAspectRatio": "none"})
    return image + svg.element("rect", {**place, **OUTLINE})


def _cost(column: _Column, y: float) -> str:
    """A bar from nothing to every path open, filled as far as the image's cost."""
    spent, most = column.facts.paper_macs, column.route.table.all_open
    share = spent / most
    bar: Look = {"x": column.x, "y": y, "height": COST_BAR}
    words = f"{macs_of(spent, most)}, {share_text(share)}"
    return (
        svg.element("rect", {**bar, "width": min(share, 1) * COLUMN, **FIXED_COST, "fill-opacity": 0.7})
        + svg.element("rect", {**bar, "width": COLUMN, **OUTLINE})
        + svg.text(column.x, y + COST_BAR + LINE - 2, words, size=TEXT)
    )


def _legends(columns: Sequence[_Column], classes: ClassSet, y: float) -> tuple[str, float]:
    masks = [mask for column in columns for mask in (column.scene.prediction, column.scene.truth) if mask is not None]
    colors, below = raster_legend(classes, masks, y=y, width=ALL)
    signs, bottom = legend("route", below + 14, fixed=bool(columns[0].route.space.kept), width=ALL)
    return f"{colors}\n{signs}", bottom


def _column_words(column: _Column) -> str:
    wrong = f"{share_text(column.scene.wrong)} of its labelled pixels are wrong"
    return f"{NAMES[column.role].capitalize()}, {column.facts.name}: {wrong}; {column.route.summary()}."
