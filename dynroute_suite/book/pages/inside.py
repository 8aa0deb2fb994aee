"""What the book's pages on gates and data include. From code and committed records; two street scenes are drawn."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from dynroute_core.cell import GATE_BIAS
from dynroute_core.data.datasets import DATASETS
from dynroute_core.data.labels import CAMVID, CITYSCAPES, CITYSCAPES_LABELS, IGNORE
from dynroute_core.experiments import experiment
from dynroute_core.space import ModelConfig, RoutingSpace
from dynroute_suite.figures.data import sample_figure, street
from dynroute_suite.figures.gates import Values, activation_figure, factor_figure, gate_cost_table
from dynroute_suite.figures.style import Picture
from dynroute_suite.report.numbers import NOTHING
from dynroute_suite.report.routed_runs import Run, routed_runs
from dynroute_suite.report.space_tables import HEIGHT, WIDTH
from dynroute_suite.report.tables import escape_markdown, markdown_table

SCENES = ((0, 0), (0, 1))  # seed and index of the streets shown
SCENE_HEIGHT, SCENE_WIDTH = 256, 512


def gates_activation() -> str:
    return activation_figure().html


def gates_start() -> str:
    """Where training begins, in numbers."""
    start = float(np.tanh(GATE_BIAS))
    return (
        f"The bias starts at {GATE_BIAS}, so where the pooled features add nothing every path begins with a factor of "
        f"tanh({GATE_BIAS}) = {start:.3f} and a slope of {1 - start**2:.3f}. A factor of 0 has no slope: from that "
        "image the path's gate learns nothing. So training starts well above it."
    )


def gates_cost() -> str:
    return gate_cost_table(ModelConfig(), height=HEIGHT, width=WIDTH)


def gates_factors() -> str:
    """The factors of every committed record's images."""
    runs = routed_runs()
    if not runs:
        return "No record of a network with gates is committed yet."
    labels = escape_markdown(", ".join(run.record.label for run in runs))
    return "\n\n".join([*(figure.html for figure in recorded_factor_figures(runs)), f"Records: {labels}."])


def recorded_factor_figures(runs: Sequence[Run]) -> list[Picture]:
    """A figure per profile and data set, with a panel per row: the factors of all its runs' images together."""
    found: dict[str, dict[str, list[Values]]] = {}
    for run in runs:
        group = found.setdefault(f"{run.record.profile} profile, {run.record.data.name}", {})
        group.setdefault(run.record.row, []).append(recorded_factors(run))
    return [
        factor_figure(
            {row: np.concatenate(each) for row, each in rows.items()}, title=f"Factors after training: {name}"
        )
        for name, rows in sorted(found.items())
    ]


def recorded_factors(run: Run) -> Values:
    """Every factor of every image; paths of closed and dead cells count as 0."""
    space = RoutingSpace.of(run.config)
    sources = [index for index, cell in enumerate(space.cells) for _ in space.paths(cell)]
    rows = [
        [factor if image.states[cell] == "o" else 0.0 for cell, factor in zip(sources, image.factors, strict=True)]
        for image in run.routes.images
    ]
    return np.array(rows).ravel()


def data_streets() -> str:
    """Two generated scenes beside their truth, drawn anew at each build from their seed."""
    scenes = [street(seed, index, height=SCENE_HEIGHT, width=SCENE_WIDTH) for seed, index in SCENES]
    return sample_figure(scenes, CITYSCAPES, title="Generated streets").html


def data_classes() -> str:
    """Cityscapes' classes: the numbers in its files, and the ones the network predicts."""
    lines = [
        [label.name, label.category, str(label.label_id), NOTHING if label.train_id == IGNORE else str(label.train_id)]
        for label in CITYSCAPES_LABELS
    ]
    return markdown_table(["class", "category", "label id", "train id"], lines)


def data_camvid_classes() -> str:
    names = ", ".join(f"{index} {name}" for index, name in enumerate(CAMVID.names))
    return f"CamVid in the SegNet tutorial's form has {len(CAMVID)} classes: {names}; 11 is unlabelled and ignored."


def data_settings() -> str:
    """What each profile makes of each data set: image size, scales, crop, batch."""
    lines = []
    for name, source in DATASETS.items():
        for profile in ("smoke", "demo", "full"):
            chosen = experiment("dynamic-raw", profile=profile, data=name)
            train, shown = chosen.train, chosen.evaluate.shortest or chosen.data.height
            lines.append(
                [
                    name,
                    profile,
                    f"{chosen.data.height}×{chosen.data.width}",
                    str(len(source.classes)),
                    ", ".join(str(scale) for scale in train.scales),
                    f"{train.crop_height}×{train.crop_width}",
                    str(train.batch),
                    str(shown),
                ]
            )
    heads = ["data", "profile", "image", "classes", "shortest edge in training", "crop", "batch", "shown in evaluation"]
    return markdown_table(heads, lines)


FRAGMENTS: Mapping[str, Callable[[], str]] = {
    "gates-activation": gates_activation,
    "gates-start": gates_start,
    "gates-cost": gates_cost,
    "gates-factors": gates_factors,
    "data-streets": data_streets,
    "data-classes": data_classes,
    "data-camvid-classes": data_camvid_classes,
    "data-settings": data_settings,
}
