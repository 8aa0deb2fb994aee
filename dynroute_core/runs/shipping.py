"""Makes a finished run's weights ship: half precision, beside its committed record, with the mIoU that they have then.

Takes a run's folder, where its checkpoint is; writes `weights.safetensors` and, last, `weights.json`.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from safetensors.torch import load, save
from torch import Tensor

from dynroute_core.data.datasets import find_dataset, is_generated, open_dataset
from dynroute_core.data.loader import eval_samples
from dynroute_core.engine.inference import InferenceEngine
from dynroute_core.evaluate import evaluate, predictor
from dynroute_core.metrics import mean_iou
from dynroute_core.runs.finished import FinishedRun, TrainedSegmenter
from dynroute_core.runs.plan import find_data
from dynroute_core.runs.record import RECORD, WEIGHTS, Record, read_record
from dynroute_core.runs.shipped import FACTS, LICENCE, RESULTS, SHIPPED_SCHEMA, ShippedFacts, ShippedRun, write_facts
from dynroute_core.system.errors import BlockedError, UsageError
from dynroute_core.system.files import visible, write_whole
from dynroute_core.system.machine import is_terminal
from dynroute_core.weights.files import PLAIN_FORMAT, file_hash


def ship(folder: Path, results: Path = RESULTS, *, data_root: Path | None = None) -> ShippedRun:
    """Writes the weights of the finished run in `folder` beside its record in `results`, and evaluates them as stored.

    Raises UsageError for a run whose weights may not ship or that trained nothing; BlockedError where its record is not
    in `results`, its row ships other weights already, a value does not fit half precision, or the data to evaluate on
    are not those of the record.
    """
    run = FinishedRun.open(folder)
    _require_ours(run.record)
    place = committed_folder(run.record, results)
    content = save(half(run.model()), metadata=_metadata(run.record, place))
    facts = ShippedFacts(
        schema=SHIPPED_SCHEMA,
        row=run.record.row,
        key=run.record.key,
        record_sha256=file_hash(place / RECORD),
        sha256=hashlib.sha256(content).hexdigest(),
        size_bytes=len(content),
        licence=LICENCE,
        miou_percent=run.record.metrics.miou_percent,
        stored_miou_percent=_miou_percent(run, load(content), data_root),
    )
    (place / FACTS).unlink(missing_ok=True)  # of an earlier file: facts and weights change together, or none ships
    write_whole(place / WEIGHTS, content)
    write_facts(place, facts)
    return ShippedRun.open(place)


def _require_ours(record: Record) -> None:
    """Raises UsageError for a run whose weights are not ours to give."""
    if not is_generated(record.data.name):
        raise UsageError(
            f"{record.label}: weights trained on {find_dataset(record.data.name).title} do not ship: its licence does "
            "not say that they may. Ship those of a run on generated data."
        )
    if record.training.iterations == 0:
        raise UsageError(f"{record.label} trained nothing: ship the run whose weights it was given.")


def committed_folder(record: Record, results: Path) -> Path:
    """Where the same run's record lies in `results`. Raises BlockedError where it does not, and where weights of
    another run of its row ship."""
    row = results / record.row
    same = [path for path in visible(row, f"*/{RECORD}") if read_record(path).key == record.key]
    if not same:
        raise BlockedError(
            f"{row} has no record of the run {record.key[:8]}. Copy its record.json, routes.json and curve.csv to "
            f"{row / f'{record.profile}-{record.data.name}-seed{record.seed}'} first."
        )
    place = same[0].parent
    if others := [path.parent for path in visible(row, f"*/{FACTS}") if path.parent != place]:
        raise BlockedError(f"{others[0]} ships weights of {record.row} already. Remove {WEIGHTS} and {FACTS} there.")
    return place


def half(model: torch.nn.Module) -> dict[str, Tensor]:
    """A network's tensors in float16, batch norm's counters, which only training reads, left out.

    Raises BlockedError for a value that is not finite there.
    """
    state = {name: tensor for name, tensor in model.state_dict().items() if tensor.is_floating_point()}
    stored = {name: tensor.detach().cpu().half().contiguous() for name, tensor in state.items()}
    for name, tensor in stored.items():
        if not tensor.isfinite().all():
            raise BlockedError(
                f"{name} has values up to {float(state[name].abs().max()):g}, which half precision cannot hold (65504 "
                "at most): these weights cannot ship."
            )
    return stored


def _metadata(record: Record, place: Path) -> dict[str, str]:
    return {
        "format": PLAIN_FORMAT,
        "row": record.row,
        "key": record.key,
        "record_sha256": file_hash(place / RECORD),
        "licence": LICENCE,
    }


def _miou_percent(run: FinishedRun, stored: dict[str, Tensor], data_root: Path | None) -> float:
    """What the stored tensors reach on the images of the run's record. Raises BlockedError where those are others."""
    chosen, record = run.experiment, run.record
    root = find_data(chosen.data, data_root, progress=is_terminal())
    val = open_dataset(chosen.data.name, root, "val").subset(chosen.data.val_images or None)
    if val.fingerprint() != record.data.val_fingerprint:
        raise BlockedError(f"{root} does not hold the images that {record.label} was evaluated on. Give these.")
    model = TrainedSegmenter(chosen)
    model.load_state_dict(stored, strict=False)
    engine = InferenceEngine(model.eval(), backend=chosen.evaluate.backend)
    evaluation = evaluate(
        predictor(engine, chosen.evaluate),
        eval_samples(val, chosen.data.workers),
        chosen.evaluate,
        classes=chosen.model.classes,
        device=torch.device("cpu"),
    )
    return 100 * mean_iou(evaluation.confusion)
