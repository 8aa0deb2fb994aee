"""One evaluated image: what came in, what is true, what was predicted, where it errs, and the route it took."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from dynroute_core.data.dataset import MAX_PIXELS
from dynroute_core.data.datasets import find_dataset
from dynroute_core.data.labels import IGNORE, ClassSet
from dynroute_core.runs.record import EXAMPLES, ImageFacts, Record, Routes, example_names
from dynroute_core.system.errors import BlockedError, suggest
from dynroute_core.system.files import read_file
from dynroute_suite.figures import svg
from dynroute_suite.figures.diagram import diagram, route_diagram
from dynroute_suite.figures.signs import SMALL_TEXT, WIDTH, Look, flow_legend
from dynroute_suite.figures.style import VERMILION, Picture, data_uri, svg_picture
from dynroute_suite.report.flow import Flow, config_of, flow, image_route
from dynroute_suite.report.numbers import macs_text, percent

Labels = npt.NDArray[np.uint8]

GAP = 12.0
TILE_WIDTH = (WIDTH - GAP) / 2
SHOWN_WIDTH_PX = 512  # wider rasters are shrunk: a page holds many examples
JPEG_QUALITY = 82
CORRECT, WRONG, IGNORED = 0, 1, 2


def example_figure(folder: Path, record: Record, routes: Routes, role: str) -> Picture:
    """An example of a run: image, truth, prediction and errors over the image's route.

    folder: the run's, with `examples/ROLE/{image,truth,prediction}.png`; role: cheapest, median or dearest.
    Raises UsageError for a role this run lacks, BlockedError naming a file that is missing or not what it should be.
    """
    scene, shown, facts = open_example(folder, record, routes, role)
    caption = f"{facts.name}, {role}: {macs_text(facts.paper_macs)}, mIoU {percent(facts.miou_percent)} %"
    alt = f"{role.capitalize()} example, {facts.name}: {{tiles}}, mIoU {percent(facts.miou_percent)} %."
    return scene_figure(scene, shown, caption=caption, alt=alt)


def street_figure(folder: Path, record: Record, routes: Routes, role: str) -> Picture:
    """The same example in short: image and prediction over the route. Raises what `example_figure` raises."""
    scene, shown, facts = open_example(folder, record, routes, role)
    wrong = f"{100 * scene.wrong:.0f} % of labelled pixels wrong"
    caption = f"{record.row}, {record.profile} profile, {record.data.name}: {macs_text(facts.paper_macs)}, {wrong}"
    alt = f"A street scene, what {record.row} makes of it ({record.profile} profile, {wrong}), and the route it took."
    return scene_figure(replace(scene, truth=None), shown, caption=caption, alt=alt)


def open_example(folder: Path, record: Record, routes: Routes, role: str) -> tuple[Scene, Flow, ImageFacts]:
    """An example of a run: its pictures, its route and its facts. Raises what `example_figure` raises."""
    names = example_names(record)
    if role not in names:
        raise suggest("example", role, names)
    facts = next(image for image in record.images if image.name == names[role])
    classes = find_dataset(record.data.name).classes
    shown = flow(
        routes,
        [image_route(routes, facts.name)],
        config=config_of(record),
        height=record.costs.nominal_height,
        width=record.costs.nominal_width,
    )
    return read_scene(folder / EXAMPLES / role, classes), shown, facts


@dataclass(frozen=True, eq=False)
class Scene:
    """A photograph, its true and its predicted train ids (truth: None where it is not known)."""

    photo: Image.Image
    truth: Labels | None
    prediction: Labels
    classes: ClassSet

    @property
    def wrong(self) -> float:
        """The share of labelled pixels that are wrong, 0..1."""
        if self.truth is None:
            return 0.0
        counted = self.truth != IGNORE
        return float((self.truth != self.prediction)[counted].mean()) if counted.any() else 0.0


def scene_figure(scene: Scene, shown: Flow, *, caption: str, alt: str) -> Picture:
    """A scene over the route it took. alt: says what it is; `{tiles}` in it becomes what stands side by side."""
    tiles, told = _tiles(scene)
    parts = [svg.text(0, 18, svg.shorten(caption, WIDTH, 14.5), weight="bold")]
    tall = TILE_WIDTH * scene.photo.height / scene.photo.width
    for index, (words, address) in enumerate(tiles):
        x, y = (index % 2) * (TILE_WIDTH + GAP), 34 + (index // 2) * (tall + 30)
        parts.append(tile(words, address, x=x, y=y, wide=TILE_WIDTH, tall=tall))
    rows = (len(tiles) + 1) // 2
    masks = [scene.prediction] if scene.truth is None else [scene.prediction, scene.truth]
    below = 34 + rows * (tall + 30) + 12
    legend, bottom = raster_legend(scene.classes, masks, y=below, errors=scene.truth is not None)
    drawing, full_height = diagram(shown, title="", top=bottom + 6)
    words = f"{alt.replace('{tiles}', told)} Its route: {shown.summary()}."
    return svg_picture("\n".join([*parts, legend, drawing]), width=WIDTH, height=full_height, alt=words)


def role_figure(folder: Path, record: Record, routes: Routes, role: str) -> Picture:
    """`example_figure` where the run's folder holds the pictures; in a committed folder, the route alone."""
    if (folder / EXAMPLES).is_dir():
        return example_figure(folder, record, routes, role)
    names = example_names(record)
    if role not in names:
        raise suggest("example", role, names)
    return route_diagram(
        routes,
        names[role],
        config=config_of(record),
        height=record.costs.nominal_height,
        width=record.costs.nominal_width,
        title=f"{names[role]}, {role}",
    )


def _tiles(scene: Scene) -> tuple[list[tuple[str, str]], str]:
    """(caption, address) of each raster, and what they are in words."""
    tiles = [("image", photo_address(scene.photo))]
    prediction = ("prediction", mask_address(scene.prediction, scene.classes))
    if scene.truth is None:
        return [*tiles, prediction], "photograph and prediction; the truth is not known"
    share = f"{100 * scene.wrong:.1f} % of labelled pixels"
    tiles += [
        ("truth", mask_address(scene.truth, scene.classes)),
        prediction,
        (f"errors: {share}", data_uri("png", _palette_png(_errors(scene.truth, scene.prediction), _ERROR_PALETTE))),
    ]
    return tiles, f"photograph, truth, prediction and errors; {share} are wrong"


def tile(words: str, address: str, *, x: float, y: float, wide: float, tall: float) -> str:
    """A raster at a place, with a thin rim and its caption beneath."""
    place: Look = {"x": x, "y": y, "width": wide, "height": tall}
    rim: Look = {
        "fill": "none",
        "stroke": "currentColor",
        "stroke-opacity": 0.5,
        "stroke-width": 0.7,
    }
    return (
        svg.element("image", {**place, "href": address, "preserveAspectRatio": "none"})
        + svg.element("rect", {**place, **rim})
        + svg.text(x, y + tall + 16, words, size=SMALL_TEXT)
    )


def raster_legend(
    classes: ClassSet, masks: Sequence[Labels], *, y: float, errors: bool = False, width: float = WIDTH
) -> tuple[str, float]:
    """The classes in sight, by area, and with `errors` what the error mask's colours mean."""
    areas = np.bincount(np.concatenate([mask.ravel() for mask in masks]), minlength=256)[: len(classes)]
    items = [
        (_swatch("#{:02x}{:02x}{:02x}".format(*classes.colors[k])), 12.0, classes.names[k])
        for k in np.argsort(-areas, kind="stable")
        if areas[k]
    ]
    if errors:
        items += [(_swatch(VERMILION), 12.0, "wrong"), (_swatch("none"), 12.0, "ignored")]
    return flow_legend(items, y, width)


def photo_address(photo: Image.Image) -> str:
    return data_uri("jpeg", photo_jpeg(photo))


def mask_address(train_ids: Labels, classes: ClassSet) -> str:
    """Train ids in the classes' colours; ignored pixels show the page."""
    return data_uri("png", mask_png(train_ids, classes))


def mask_png(train_ids: Labels, classes: ClassSet) -> bytes:
    """Train ids as a PNG in the classes' colours, ignored pixels transparent."""
    return _palette_png(train_ids, _palette(classes))


def _swatch(color: str) -> str:
    look: Look = {
        "fill": color,
        "stroke": "currentColor",
        "stroke-opacity": 0.6,
        "stroke-width": 0.7,
    }
    return svg.element("rect", {"x": 0, "y": -6, "width": 12, "height": 12, **look})


def read_scene(source: Path, classes: ClassSet) -> Scene:
    """The example in a folder with `image.png`, `truth.png` and `prediction.png`.

    Raises BlockedError naming a file that is missing or not what it should be.
    """
    photo, truth, prediction = (_open(source / f"{part}.png") for part in ("image", "truth", "prediction"))
    labels: list[Labels] = []
    for part, picture in (("truth", truth), ("prediction", prediction)):
        path = source / f"{part}.png"
        values = np.asarray(picture, dtype=np.uint8)
        if values.ndim != 2 or picture.size != truth.size:
            raise BlockedError(
                f"{path} is {picture.mode} {picture.size}: train ids need one 8-bit channel, both masks one size."
            )
        unknown = values[(values >= len(classes)) & (values != IGNORE)]
        if unknown.size:
            raise BlockedError(
                f"{path} holds {unknown[0]}: {classes.name} has train ids 0..{len(classes) - 1}, and {IGNORE}."
            )
        labels.append(values)
    return Scene(photo.convert("RGB"), labels[0], labels[1], classes)


def _open(path: Path) -> Image.Image:
    try:
        opened = Image.open(io.BytesIO(read_file(path)), formats=("PNG",))
        if opened.width * opened.height > MAX_PIXELS:
            raise ValueError(f"it claims {opened.height}×{opened.width} pixels")
        opened.load()
    except BlockedError:
        raise
    except Exception as error:  # what broken bytes make of Pillow's parsers is listed nowhere
        raise BlockedError(
            f"{path} is no readable picture ({error}). Delete the run's folder and run the row again."
        ) from error
    return opened


def _errors(truth: Labels, prediction: Labels) -> Labels:
    errors = np.where(truth == prediction, CORRECT, WRONG).astype(np.uint8)
    errors[truth == IGNORE] = IGNORED
    return errors


Palette = Mapping[int, tuple[int, int, int, int]]  # value → RGBA
_ERROR_PALETTE: Palette = {
    CORRECT: (128, 128, 128, 70),
    WRONG: (0xD5, 0x5E, 0x00, 255),
    IGNORED: (0, 0, 0, 0),
}


def _palette(classes: ClassSet) -> Palette:
    return {value: (*color, 255) for value, color in enumerate(classes.colors)} | {IGNORE: (0, 0, 0, 0)}


def _palette_png(values: Labels, palette: Palette) -> bytes:
    """Values as a PNG with a palette; transparent entries show the page."""
    shown = Image.fromarray(values, mode="P")
    colors = [palette.get(value, (0, 0, 0, 0)) for value in range(256)]
    shown.putpalette([part for color in colors for part in color[:3]])
    shown = shown.resize(_shown_size(shown), Image.Resampling.NEAREST)
    target = io.BytesIO()
    shown.save(target, format="PNG", optimize=True, transparency=bytes(color[3] for color in colors))
    return target.getvalue()


def photo_jpeg(photo: Image.Image) -> bytes:
    """A photograph as a JPEG, at most SHOWN_WIDTH_PX wide."""
    target = io.BytesIO()
    photo.resize(_shown_size(photo), Image.Resampling.LANCZOS).save(
        target, format="JPEG", quality=JPEG_QUALITY, optimize=True
    )
    return target.getvalue()


def _shown_size(picture: Image.Image) -> tuple[int, int]:
    if picture.width <= SHOWN_WIDTH_PX:
        return picture.size
    return SHOWN_WIDTH_PX, max(round(picture.height * SHOWN_WIDTH_PX / picture.width), 1)
