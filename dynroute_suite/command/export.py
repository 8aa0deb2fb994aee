"""A finished run's predictions in the format of the Cityscapes test server: label-id PNGs by their frame, and a zip.

Takes a run's plan and its checkpoint; gives a folder `ROW-PROFILE-DATA-seedK-KEY-SPLIT/` that holds `labelIds/`,
`labelIds.zip` and `export.json`. It appears whole or not at all. Trains and measures nothing.

The server looks for one 8-bit PNG per image whose name begins with `<city>_<sequence>_<frame>`, of the image's size,
with label ids (not train ids); it ignores folders.
"""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path

import msgspec
import torch
from PIL import Image
from tqdm import tqdm

from dynroute_core.data.dataset import SegmentationDataset
from dynroute_core.data.datasets import find_dataset, open_dataset
from dynroute_core.data.labels import CITYSCAPES, train_id_to_label_id
from dynroute_core.data.loader import eval_samples
from dynroute_core.evaluate import predict_image, predictor
from dynroute_core.experiments import Experiment
from dynroute_core.model import Segmenter
from dynroute_core.runs.finished import FinishedRun
from dynroute_core.runs.plan import RunPlan, find_data
from dynroute_core.system.errors import BlockedError, UsageError
from dynroute_core.system.files import sync_folder
from dynroute_core.system.locks import locked
from dynroute_core.system.machine import is_terminal
from dynroute_suite.command.options import expanded

SPLITS = ("val", "test")
IMAGES, ARCHIVE, FACTS = "labelIds", "labelIds.zip", "export.json"


@dataclass(frozen=True)
class Target:
    """Where the predictions of which split go."""

    folder: Path
    split: str


def parse_target(text: str, data: str) -> Target:
    """The target of `--export [val=|test=]FOLDER`, checked before any work. Raises UsageError."""
    source = find_dataset(data)
    if source.classes is not CITYSCAPES:
        raise UsageError(f"--export writes the Cityscapes test server's label ids: {source.title} has other classes.")
    split, equals, folder = text.partition("=")
    if not equals:
        split, folder = "val", text
    if split not in SPLITS:
        raise UsageError(f"--export {text}: the split is one of {', '.join(SPLITS)}, as in --export test=FOLDER.")
    if split not in source.splits:
        raise UsageError(f"{source.title}: there is no {split} split. Give --export val=FOLDER, or another --data.")
    if not folder:
        raise UsageError(f"--export {text} names no folder. Give --export {split}=FOLDER.")
    return Target(expanded(folder).resolve(), split)


def export(
    plan: RunPlan,
    target: Target,
    *,
    data_root: Path | None,
    device: torch.device,
    force: bool = False,
) -> Path:
    """Writes the predictions and gives their folder. One that is there is the same export and stays, unless `force`.

    Raises BlockedError (data, weights, disk, or another process at work on the run).
    """
    name = f"{plan.folder.parent.name}-{plan.folder.name}-{target.split}"
    done, begun, old = target.folder / name, target.folder / f".{name}.tmp", target.folder / f".{name}.old"
    if done.exists() and not force:
        return done
    run = FinishedRun.open(plan.folder, plan.key)
    experiment = run.experiment
    with locked(plan.folder):
        model = run.model().to(device)
        dataset = open_dataset(experiment.data.name, find_data(experiment.data, data_root), target.split)
        try:
            for left in (begun, old):  # by an export that was killed
                shutil.rmtree(left, ignore_errors=True)
            (begun / IMAGES).mkdir(parents=True)
            _write_images(begun / IMAGES, model, dataset, experiment, device)
            _archive(begun / IMAGES, begun / ARCHIVE)
            facts = _facts(experiment, plan, target.split, len(dataset))
            (begun / FACTS).write_text(json.dumps(facts, indent=1) + "\n")
            _replace(done, begun, old)
        except OSError as error:
            raise BlockedError(
                f"cannot write {done}: {error.strerror or error}. Free some space or choose another --export folder, "
                "then run the same command again."
            ) from error
        finally:
            if old.exists() and not done.exists():
                os.rename(old, done)
            for left in (begun, old):
                shutil.rmtree(left, ignore_errors=True)
    return done


def _replace(done: Path, begun: Path, old: Path) -> None:
    """Puts what was begun in the place of what was done, once it is on the disk."""
    _settle(begun)
    if done.exists():
        os.rename(done, old)  # a removal that is killed half-way would leave half an export by its name
    os.rename(begun, done)
    sync_folder(done.parent)


def _settle(folder: Path) -> None:
    """Waits until everything in a folder is on the disk: its renaming must not get there first."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
    for inner in (folder / IMAGES, folder):
        sync_folder(inner)


def _write_images(
    folder: Path, model: Segmenter, dataset: SegmentationDataset, experiment: Experiment, device: torch.device
) -> None:
    samples, predict = eval_samples(dataset, experiment.data.workers), predictor(model, experiment.evaluate)
    for sample in tqdm(samples, total=len(dataset), desc=f"export {experiment.row}", disable=not is_terminal()):
        labels = predict_image(predict, sample, experiment.evaluate, device).labels.cpu().numpy()
        Image.fromarray(train_id_to_label_id[labels]).save(folder / file_name(sample.name))


def _facts(experiment: Experiment, plan: RunPlan, split: str, images: int) -> dict[str, object]:
    """What tells one export from another, for whoever finds the folder."""
    return {
        "row": experiment.row,
        "profile": experiment.profile,
        "data": experiment.data.name,
        "seed": experiment.seed,
        "key": plan.key,
        "split": split,
        "images": images,
        "evaluate": msgspec.to_builtins(experiment.evaluate),
    }


def file_name(frame: str) -> str:
    """The server's name for a frame: `lindau/lindau_000000_000019` → `lindau_000000_000019_labelIds.png`."""
    return f"{frame.rsplit('/', 1)[-1]}_labelIds.png"


def _archive(images: Path, path: Path) -> None:
    """The same bytes for the same images: no times, sorted names; PNGs are compressed already."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as file:
        for image in sorted(images.iterdir()):
            file.writestr(zipfile.ZipInfo(image.name), image.read_bytes())
