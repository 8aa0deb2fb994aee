"""Where a run lies, made and read: `ROW/PROFILE-DATA-seedK-[MARK-]KEY`, below the folder of all runs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # a status asks for names alone, and comes without torch
    from dynroute_core.experiments import Experiment

KEY_DIGITS = 8  # of a key, that its run's folder ends with
LONGEST_ROUTE = 60  # letters of a forced route's name
_NAME = re.compile(
    rf"(?P<profile>smoke|demo|full)-(?P<data>[a-z0-9]+)-seed(?P<seed>\d+)-(?:(?P<mark>.+)-)?[0-9a-f]{{{KEY_DIGITS}}}"
)


@dataclass(frozen=True)
class FolderName:
    """What the name of a run's folder says. mark: of a forced route or given weights, else empty."""

    profile: str
    data: str
    seed: int
    mark: str


def run_folder(experiment: Experiment, key: str) -> Path:
    """Where the run of this experiment with this key lies, below the folder of all runs."""
    route, weights = experiment.evaluate.route, experiment.weights
    words = "" if route is None else "-".join(re.findall(r"[a-z0-9]+", route.name.lower()))
    forced = "" if route is None else f"route-{words[:LONGEST_ROUTE]}-"
    given = "weights-" if weights is not None and weights.use == "evaluate" else ""
    name = f"{experiment.profile}-{experiment.data.name}-seed{experiment.seed}-{forced}{given}{key[:KEY_DIGITS]}"
    return Path(experiment.row) / name


def parse_folder(name: str) -> FolderName | None:
    """What a folder's name says; None where it is no run's."""
    found = _NAME.fullmatch(name)
    return found and FolderName(found["profile"], found["data"], int(found["seed"]), found["mark"] or "")
