"""Weights that ship with the repository: `load("dynamic-c")`, and what is known of them.

They lie beside a committed record, in `results/ROW/RUN/`: `weights.safetensors` in half precision, and `weights.json`,
written last: a folder without it ships nothing. One run of a row ships at most. Who writes them: `shipping.py`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from dynroute_core.data.datasets import is_generated
from dynroute_core.experiments import ROWS
from dynroute_core.runs.finished import FinishedRun, TrainedSegmenter
from dynroute_core.runs.record import RECORD, WEIGHTS
from dynroute_core.system.errors import BlockedError, suggest
from dynroute_core.system.files import visible
from dynroute_core.system.strict_json import read_checked, write_checked
from dynroute_core.weights.files import file_hash, give_weights

FACTS = "weights.json"
SHIPPED_SCHEMA = 1
LICENCE = "Apache-2.0"  # the repository's
RESULTS = Path(__file__).resolve().parents[2] / "results"

_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class ShippedFacts:
    """What ships of which run. miou_percent: of the run's record, in float32. stored_miou_percent: on the same images
    by the weights as they are stored. sha256, size_bytes: of the weights' file; record_sha256: of the record's."""

    schema: int
    row: str
    key: str
    record_sha256: str
    sha256: str
    size_bytes: int
    licence: str
    miou_percent: float
    stored_miou_percent: float


def _problems(facts: ShippedFacts) -> list[str]:
    found = []
    if facts.schema != SHIPPED_SCHEMA:
        found.append(f"schema {facts.schema}, this version reads {SHIPPED_SCHEMA}")
    for name in ("key", "record_sha256", "sha256"):
        if not _SHA256.fullmatch(value := getattr(facts, name)):
            found.append(f"{name} is {value[:60]!r}")
    for name in ("miou_percent", "stored_miou_percent"):
        if not 0 <= (percent := getattr(facts, name)) <= 100:
            found.append(f"{name} is {percent}")
    if facts.size_bytes < 1:
        found.append(f"the weights have {facts.size_bytes} bytes")
    if facts.licence != LICENCE:
        found.append(f"the licence is {facts.licence[:60]!r}, that of all weights here {LICENCE}")
    return found


def write_facts(folder: Path, facts: ShippedFacts) -> None:
    """Writes `weights.json`, after checking it as `ShippedRun.open` does."""
    write_checked(folder / FACTS, facts, _problems, what="facts")


@dataclass(frozen=True)
class ShippedRun:
    """A committed run whose weights ship."""

    run: FinishedRun
    facts: ShippedFacts

    @classmethod
    def open(cls, folder: Path) -> ShippedRun:
        """The run in a folder. Raises BlockedError where its facts are missing, broken or another run's."""
        facts = read_checked(ShippedFacts, folder / FACTS, _problems, again="Restore it.")
        run = FinishedRun.open(folder, facts.key)
        record = run.record
        if facts.record_sha256 != file_hash(folder / RECORD):
            raise BlockedError(f"{folder / RECORD} is not the one that {FACTS} was written with. Restore both.")
        if (facts.row, facts.miou_percent) != (record.row, record.metrics.miou_percent):
            raise BlockedError(f"{folder / FACTS} says other things than {RECORD} beside it. Restore both.")
        if not is_generated(record.data.name):
            raise BlockedError(f"{folder}: weights trained on {record.data.name} may not ship. Remove them.")
        return cls(run, facts)

    @property
    def path(self) -> Path:
        """The file of the weights."""
        return self.run.folder / WEIGHTS

    def model(self) -> TrainedSegmenter:
        """Its network, in evaluation and float32, on the CPU. Raises BlockedError for a file that is not the one that
        shipped."""
        if file_hash(self.path) != self.facts.sha256:
            raise BlockedError(f"{self.path} is not the file that {FACTS} tells of. Restore both.")
        model = TrainedSegmenter(self.run.experiment)
        give_weights(model, self.path, use="evaluate")
        model.eval()
        return model


def shipped_rows(results: Path = RESULTS) -> list[str]:
    """The rows with weights that ship, in the table's order."""
    there = {path.parents[1].name for path in visible(results, f"*/*/{FACTS}")}
    return [row for row in ROWS if row in there]


def find_shipped(row: str, results: Path = RESULTS) -> ShippedRun:
    """The run of a row whose weights ship.

    Raises UsageError for a row that does not exist; BlockedError where none ships of it, where several do, and as
    `ShippedRun.open`.
    """
    if row not in ROWS:
        raise suggest("row", row, ROWS)
    found = visible(results / row, f"*/{FACTS}")
    if not found:
        there = shipped_rows(results)
        which = f"Some of these do: {', '.join(there)}." if there else f"There are none in {results}."
        raise BlockedError(
            f"no weights of {row} ship. {which} A run of your own leaves some: give its checkpoint.safetensors "
            "(--weights FILE on the command line)."
        )
    if len(found) > 1:
        names = ", ".join(path.parent.name for path in found)
        raise BlockedError(f"{results / row} ships weights of several runs ({names}). Keep those of one.")
    return ShippedRun.open(found[0].parent)


def load(row: str) -> TrainedSegmenter:
    """The network of a row with the weights that ship: a `Segmenter` in evaluation, float32, on the CPU.

    Raises UsageError (a ValueError) for a row that does not exist, BlockedError where no weights of it ship or the
    files are not those that shipped; both say which rows ship.
    """
    return find_shipped(row).model()
