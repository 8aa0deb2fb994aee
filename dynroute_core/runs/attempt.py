"""One attempt at a run: training from the last checkpoint, if any, evaluation, and what the run leaves.

Takes an experiment, opened data and a planned folder that `pipeline.run` has locked; gives the record.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import torch

from dynroute_core.checkpoint import Snapshot, Weights, load_snapshot, save_snapshot
from dynroute_core.data.loader import eval_samples
from dynroute_core.distributed import Team
from dynroute_core.engine.inference import InferenceEngine
from dynroute_core.engine.training import training_step
from dynroute_core.evaluate import Evaluation, Predictor, collected, evaluate, predictor
from dynroute_core.experiments import Experiment, rate_words
from dynroute_core.model import Segmenter
from dynroute_core.nonfinite import NonFiniteLossError
from dynroute_core.runs.common_networks import start_weights
from dynroute_core.runs.curve import Meter, curve_text, late_mean, tensorboard
from dynroute_core.runs.plan import RunData, RunPlan, batches_of, class_weights_of
from dynroute_core.runs.progress import Report, RunProgress
from dynroute_core.runs.record import (
    CHECKPOINT,
    CURVE,
    RECORD,
    ROUTES,
    CurvePoint,
    Durations,
    Record,
    TrainingFacts,
    read_curve,
    read_record,
    write_curve,
    write_record,
)
from dynroute_core.runs.recording import make_record, make_routes, write_examples
from dynroute_core.system.errors import BlockedError
from dynroute_core.system.files import write_whole
from dynroute_core.system.machine import keep_freed_memory
from dynroute_core.system.provenance import source_facts
from dynroute_core.system.signals import Signals
from dynroute_core.system.strict_json import to_json
from dynroute_core.train import Trainer, precise_batch_norm
from dynroute_core.weights.files import give_weights

CHECKPOINT_SECONDS = 60.0


class Attempt:
    """One attempt at a run: from the last checkpoint, if any, to the record."""

    def __init__(
        self,
        experiment: Experiment,
        data: RunData,
        planned: RunPlan,
        device: torch.device,
        say: Report,
        signals: Signals,
        team: Team,
    ) -> None:
        self.experiment, self.data, self.folder, self.key = experiment, data, planned.folder, planned.key
        self.device, self.say, self.signals, self.team = device, say, signals, team
        self.source = source_facts()  # of the code that is running, whatever happens to the files meanwhile
        keep_freed_memory()
        torch.use_deterministic_algorithms(experiment.train.deterministic, warn_only=True)
        torch.manual_seed(experiment.seed)
        with torch.device("cpu"):  # the same weights wherever it trains, and whatever device is the default
            self.model = Segmenter(experiment.model)
        self.model = self.model.to(device)
        if experiment.train.channels_last:
            self.model = self.model.to(memory_format=torch.channels_last)
        step = training_step(self.model, experiment.train, team)
        self.class_weights = class_weights_of(experiment, data)
        self.trainer = Trainer(self.model, experiment.train, team, step=step, class_weights=self.class_weights)
        self.meter = Meter(experiment.model.classes, experiment.train.iterations, device)
        self.points: list[CurvePoint] = []
        self.started = datetime.now(UTC).isoformat(timespec="seconds")
        self.durations = Durations(train_s=0.0, precise_bn_s=0.0, evaluate_s=0.0)
        self.resumed_at: list[int] = []
        self.processes = [team.size]
        self.saved_at: int | None = None
        self.trained = False
        if (self.folder / CHECKPOINT).exists():
            self._restore(load_snapshot(self.folder / CHECKPOINT))
        elif experiment.weights is not None:
            self._take(experiment.weights)
        elif experiment.common is not None and experiment.common.fine_tune:
            start_weights(self.model, experiment, self.folder.parent.parent)
        team.wait()  # until every process has read the checkpoint: from here on it changes

    def finish(self) -> Record:
        if not self.trained:
            with self._name_rate_and_checkpoint():
                self._train()
                self._precise_batch_norm()
            self.trained = True
            self._save()
        begin = time.perf_counter()
        engine = InferenceEngine(self.model, backend=self.experiment.evaluate.backend)
        predict = predictor(engine, self.experiment.evaluate)
        evaluation = self._evaluate(predict)
        self._add_seconds("evaluate_s", time.perf_counter() - begin)
        if self.team.leads:
            self._write(evaluation, predict, engine.describe())
        self.team.wait()
        return read_record(self.folder / RECORD)

    def _write(self, evaluation: Evaluation, predict: Predictor, backend: str) -> None:
        """What the run leaves, the record last."""
        routes = make_routes(self.experiment.row, self.key, self.model.space, evaluation.images)
        write_whole(self.folder / ROUTES, to_json(routes))
        write_curve(self.folder / CURVE, self.points)
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
            backend=backend,
            processes=tuple(self.processes),
            durations=self.durations,
            training=self._training_facts(),
        )
        write_examples(self.folder, record, predict, self.data.val, self.experiment.evaluate, self.device)
        write_record(self.folder / RECORD, record)

    def _take(self, weights: Weights) -> None:
        """Begins with weights from a file. To evaluate, that is all: what is saved is the same in our own format."""
        taken = give_weights(self.model, Path(weights.file), use=weights.use)
        self.say(RunProgress("data", 1, 1, taken.words))
        if weights.use == "evaluate":
            self.trained = True
            self._save()

    def _batches(self, start: int, stop: int) -> Iterator[object]:
        places = self.team.places(self.experiment.train.batch, self.experiment.train.accumulate)
        pin_memory = self.device.type == "cuda"
        return batches_of(self.experiment, self.data, start, stop, places=places, pin_memory=pin_memory)

    def _train(self) -> None:
        total = self.experiment.train.iterations
        begin, before = time.perf_counter(), self.durations.train_s
        saved = begin
        events = self.folder / "events" if self.team.leads else None
        self.signals.hold()
        with tensorboard(events, self.trainer.iteration) as log:
            for state in self.trainer.steps(self._batches(self.trainer.iteration, total)):  # type: ignore[arg-type]
                now = time.perf_counter()
                self._add_seconds("train_s", before + now - begin - self.durations.train_s)
                done = state.iteration + 1
                if state.skipped:
                    self.say(RunProgress("train", done, total, f"not finite, left out: {', '.join(state.skipped)}"))
                if (point := self.meter.add(state, self.durations.train_s)) is not None:
                    self.points.append(point)
                    self.say(RunProgress("train", done, total, curve_text(point)))
                    log(point)
                due = done % self.experiment.train.checkpoint_every == 0 or done == total
                stop = self.team.any(self.signals.pending)  # at one iteration in every process, or some would wait
                if due or stop or now - saved > CHECKPOINT_SECONDS:
                    self._save()
                    saved = time.perf_counter()
                if stop:
                    raise KeyboardInterrupt
        self.signals.release()

    @contextmanager
    def _name_rate_and_checkpoint(self) -> Iterator[None]:
        """Names learning rate, batch and the last good checkpoint where training came out NaN or infinite."""
        try:
            yield
        except NonFiniteLossError as error:
            path = self.folder / CHECKPOINT
            good = "There is no checkpoint yet."
            if self.saved_at is not None:
                good = f"The last good checkpoint, of iteration {self.saved_at}, is {path}."
            raise NonFiniteLossError(f"{error} {rate_words(self.experiment)} {good}") from error

    def _precise_batch_norm(self) -> None:
        count, first = self.experiment.train.precise_bn_batches, self.experiment.train.iterations
        begin = time.perf_counter()
        precise_batch_norm(
            self.model,
            self._batches(first, first + count),  # type: ignore[arg-type]
            count,
            forward=self.trainer.step.forward,
            each=lambda done: self.say(RunProgress("precise_bn", done, count, "batch norm statistics")),
        )
        self._add_seconds("precise_bn_s", time.perf_counter() - begin)

    def _evaluate(self, predict: Predictor) -> Evaluation:
        done, val = 0, self.data.val
        mine = replace(val, items=tuple(val.items[index] for index in self.team.dealt(len(val))))

        def each(_: object) -> None:
            nonlocal done
            done = min(done + self.team.size, len(val))
            self.say(RunProgress("evaluate", done, len(val), "evaluating"))

        samples = eval_samples(mine, self.experiment.data.workers)
        classes = self.experiment.model.classes
        config = self.experiment.evaluate
        own = evaluate(predict, samples, config, classes=classes, device=self.device, each=each)
        return collected(own, [item.name for item in val.items], self.team)

    def _training_facts(self) -> TrainingFacts:
        iterations = self.trainer.iteration
        return TrainingFacts(
            iterations=iterations,
            final_loss=late_mean(self.points, "loss", iterations),
            final_expected_macs=late_mean(self.points, "expected_macs", iterations),
            resumed_at=tuple(self.resumed_at),
            parameters=sum(parameter.numel() for parameter in self.model.parameters()),
            skipped=self.trainer.watch.skipped,
            step=self.trainer.step.name,
            class_weights=None if self.class_weights is None else tuple(self.class_weights.tolist()),
        )

    def _add_seconds(self, name: str, seconds: float) -> None:
        self.durations = Durations(**(asdict(self.durations) | {name: getattr(self.durations, name) + seconds}))

    def _save(self) -> None:
        if not self.team.leads:
            return
        self.trainer.require_finite()
        snapshot = self.trainer.snapshot()
        facts = snapshot.facts | {
            "key": self.key,
            "trained": self.trained,
            "started": self.started,
            "durations": asdict(self.durations),
            "resumed_at": self.resumed_at,
            "processes": self.processes,
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
            before = msgspec.convert(facts["processes"], list[int])
        except (KeyError, RuntimeError, msgspec.ValidationError) as error:
            raise BlockedError(f"{path} is incomplete ({error}). Delete it to start the run anew.") from error
        curve = read_curve(self.folder / CURVE)
        self.points = [point for point in curve if point.iteration < self.trainer.iteration]
        self.processes = before if self.trained or before[-1:] == self.processes else before + self.processes
        if not self.trained:
            self.resumed_at.append(self.trainer.iteration)
