"""The explorer's pictures: what may be shown of an image, and the files that show it.

A run keeps pictures of three images. Runs on the same data share photograph and truth; a prediction is a run's own.
Only generated streets may be shown: other data sets' pictures have terms of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

from dynroute_core.data.datasets import find_dataset, is_generated
from dynroute_core.runs.record import EXAMPLES, example_names
from dynroute_core.system.files import make_folder
from dynroute_suite.figures.examples import mask_png, photo_jpeg, read_scene
from dynroute_suite.report.routed_runs import RoutedRun

PICTURES = "_assets/explorer/pictures"  # of the book's source: beside the explorer's scripts
PHOTO, TRUTH, PREDICTION = "photo.jpg", "truth.png", "prediction.png"


@dataclass(frozen=True)
class Sight:
    """An image's pictures, as addresses below PICTURES. prediction: empty where the run kept none of this image."""

    photo: str
    truth: str
    prediction: str


def sights_of(run: RoutedRun, runs: Sequence[RoutedRun]) -> dict[str, Sight]:
    """By name, the images of `run` of which any of `runs` kept pictures."""
    data = _data(run)
    kept = {name: place for one in reversed(runs) if _data(one) == data for name, place in _places(one).items()}
    own = _places(run)
    return {
        image.name: Sight(
            photo=f"{kept[image.name]}/{PHOTO}",
            truth=f"{kept[image.name]}/{TRUTH}",
            prediction=f"{own[image.name]}/{PREDICTION}" if image.name in own else "",
        )
        for image in run.record.images
        if image.name in kept
    }


def write_pictures(folder: Path, runs: Sequence[RoutedRun]) -> None:
    """Writes every picture that a sight names. Raises BlockedError naming one that a run lacks or that is damaged."""
    wanted = {address for run in runs for one in sights_of(run, runs).values() for address in astuple(one)}
    for run in runs:
        for place in _places(run).values():
            classes = find_dataset(run.record.data.name).classes
            scene = read_scene(run.folder / EXAMPLES / Path(place).name, classes)
            assert scene.truth is not None
            pictures = {
                PHOTO: photo_jpeg(scene.photo),
                TRUTH: mask_png(scene.truth, classes),
                PREDICTION: mask_png(scene.prediction, classes),
            }
            make_folder(folder / place)
            for name, content in pictures.items():
                if f"{place}/{name}" in wanted:
                    (folder / place / name).write_bytes(content)


def _places(run: RoutedRun) -> dict[str, str]:
    """Image name → the folder of its pictures, of those that the run kept and that may be shown."""
    if not is_generated(run.record.data.name) or not (run.folder / EXAMPLES).is_dir():
        return {}
    return {name: f"{run.identity}/{role}" for role, name in example_names(run.record).items()}


def _data(run: RoutedRun) -> tuple[str, str]:
    return run.record.data.name, run.record.data.val_fingerprint
