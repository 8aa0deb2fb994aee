"""What a data set holds: pictures with their truth, and how its pixels fall to the classes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from PIL import Image

from dynroute_core.data.dataset import Sample
from dynroute_core.data.labels import IGNORE, ClassSet, label_id_to_train_id
from dynroute_core.data.streets.generate import render_scene
from dynroute_core.data.streets.layout import Kind
from dynroute_core.data.transforms import TrainTransform
from dynroute_core.recipe import TrainConfig
from dynroute_suite.figures.examples import mask_address, photo_address, raster_legend, tile
from dynroute_suite.figures.signs import WIDTH
from dynroute_suite.figures.style import BLACK, GREY, WIDTH_IN, Picture, figure_style, picture, svg_picture
from dynroute_suite.report.numbers import percent, significant

GAP = 12.0


@dataclass(frozen=True, eq=False)
class PixelCounts:
    """Pixels per class (train id) and ignored ones, over `images` images; present: in how many images a class is."""

    classes: ClassSet
    images: int
    pixels: npt.NDArray[np.int64]
    ignored: int
    present: npt.NDArray[np.int64]

    @property
    def ignored_share(self) -> float:
        total = int(self.pixels.sum()) + self.ignored
        return self.ignored / total if total else 0.0

    @property
    def shares(self) -> npt.NDArray[np.float64]:
        """Of the labelled pixels, 0..1."""
        return self.pixels / max(int(self.pixels.sum()), 1)


def street(seed: int, index: int, *, height: int, width: int, kind: Kind = "ordinary") -> Sample:
    """One generated scene as a sample; raises as `render_scene`."""
    scene = render_scene(seed, index, height=height, width=width, kind=kind)
    return Sample(f"{kind} street {seed}.{index}", scene.image, label_id_to_train_id[scene.label_ids])


def count_pixels(samples: Iterable[Sample], classes: ClassSet) -> PixelCounts:
    pixels, present = np.zeros(len(classes), np.int64), np.zeros(len(classes), np.int64)
    images = ignored = 0
    for sample in samples:
        counts = np.bincount(sample.label.ravel(), minlength=256)
        pixels += counts[: len(classes)]
        present += counts[: len(classes)] > 0
        ignored += int(counts[IGNORE])
        images += 1
    return PixelCounts(classes, images, pixels, ignored, present)


def class_share_figure(counts: PixelCounts, *, title: str) -> Picture:
    """The classes' shares of all labelled pixels, on a logarithmic axis, in their own colours; absent ones have no bar.

    Raises ValueError where no pixel is labelled.
    """
    if not counts.pixels.any():
        raise ValueError(f"{title}: no pixel is labelled, so there are no shares to draw.")
    order = np.argsort(-counts.pixels, kind="stable")
    shares = 100 * counts.shares
    names = counts.classes.names
    with figure_style():
        figure = Figure(figsize=(WIDTH_IN, 1.0 + 0.24 * len(names)), layout="constrained")
        ax = figure.subplots()
        ax.set_title(title)
        for y, k in enumerate(order):
            if not counts.pixels[k]:
                ax.text(0.011, y, "in no picture", va="center", fontsize=9, style="italic")
                continue
            color = tuple(part / 255 for part in counts.classes.colors[k])
            ax.barh(y, shares[k], height=0.68, color=color, edgecolor=GREY, linewidth=0.6)
            ax.text(shares[k] * 1.08, y, f"{significant(float(shares[k]))} %", va="center", fontsize=9, color=BLACK)
        ax.set_xscale("log")
        ax.set(xlim=(0.01, 300), ylim=(len(names) - 0.4, -0.6), xlabel="% of labelled pixels, logarithmic")
        ax.set_yticks(range(len(names)), [names[k] for k in order])
        ax.set_xticks([0.01, 0.1, 1, 10, 100], ["0.01", "0.1", "1", "10", "100"])
        ax.minorticks_off()
        ax.grid(axis="y", visible=False)
    listed = ", ".join(f"{names[k]} {significant(float(shares[k]))}" for k in order if counts.pixels[k])
    ignored = percent(100 * counts.ignored_share)
    alt = f"{title}, {counts.images} pictures; percent of labelled pixels: {listed}; {ignored} % of all are ignored."
    return picture(figure, alt=alt)


def sample_figure(samples: Sequence[Sample], classes: ClassSet, *, title: str) -> Picture:
    """Pictures beside their truth, one below the other, with the classes in sight.

    Raises ValueError where there is none.
    """
    if not samples:
        raise ValueError(f"{title}: no pictures to show.")
    wide, y = (WIDTH - GAP) / 2, 0.0
    parts = []
    for sample in samples:
        photo = Image.fromarray(np.ascontiguousarray(sample.image[..., ::-1]))
        tall = wide * photo.height / photo.width
        parts.append(tile(sample.name, photo_address(photo), x=0, y=y, wide=wide, tall=tall))
        parts.append(tile("truth", mask_address(sample.label, classes), x=wide + GAP, y=y, wide=wide, tall=tall))
        y += tall + 28
    legend, bottom = raster_legend(classes, [sample.label for sample in samples], y=y + 10)
    shown = ", ".join(sorted({classes.names[k] for s in samples for k in np.unique(s.label) if k != IGNORE}))
    alt = f"{title}: {len(samples)} pictures beside their truth. In sight: {shown}."
    return svg_picture("\n".join([*parts, legend]), width=WIDTH, height=bottom, alt=alt)


def count_words(counts: PixelCounts) -> str:
    """What was counted, in a sentence or two, with the classes that are rarest and those that never occur."""
    names = counts.classes.names
    found = [k for k in np.argsort(counts.pixels, kind="stable") if counts.pixels[k]]
    absent = [names[k] for k in range(len(names)) if not counts.pixels[k]]
    rarest = ", ".join(
        f"{names[k]} ({significant(100 * float(counts.shares[k]))} %, in {counts.present[k]})" for k in found[:3]
    )
    ignored = percent(100 * counts.ignored_share)
    words = f"{counts.images} pictures, {ignored} % of their pixels ignored. Rarest: {rarest}."
    return f"{words} In no picture: {', '.join(absent)}." if absent else words


def training_crops(sample: Sample, train: TrainConfig, *, count: int, seed: int) -> list[Sample]:
    """`count` crops of one picture as training would show them: not those of a run, but drawn the same way."""
    transform = TrainTransform(scales=train.scales, max_size=train.max_size, crop=(train.crop_height, train.crop_width))
    draws = np.random.SeedSequence(seed).spawn(count)
    crops = [transform(sample, np.random.default_rng(draw)) for draw in draws]
    return [replace(crop, name=f"crop {number}") for number, crop in enumerate(crops, start=1)]
