"""Before a run: its data opened and fingerprinted, its key, its folder, and whether a finished record will do.

Takes an `Experiment` and folders; trains nothing. Generated data are generated here where they are missing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import numpy as np
import torch
from torch import Tensor

from dynroute_core.checkpoint import Weights
from dynroute_core.data.dataset import SegmentationDataset
from dynroute_core.data.datasets import find_dataset, open_dataset
from dynroute_core.data.loader import Batch, train_batches
from dynroute_core.data.plausible import require_labels
from dynroute_core.data.transforms import TrainTransform
from dynroute_core.distributed import ALONE, Team
from dynroute_core.experiments import DataConfig, Experiment
from dynroute_core.optimizer import class_weights
from dynroute_core.runs.common_networks import find_source, source_of
from dynroute_core.runs.finished import FinishedRun
from dynroute_core.runs.folders import run_folder
from dynroute_core.runs.record import CHECKPOINT, PLAN, RECORD, read_record
from dynroute_core.space import RoutingSpace
from dynroute_core.system.errors import BlockedError, UsageError
from dynroute_core.system.files import read_regular, visible
from dynroute_core.system.machine import is_terminal
from dynroute_core.system.provenance import source_hash
from dynroute_core.system.strict_json import decode_json
from dynroute_core.weights.files import hashed

RESULT_NEUTRAL = ("workers", "cache", "checkpoint_every")  # settings that cannot change a number

LONGEST_VALUE = 60  # of a setting whose change is shown with both values


@dataclass(frozen=True)
class RunPlan:
    """What `run` would do. reason: why it runs, or that a finished record has the same key."""

    folder: Path
    key: str
    finished: bool
    reason: str


@dataclass(frozen=True)
class RunData:
    """The data of a run, with fingerprints."""

    train: SegmentationDataset
    val: SegmentationDataset
    train_fingerprint: str
    val_fingerprint: str


def find_data(config: DataConfig, given: Path | None, *, progress: bool = False) -> Path:
    """The data set's folder: the given one, or of generated data one under `data/`, made where it is missing. A given
    folder that is empty is filled with generated data, and one that is being filled to its end.

    Raises BlockedError for a data set that needs a folder and has none, and where generated data cannot be written.
    """
    source = find_dataset(config.name)
    if given is not None:
        given = given.expanduser().resolve()
        if source.generate is None or not given.is_dir() or not _to_be_filled(given, source.unfinished):
            return given
    if source.generate is None:
        raise BlockedError(
            f"--data {config.name} needs a folder. {source.how_to_get} Then give --data {config.name}=FOLDER."
        )
    train, val = config.train_images, config.val_images
    if train < 1 or val < 1:
        raise UsageError(f"{source.title}: set data.train_images and data.val_images to at least 1.")
    name = f"{config.name}-{config.height}x{config.width}-{train}+{val}-seed{config.generator_seed}"
    if config.scenes != "ordinary":
        name += f"-{config.scenes}"
    folder = given or Path("data") / name
    try:
        return source.generate(
            folder,
            train=train,
            val=val,
            height=config.height,
            width=config.width,
            seed=config.generator_seed,
            scenes=config.scenes,
            progress=progress,
        ).resolve()
    except (OSError, BlockedError) as error:
        why = f"cannot make {source.title} in {folder}: {error}".rstrip(".")
        raise BlockedError(
            f"{why}. They can lie elsewhere: make an empty folder where files can be written, and give it as "
            f"--data {config.name}=FOLDER."
        ) from error


def _to_be_filled(folder: Path, unfinished: str) -> bool:
    return (folder / unfinished).is_file() or not visible(folder, "*")


def open_data(experiment: Experiment, data_root: Path | None, team: Team = ALONE) -> RunData:
    """Opens both splits, and fingerprints them (of a team, the leader does); where given weights are evaluated, the
    train split stays empty and need not be there.

    Raises BlockedError where they are missing or hold no labels, UsageError where they do not fit the model.
    """
    if experiment.train.needs_weights and experiment.weights is None:
        raise BlockedError(
            f"{experiment.row} at the full profile starts from ImageNet weights, which were never released. Give a "
            "backbone with --init FILE (`python -m dynroute_suite.pretraining` makes one), evaluate a released "
            "checkpoint with --weights FILE, or train from scratch with --set train.needs_weights=false."
        )
    config = experiment.data
    root = find_data(config, data_root, progress=is_terminal())
    val = open_dataset(config.name, root, "val").subset(config.val_images or None)
    require_labels(val)
    if len(val.classes.names) != experiment.model.classes:
        raise UsageError(
            f"{config.name} has {len(val.classes.names)} classes, the model {experiment.model.classes}: "
            f"set model.classes={len(val.classes.names)}."
        )
    if experiment.weights is not None and experiment.weights.use == "evaluate" and experiment.common is None:
        nothing = replace(val, split="train", items=())
        return RunData(nothing, val, "", team.share_hash(val.fingerprint))
    train = open_dataset(config.name, root, "train").subset(config.train_images or None)
    require_labels(train)
    return RunData(train, val, team.share_hash(train.fingerprint), team.share_hash(val.fingerprint))


def batches_of(
    experiment: Experiment, data: RunData, start: int, stop: int, *, places: Sequence[int], pin_memory: bool
) -> Iterator[Batch]:
    """Training batches `start` to `stop` - 1 of an experiment, of each the samples in these places."""
    train = experiment.train
    transform = TrainTransform(scales=train.scales, max_size=train.max_size, crop=(train.crop_height, train.crop_width))
    return train_batches(
        data.train,
        transform,
        batch=train.batch,
        seed=experiment.seed,
        start=start,
        stop=stop,
        workers=experiment.data.workers,
        places=places,
        cache=None if experiment.data.cache else False,
        pin_memory=pin_memory,
    )


def class_weights_of(experiment: Experiment, data: RunData) -> Tensor | None:
    """The loss's weights of the classes, by their pixels in the training split; None where all weigh 1."""
    if not (experiment.train.class_weights and len(data.train)):
        return None
    classes = experiment.model.classes
    pixels = torch.zeros(classes, dtype=torch.int64, device="cpu")
    for index in range(len(data.train)):
        sample = data.train.keep(index) if experiment.data.cache else data.train[index]
        pixels += torch.from_numpy(np.bincount(sample.label.ravel(), minlength=classes)[:classes])
    return class_weights(pixels)


def run_key(experiment: Experiment, data: RunData) -> str:
    """sha256 over settings, data fingerprints and sources: two runs of one key give one record."""
    return hashlib.sha256(json.dumps(ingredients(experiment, data), sort_keys=True).encode()).hexdigest()


def ingredients(experiment: Experiment, data: RunData) -> dict[str, object]:
    config = msgspec.to_builtins(experiment)
    for part in (config["data"], config["train"]):
        for name in RESULT_NEUTRAL:
            part.pop(name, None)
    if experiment.weights is not None:
        config["weights"].pop("file")  # its hash stays
    fingerprints = {"train": data.train_fingerprint, "val": data.val_fingerprint}
    return {"config": config, "data": fingerprints, "source": source_hash()}


def plan(
    experiment: Experiment, *, data_root: Path | None = None, out: Path = Path("runs"), force: bool = False
) -> RunPlan:
    """What `run` would do, and why. Opens (streets: generates) the data; trains nothing.

    Raises as `open_data` and `settled`.
    """
    data = open_data(experiment, data_root)
    return plan_opened(settled(experiment, data, out), data, out, force=force)


def settled(experiment: Experiment, data: RunData, out: Path) -> Experiment:
    """The experiment as its key wants it. Given weights carry their hash; a common network holds the key of the
    finished run that it is taken from, which with the share decides its paths.

    A forced route is evaluated with the weights of the row's own finished run where none were given: nobody expects an
    evaluation to train for days.

    Raises BlockedError where weights or that run are missing, UsageError for a forced route of another network.
    """
    require_route(experiment)
    if experiment.evaluate.route is not None and (experiment.weights is None or experiment.weights.use == "start"):
        return own_weights(experiment, data, out)
    if experiment.weights is not None:
        experiment = replace(experiment, weights=hashed(experiment.weights))
    if experiment.common is None:
        return experiment
    source = source_of(experiment)
    return find_source(experiment, source, run_key(source, data), out)


def own_weights(experiment: Experiment, data: RunData, out: Path) -> Experiment:
    """The experiment of a forced route, settled, with the weights of the finished run that chose its routes itself.

    Raises BlockedError where there is no such run.
    """
    own = settled(replace(experiment, evaluate=replace(experiment.evaluate, route=None)), data, out)
    key = run_key(own, data)
    run = FinishedRun.find(out / run_folder(own, key), key)
    if run is None:
        raise BlockedError(
            f"{own.row} has no finished run with these settings, data and sources to force a route on. Run the same "
            "command without --route first, or give another run's checkpoint with --weights FILE."
        )
    weights = hashed(Weights(file=str(run.folder / CHECKPOINT)))
    return replace(own, weights=weights, evaluate=experiment.evaluate)


def require_route(experiment: Experiment) -> None:
    """Raises UsageError where the network lacks a path of the route it is to be forced on."""
    if (route := experiment.evaluate.route) is not None:
        try:
            RoutingSpace.of(experiment.model).parse_paths(route.paths)
        except ValueError as error:
            raise UsageError(f"evaluate.route: {error}") from error


def plan_opened(experiment: Experiment, data: RunData, out: Path, *, force: bool = False) -> RunPlan:
    """The plan for data that are open already. force: whatever lies in the folder will be made anew."""
    key = run_key(experiment, data)
    folder, stem = out / run_folder(experiment, key), run_folder(experiment, "").name
    if force:
        return RunPlan(folder, key, False, "forced")
    if (folder / RECORD).exists():
        record = read_record(folder / RECORD)
        if record.key == key:
            return RunPlan(folder, key, True, "a finished record has the same settings, data and sources")
        return RunPlan(folder, key, False, "the record in this folder has another key")
    if (folder / CHECKPOINT).exists():
        return RunPlan(folder, key, False, "an interrupted run goes on from its checkpoint")
    others = [
        path
        for path in folder.parent.glob(stem + "*")
        if (path / PLAN).exists() and path != folder and "-" not in path.name.removeprefix(stem)
    ]
    if not others:
        return RunPlan(folder, key, False, "there is no record yet")
    latest = max(others, key=lambda path: (path / PLAN).stat().st_mtime)
    try:
        before = decode_json(read_regular(latest / PLAN))
    except (OSError, ValueError):  # it only says why a run is made anew
        before = {}
    changed = _differences(before, ingredients(experiment, data), "")
    return RunPlan(folder, key, False, f"since {latest.name} changed: {', '.join(changed[:6]) or 'the key'}")


def _differences(before: object, now: object, where: str) -> list[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        names = sorted(set(before) | set(now))
        return [d for n in names for d in _differences(before.get(n), now.get(n), f"{where}.{n}" if where else n)]
    before, now = (list(v) if isinstance(v, tuple) else v for v in (before, now))
    if before == now:
        return []
    name = where.removeprefix("config.")
    too_long = max(len(str(before)), len(str(now))) > LONGEST_VALUE
    return [name if too_long or where.startswith(("data", "source")) else f"{name} {before} → {now}"]
