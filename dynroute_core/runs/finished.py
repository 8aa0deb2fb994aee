"""A finished run, opened: its record, its settings as they ran, its network. The one way to open one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec
from torch import Tensor

from dynroute_core.checkpoint import load_snapshot
from dynroute_core.data.datasets import find_dataset
from dynroute_core.data.labels import ClassSet
from dynroute_core.experiments import Experiment
from dynroute_core.model import Segmenter
from dynroute_core.runs.record import CHECKPOINT, RECORD, Record, read_record
from dynroute_core.system.errors import BlockedError


class TrainedSegmenter(Segmenter):
    """The network of an experiment, which knows at what size it is shown pictures and what its labels mean."""

    def __init__(self, experiment: Experiment) -> None:
        super().__init__(experiment.model)
        self.experiment = experiment

    @property
    def classes(self) -> ClassSet:
        """Names and colours of its labels, by train id."""
        return find_dataset(self.experiment.data.name).classes

    @property
    def shortest(self) -> int:
        """The shortest edge, in pixels, of the images that its evaluation showed it."""
        data = self.experiment.data
        return self.experiment.evaluate.shortest or min(data.height, data.width)


@dataclass(frozen=True)
class FinishedRun:
    """A run that left its record in `folder`. reused: it was there already when `pipeline.run` was asked for it."""

    folder: Path
    record: Record
    reused: bool = True

    @classmethod
    def open(cls, folder: Path, key: str = "") -> FinishedRun:
        """The finished run in a folder. key: its own, "" for any.

        Raises BlockedError where there is none, its record is broken, or it has another key.
        """
        run = cls(folder, read_record(folder / RECORD))
        if key and run.record.key != key:
            raise BlockedError(f"{folder / RECORD} is not the run {key[:8]}'s. Run the row to its end first.")
        return run

    @classmethod
    def find(cls, folder: Path, key: str) -> FinishedRun | None:
        """The finished run of this key in a folder; None where there is none, or another's."""
        if not (folder / RECORD).exists():
            return None
        run = cls.open(folder)
        return run if run.record.key == key else None

    @property
    def experiment(self) -> Experiment:
        """Its setting as it ran: a common network's paths, for one, are known to its record alone."""
        return experiment_of(self.record)

    def weights(self) -> dict[str, Tensor]:
        """The tensors that its network ended with, by name. Raises BlockedError where the run left none."""
        path = self.folder / CHECKPOINT
        if not path.exists():
            raise BlockedError(f"{path} is missing: the run's weights are needed. Run the row again with --force.")
        snapshot = load_snapshot(path)
        if snapshot.facts.get("key") != self.record.key or not snapshot.facts.get("trained"):
            raise BlockedError(
                f"{path} is not the finished run {self.record.key[:8]}'s. Run the row again with --force."
            )
        return snapshot.network

    def model(self) -> TrainedSegmenter:
        """Its network, in evaluation, on the CPU. Raises BlockedError where the run left no such weights."""
        model = TrainedSegmenter(self.experiment)
        try:
            model.load_state_dict(self.weights())
        except RuntimeError as error:
            raise BlockedError(
                f"{self.folder / CHECKPOINT} does not hold this run's network ({error}). "
                "Run the row again with --force."
            ) from error
        model.eval()
        return model


def experiment_of(record: Record) -> Experiment:
    """The setting of a record's run; what the record does not name is newer, and has the value it then had by nature.

    Raises BlockedError where its settings are no experiment.
    """
    try:
        return msgspec.convert(record.config, Experiment)
    except msgspec.ValidationError as error:
        raise BlockedError(
            f"{record.label}: its settings are not ones that this version knows ({error}). Run the row again."
        ) from error
