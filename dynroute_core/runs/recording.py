"""From an evaluation to what is kept of it: the record, the routes, three example images."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import get_args

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from dynroute_core.cell import CLOSED, DEAD, OPEN
from dynroute_core.cost import Accounting, CostTable, cost_table
from dynroute_core.data.dataset import SegmentationDataset
from dynroute_core.data.labels import ClassSet, palette
from dynroute_core.evaluate import EvaluateConfig, Evaluation, ImageResult, Predictor, predict_image
from dynroute_core.experiments import Experiment
from dynroute_core.metrics import class_iou, frequency_weighted_iou, mean_accuracy, mean_iou, pixel_accuracy
from dynroute_core.runs.record import (
    CHECKPOINT,
    EXAMPLES,
    SCHEMA,
    WEIGHTS,
    CostRange,
    Costs,
    DataFacts,
    Durations,
    ImageFacts,
    ImageRoute,
    MachineFacts,
    Metrics,
    Record,
    Routes,
    TrainingFacts,
    example_names,
)
from dynroute_core.space import RoutingSpace, path_name
from dynroute_core.system.files import write_whole
from dynroute_core.system.machine import device_name, versions
from dynroute_core.system.provenance import SourceFacts

STATE_LETTERS = {OPEN: "o", CLOSED: "c", DEAD: "d"}


def make_metrics(evaluation: Evaluation, class_names: tuple[str, ...]) -> Metrics:
    confusion = evaluation.confusion
    per_class = [None if np.isnan(iou) else 100 * float(iou) for iou in class_iou(confusion)]
    return Metrics(
        miou_percent=100 * mean_iou(confusion),
        frequency_weighted_iou_percent=100 * frequency_weighted_iou(confusion),
        mean_accuracy_percent=100 * mean_accuracy(confusion),
        pixel_accuracy_percent=100 * pixel_accuracy(confusion),
        class_iou_percent=dict(zip(class_names, per_class, strict=True)),
    )


def make_costs(experiment: Experiment, images: tuple[ImageResult, ...]) -> Costs:
    """Ranges over the images, with the network's bounds: sums over the views where evaluation shows several."""
    config, macs = experiment.evaluate, [image.route.macs for image in images]
    sizes = [config.nominal_size(view) for view in config.views]
    paper, repo = (
        [cost_table(experiment.model, height=h, width=w, accounting=accounting) for h, w in sizes]
        for accounting in get_args(Accounting)
    )

    def spread(values: list[float], least: int, most: int) -> CostRange:
        mean = sum(values) / len(values)
        return CostRange(
            mean_macs=mean, min_macs=min(values), max_macs=max(values), all_closed_macs=least, all_open_macs=most
        )

    def bounded(values: list[float], tables: list[CostTable]) -> CostRange:
        return spread(values, sum(table.all_closed for table in tables), sum(table.all_open for table in tables))

    return Costs(
        nominal_height=config.nominal_height,
        nominal_width=config.nominal_width,
        paper=bounded([one.paper for one in macs], paper),
        repo=bounded([one.repo for one in macs], repo),
        expected=spread([one.expected for one in macs], 0, sum(table.all_open_expected for table in paper)),
    )


def make_record(
    experiment: Experiment,
    *,
    key: str,
    started: str,
    source: SourceFacts,
    evaluation: Evaluation,
    class_names: tuple[str, ...],
    fingerprints: tuple[str, str],
    train_images: int,
    device: torch.device,
    backend: str,
    processes: tuple[int, ...],
    durations: Durations,
    training: TrainingFacts,
) -> Record:
    """Everything that a finished run leaves to say, in one place."""
    return Record(
        schema=SCHEMA,
        row=experiment.row,
        profile=experiment.profile,
        seed=experiment.seed,
        key=key,
        started=started,
        config=recorded_config(experiment),
        data=DataFacts(
            name=experiment.data.name,
            train_fingerprint=fingerprints[0],
            val_fingerprint=fingerprints[1],
            train_images=train_images,
            val_images=len(evaluation.images),
            class_names=class_names,
        ),
        source=source,
        machine=MachineFacts(
            device=str(device),
            device_name=device_name(device),
            threads=torch.get_num_threads(),
            backend=backend,
            versions=versions(),
            processes=processes,
        ),
        durations=durations,
        training=training,
        metrics=make_metrics(evaluation, class_names),
        costs=make_costs(experiment, evaluation.images),
        images=tuple(_image_facts(image) for image in evaluation.images),
    )


def recorded_config(experiment: Experiment) -> dict[str, object]:
    """The settings as a record holds them: of given weights the file's name, not where it lay on this machine."""
    if experiment.weights is not None:
        path = Path(experiment.weights.file)
        of_a_run = path.name in (CHECKPOINT, WEIGHTS)  # names that tell nothing without the run's
        name = f"{path.parent.name}/{path.name}" if of_a_run else path.name
        named = replace(experiment.weights, file=name)
        experiment = replace(experiment, weights=named)
    plain: dict[str, object] = msgspec.json.decode(msgspec.json.encode(experiment))
    return plain


def _image_facts(image: ImageResult) -> ImageFacts:
    return ImageFacts(
        name=image.name,
        **{f"{name}_macs": value for name, value in image.route.macs._asdict().items()},
        miou_percent=100 * mean_iou(image.confusion),
        pixel_accuracy_percent=100 * pixel_accuracy(image.confusion),
    )


def make_routes(row: str, key: str, space: RoutingSpace, images: Iterable[ImageResult]) -> Routes:
    """Every image's route, with the pixel counts from which mIoU can be resampled over images."""

    def one(image: ImageResult) -> ImageRoute:
        hits = np.diag(image.confusion)
        return ImageRoute(
            name=image.name,
            states="".join(STATE_LETTERS[int(state)] for state in image.route.states),
            factors=tuple(round(float(factor), 6) for factor in image.route.factors),
            true_positive=tuple(hits.tolist()),
            false_positive=tuple((image.confusion.sum(0) - hits).tolist()),
            false_negative=tuple((image.confusion.sum(1) - hits).tolist()),
        )

    return Routes(
        schema=SCHEMA,
        row=row,
        key=key,
        layers=space.layers,
        channels=space.channels,
        cells=tuple(str(cell) for cell in space.cells),
        paths=tuple(path_name(path) for path in space.all_paths),
        images=tuple(map(one, images)),
    )


@torch.inference_mode()
def write_examples(
    folder: Path,
    record: Record,
    predict: Predictor,
    dataset: SegmentationDataset,
    config: EvaluateConfig,
    device: torch.device,
) -> None:
    """image.png (RGB), truth.png, prediction.png (train ids in the classes' colours, 255 ignored) of the cheapest,
    median and dearest image."""
    places = {item.name: index for index, item in enumerate(dataset.items)}
    for role, name in example_names(record).items():
        sample = dataset[places[name]]
        predicted = predict_image(predict, sample, config, device).labels.to(torch.uint8).cpu().numpy()
        rgb = np.ascontiguousarray(sample.image[..., ::-1])
        masks = {"truth": sample.label, "prediction": predicted}
        pictures = {kind: label_picture(train_ids, dataset.classes) for kind, train_ids in masks.items()}
        for kind, picture in ({"image": Image.fromarray(rgb)} | pictures).items():
            write_whole(folder / EXAMPLES / role / f"{kind}.png", _png(picture))


def label_picture(train_ids: NDArray[np.uint8], classes: ClassSet) -> Image.Image:
    """H×W train ids as a palette picture: its values are the train ids, viewers show the classes' colours."""
    picture = Image.fromarray(train_ids)
    picture.putpalette(palette(classes).tobytes())
    return picture


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG")
    return buffer.getvalue()
