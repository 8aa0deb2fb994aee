"""How far each row is: run as published, run at a smaller profile, failed, blocked, or not run; and what to do next.

The state comes from the files under `results/` alone. A sign stands for each state beside its words, so that colour is
never what tells them apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from dynroute_core.experiments import ROWS, Experiment
from dynroute_suite.report.comparable import is_comparable
from dynroute_suite.report.results import Results

Kind = Literal["published", "smaller", "failed", "blocked", "waiting"]
KINDS: tuple[Kind, ...] = get_args(Kind)
SIGNS: Mapping[Kind, str] = {"published": "●", "smaller": "◐", "failed": "✕", "blocked": "■", "waiting": "○"}
MEANINGS: Mapping[Kind, str] = {
    "published": "run by the published protocol",
    "smaller": "run, but not by the published protocol",
    "failed": "the last run failed",
    "blocked": "data or weights were missing",
    "waiting": "not run yet",
}


@dataclass(frozen=True)
class RowState:
    """One row's state. detail: which runs there are, or why there are none."""

    row: str
    kind: Kind
    detail: str

    @property
    def sign(self) -> str:
        return SIGNS[self.kind]

    @property
    def meaning(self) -> str:
        return MEANINGS[self.kind]


def row_state(row: str, results: Results) -> RowState:
    """The state of one row: its best run decides; a failure counts where no run finished."""
    found = results.of_row(row)
    if found:
        kind: Kind = "published" if any(is_comparable(one.record) for one in found) else "smaller"
        runs = dict.fromkeys(f"{one.record.profile} profile on {one.record.data.name}" for one in found)
        return RowState(row, kind, "; ".join(runs))
    failures = results.failures_of(row)
    if failures:
        kind = "blocked" if all(failure.blocked for failure in failures) else "failed"
        return RowState(row, kind, "; ".join(f"{failure.folder.name}: {failure.name}" for failure in failures))
    return RowState(row, "waiting", " ".join(needs(ROWS[row])))


def row_states(results: Results) -> tuple[RowState, ...]:
    """Every row's state, in the order of the rows."""
    return tuple(row_state(row, results) for row in ROWS)


def needs(experiment: Experiment) -> tuple[str, ...]:
    """What the published recipe of a row asks for, a sentence each."""
    train = experiment.train
    wanted = [
        "It needs Cityscapes, which everybody has to register for.",
        f"It trains {train.iterations} iterations on {train.batch} crops of {train.crop_height}×{train.crop_width}: "
        "work for a GPU.",
    ]
    if train.needs_weights:
        wanted.append("It starts from ImageNet weights, which have to be trained or converted first.")
    return tuple(wanted)


def commands(row: str) -> Mapping[str, str]:
    """What to type for a row: at the demo profile, and by the published protocol."""
    return {
        "demo": f"python reproduce.py --row {row}",
        "full": f"python reproduce.py --row {row} --profile full --data cityscapes=FOLDER",
    }
