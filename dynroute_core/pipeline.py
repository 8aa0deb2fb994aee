"""`run(experiment)` → Record: the only place where data, model, training and evaluation meet.

A run lives in `OUT/ROW/PROFILE-DATA-seedK-KEY/`. Its key is a hash of the settings, the data's fingerprints and the
sources, so a finished record is reused only where it would come out again, and nothing is ever overwritten by another
setting's run. An interrupted run goes on from its checkpoint: the same command finishes it, with the record it would
have had.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import torch

from dynroute_core.checkpoint import Snapshot, load_snapshot, save_snapshot
from dynroute_core.common import OPEN_PATHS, common_network, start_weights
from dynroute_core.curve import Meter, late_mean, tensorboard
from dynroute_core.data.loader import eval_samples, train_batches
from dynroute_core.data.transforms import TrainTransform
from dynroute_core.engine import InferenceEngine
from dynroute_core.evaluate import Evaluation, Predictor, evaluate, predictor
from dynroute_core.experiments import Experiment
from dynroute_core.model import Segmenter
from dynroute_core.nonfinite import NonFiniteLossError
from dynroute_core.outcome import make_record, make_routes, write_examples
from dynroute_core.plan import (
    Opened,
    Plan,
    find_data,
    ingredients,
    open_data,
    plan,
    plan_opened,
    require_route,
    settled,
)
from dynroute_core.record import (
    CHECKPOINT,
    CURVE,
    PLAN,
    RECORD,
    ROUTES,
    CurvePoint,
    Durations,
    Record,
    TrainingFacts,
    read_curve,
    read_record,
    to_json,
    write_curve,
    write_record,
)
from dynroute_core.runtime import (
    BlockedError,
    keep_freed_memory,
    pick_device,
    remove_stale,
    source_facts,
    write_whole,
)
from dynroute_core.signals import Signals, locked
from dynroute_core.train import Trainer, precise_batch_norm
from dynroute_core.weights import Weights, give_weights

CHECKPOINT_SECONDS = 60.0
WRITTEN = (PLAN, OPEN_PATHS, CHECKPOINT, CURVE, ROUTES, "*.png", RECORD)  # by a run, in a folder that notebooks share


@dataclass(frozen=True)
class Progress:
    """How far a run is. phase: data, paths, train, precise_bn, evaluate; text: what a progress bar shows beside it."""

    phase: str
    done: int
    total: int
    text: str


__all__ = ["Plan", "Progress", "Report", "Run", "find_data", "plan", "run"]

Report = Callable[[Progress], None]


@dataclass(frozen=True)
class Run:
    """A finished run."""

    folder: Path
    record: Record
    reused: bool
    reason: str


def run(
    experiment: Experiment,
    *,
    data_root: Path | None = None,
    out: Path = Path("runs"),
    device: str = "auto",
    force: bool = False,
    report: Report | None = None,
) -> Run:
    """Runs an experiment to its record, or reuses, or resumes. force: start anew even where a record is finished.

    Raises BlockedError (data, weights, disk, or another process at work on the same run), UsageError,
    NonFiniteLossError, and KeyboardInterrupt on SIGINT and SIGTERM, after writing a checkpoint.
    """
    say = report or (lambda progress: None)
    chosen_device = pick_device(device)
    say(Progress("data", 0, 1, f"opening {experiment.data.name}"))
    data = open_data(experiment, data_root)
    experiment = settled(experiment, data, out)
    planned = plan_opened(experiment, data, out, force=force)
    if planned.finished:
        return Run(planned.folder, read_record(planned.folder / RECORD), True, planned.reason)
    planned.folder.mkdir(parents=True, exist_ok=True)
    with locked(planned.folder), Signals() as signals:
        planned = plan_opened(experiment, data, out, force=force)  # again: another process may have finished it since
        if planned.finished:
            return Run(planned.folder, read_record(planned.folder / RECORD), True, planned.reason)
        remove_stale(planned.folder, WRITTEN)
        if force:
            for name in (RECORD, CHECKPOINT, CURVE, OPEN_PATHS):
                (planned.folder / name).unlink(missing_ok=True)
        write_whole(planned.folder / PLAN, json.dumps(ingredients(experiment, data), indent=1).encode())
        if experiment.common is not None:
            images, total = eval_samples(data.train, experiment.data.workers), len(data.train)
            experiment = common_network(
                experiment,
                images,
                data.train_fingerprint,
                planned.folder,
                chosen_device,
                each=lambda done: say(Progress("paths", done, total, "counting open paths")),
            )
            require_route(experiment)
        record = _Attempt(experiment, data, planned, chosen_device, say, signals).finish()
    return Run(planned.folder, record, False, planned.reason)


class _Attempt:
    """One attempt at a run: from the last checkpoint, if any, to the record."""

    def __init__(
        self, experiment: Experiment, data: Opened, planned: Plan, device: torch.device, say: Report, signals: Signals
    ) -> None:
        self.experiment, self.data, self.folder, self.key = experiment, data, planned.folder, planned.key
        self.device, self.say, self.signals = device, say, signals
        self.source = source_facts()  # of the code that is running, whatever happens to the files meanwhile
        keep_freed_memory()
        torch.use_deterministic_algorithms(experiment.train.deterministic, warn_only=True)
        torch.manual_seed(experiment.seed)
        self.model = Segmenter(experiment.model).to(device)
        if experiment.train.channels_last:
            self.model = self.model.to(memory_format=torch.channels_last)
        self.trainer = Trainer(self.model, experiment.train)
        self.meter = Meter(experiment.model.classes, experiment.train.iterations, device)
        self.points: list[CurvePoint] = []
        self.started = datetime.now(UTC).isoformat(timespec="seconds")
        self.durations = Durations(train_s=0.0, precise_bn_s=0.0, evaluate_s=0.0)
        self.resumed_at: list[int] = []
        self.saved_at: int | None = None
        self.trained = False
        if (self.folder / CHECKPOINT).exists():
            self._restore(load_snapshot(self.folder / CHECKPOINT))
        elif experiment.weights is not None:
            self._take(experiment.weights)
        elif experiment.common is not None and experiment.common.fine_tune:
            start_weights(self.model, experiment, self.folder.parent.parent)

    def finish(self) -> Record:
        if not self.trained:
            self._train()
            self._precise_batch_norm()
            self.trained = True
            self._save()
        begin = time.perf_counter()
        engine = InferenceEngine(self.model, backend=self.experiment.evaluate.backend)
        predict = predictor(engine, self.experiment.evaluate)
        evaluation = self._evaluate(predict)
        routes = make_routes(self.experiment.row, self.key, self.model.space, evaluation)
        write_whole(self.folder / ROUTES, to_json(routes))
        write_curve(self.folder / CURVE, self.points)
        self._add_seconds("evaluate_s", time.perf_counter() - begin)
        record = make_record(
            self.experiment,
            key=self.key,
            started=self.started,
            source=self.source,
            evaluation=evaluation,
            class_names=self.data.val.classes.names,
            fingerprints=(self.data.train_fingerprint, self.data.val_fingerprint),
            train_images=len(self.data.train),
            device=self.device,
            backend=engine.describe(),
            durations=self.durations,
            training=self._training_facts(),
        )
        write_examples(self.folder, record, predict, self.data.val, self.experiment.evaluate, self.device)
        write_record(self.folder / RECORD, record)
        return record

    def _take(self, weights: Weights) -> None:
        """Begins with weights from a file. To evaluate, that is all: what is saved is the same in our own format."""
        self.say(Progress("data", 1, 1, give_weights(self.model, Path(weights.file), use=weights.use)))
        if weights.use == "evaluate":
            self.trained = True
            self._save()

    def _batches(self, start: int, stop: int) -> Iterator[object]:
        train, data = self.experiment.train, self.experiment.data
        transform = TrainTransform(
            scales=train.scales, max_size=train.max_size, crop=(train.crop_height, train.crop_width)
        )
        return train_batches(
            self.data.train,
            transform,
            batch=train.batch,
            seed=self.experiment.seed,
            start=start,
            stop=stop,
            workers=data.workers,
            cache=None if data.cache else False,
            pin_memory=self.device.type == "cuda",
        )

    def _train(self) -> None:
        total = self.experiment.train.iterations
        begin, before = time.perf_counter(), self.durations.train_s
        saved = begin
        self.signals.hold()
        with self._named_checkpoint(), tensorboard(self.folder / "events", self.trainer.iteration) as log:
            for state in self.trainer.steps(self._batches(self.trainer.iteration, total)):  # type: ignore[arg-type]
                now = time.perf_counter()
                self._add_seconds("train_s", before + now - begin - self.durations.train_s)
                done = state.iteration + 1
                if state.skipped:
                    self.say(Progress("train", done, total, f"not finite, left out: {', '.join(state.skipped)}"))
                if (point := self.meter.add(state, self.durations.train_s)) is not None:
                    self.points.append(point)
                    self.say(Progress("train", done, total, _curve_text(point)))
                    log(point)
                due = done % self.experiment.train.checkpoint_every == 0 or done == total
                if due or self.signals.pending or now - saved > CHECKPOINT_SECONDS:
                    self._save()
                    saved = time.perf_counter()
                self.signals.raise_pending()
        self.signals.release()

    @contextmanager
    def _named_checkpoint(self) -> Iterator[None]:
        """Names the last good checkpoint where the loss is not finite."""
        try:
            yield
        except NonFiniteLossError as error:
            path = self.folder / CHECKPOINT
            good = "There is no checkpoint yet."
            if self.saved_at is not None:
                good = f"The last good checkpoint, of iteration {self.saved_at}, is {path}."
            raise NonFiniteLossError(f"{error} {good}") from error

    def _precise_batch_norm(self) -> None:
        count, first = self.experiment.train.precise_bn_batches, self.experiment.train.iterations
        begin = time.perf_counter()
        precise_batch_norm(
            self.model,
            self._batches(first, first + count),  # type: ignore[arg-type]
            count,
            each=lambda done: self.say(Progress("precise_bn", done, count, "batch norm statistics")),
        )
        self._add_seconds("precise_bn_s", time.perf_counter() - begin)

    def _evaluate(self, predict: Predictor) -> Evaluation:
        done = 0

        def each(_: object) -> None:
            nonlocal done
            done += 1
            self.say(Progress("evaluate", done, len(self.data.val), "evaluating"))

        samples = eval_samples(self.data.val, self.experiment.data.workers)
        classes = self.experiment.model.classes
        config = self.experiment.evaluate
        return evaluate(predict, samples, config, classes=classes, device=self.device, each=each)

    def _training_facts(self) -> TrainingFacts:
        iterations = self.trainer.iteration
        return TrainingFacts(
            iterations=iterations,
            final_loss=late_mean(self.points, "loss", iterations),
            final_expected_macs=late_mean(self.points, "expected_macs", iterations),
            resumed_at=tuple(self.resumed_at),
            parameters=sum(parameter.numel() for parameter in self.model.parameters()),
            skipped=self.trainer.watch.skipped,
        )

    def _add_seconds(self, name: str, seconds: float) -> None:
        self.durations = Durations(**(asdict(self.durations) | {name: getattr(self.durations, name) + seconds}))

    def _save(self) -> None:
        self.trainer.require_finite()
        snapshot = self.trainer.snapshot()
        facts = snapshot.facts | {
            "key": self.key,
            "trained": self.trained,
            "started": self.started,
            "durations": asdict(self.durations),
            "resumed_at": self.resumed_at,
        }
        write_curve(self.folder / CURVE, self.points)  # first: a checkpoint must never be ahead of its curve
        save_snapshot(self.folder / CHECKPOINT, Snapshot(snapshot.tensors | self.meter.tensors(), facts))
        self.saved_at = self.trainer.iteration

    def _restore(self, snapshot: Snapshot) -> None:
        path, facts = self.folder / CHECKPOINT, snapshot.facts
        if facts.get("key") != self.key:
            raise BlockedError(f"{path} belongs to another run. Move it away, or use --force to start anew.")
        self.trainer.restore(snapshot)
        self.saved_at = self.trainer.iteration
        try:
            self.meter.restore(snapshot.tensors)
            self.trained = bool(facts["trained"])
            self.started = str(facts["started"])
            self.durations = msgspec.convert(facts["durations"], Durations)
            self.resumed_at = msgspec.convert(facts["resumed_at"], list[int])
        except (KeyError, RuntimeError, msgspec.ValidationError) as error:
            raise BlockedError(f"{path} is incomplete ({error}). Delete it to start the run anew.") from error
        curve = read_curve(self.folder / CURVE)
        self.points = [point for point in curve if point.iteration < self.trainer.iteration]
        if not self.trained:
            self.resumed_at.append(self.trainer.iteration)


def _curve_text(point: CurvePoint) -> str:
    return (
        f"loss {point.loss:.3f}  lr {point.lr:.4f}  mIoU {point.train_miou_percent:.1f}  "
        f"expected {point.expected_macs / 1e9:.3g} GFLOPs"
    )
