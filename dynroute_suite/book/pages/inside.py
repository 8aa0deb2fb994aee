"""What the book's pages on gates and data include. From code and committed records; a few street scenes are drawn."""

from __future__ import annotations

from dynroute_core.data.datasets import DATASETS
from dynroute_core.data.labels import CAMVID, CITYSCAPES, CITYSCAPES_LABELS, IGNORE
from dynroute_core.data.streets.layout import Kind
from dynroute_core.experiments import experiment
from dynroute_core.space import ModelConfig
from dynroute_suite.figures.data import sample_figure, street
from dynroute_suite.figures.gates import activation_figure, gate_cost_table, recorded_factor_figures, start_words
from dynroute_suite.report.numbers import NOTHING
from dynroute_suite.report.results import Results
from dynroute_suite.report.routed_runs import NO_RUNS
from dynroute_suite.report.space_tables import HEIGHT, WIDTH
from dynroute_suite.report.tables import escape_markdown, markdown_table

SCENES: tuple[tuple[int, Kind], ...] = ((0, "ordinary"), (1, "ordinary"), (2, "near"), (4, "far"))
"""Index and kind of the streets shown, of seed 0."""
SCENE_HEIGHT, SCENE_WIDTH = 256, 512


def gates_activation() -> str:
    return activation_figure().html


def gates_start() -> str:
    return start_words()


def gates_cost() -> str:
    return gate_cost_table(ModelConfig(), height=HEIGHT, width=WIDTH)


def gates_factors(results: Results) -> str:
    """The factors of every committed record's images."""
    runs = results.routed
    if not runs:
        return NO_RUNS
    labels = escape_markdown(", ".join(run.record.label for run in runs))
    return "\n\n".join([*(figure.html for figure in recorded_factor_figures(runs)), f"Records: {labels}."])


def data_streets() -> str:
    """A few generated scenes beside their truth, drawn anew at each build from their seed."""
    scenes = [street(0, index, height=SCENE_HEIGHT, width=SCENE_WIDTH, kind=kind) for index, kind in SCENES]
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
