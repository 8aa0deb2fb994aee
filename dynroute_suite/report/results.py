"""The finished and the failed runs of one results folder: what the book is made of.

A folder with a `record.json` is a finished run; one with a `failed.ipynb` and no record is a failed one; `speed/` holds
what benchmarks measured. Nothing else is looked at.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from dynroute_core.experiments import ROWS
from dynroute_core.runs.record import RECORD, Record, read_record
from dynroute_core.system.errors import BlockedError, suggest
from dynroute_core.system.files import visible
from dynroute_suite.report.committed import Committed
from dynroute_suite.report.failures import FAILED, FailedRun, read_failure
from dynroute_suite.report.routed_runs import RoutedRun, has_routes
from dynroute_suite.report.speed_record import SpeedRecord, read_speed

ROOT = Path(__file__).resolve().parents[2]
_FOLDER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_PROFILES = ("full", "demo", "smoke")


class Results:
    """One results folder. Each file is read once, when it is first asked for: a folder that changes needs another
    `Results`. Raises BlockedError naming a file that cannot be read, or a record that lies in another's place."""

    def __init__(self, folder: Path = ROOT / "results") -> None:
        self.folder = folder

    @cached_property
    def committed(self) -> tuple[Committed, ...]:
        """Every finished run, by row, then the published protocol's profile first, data set, seed."""
        found = [self._read(path) for path in self.folder.glob(f"*/*/{RECORD}")]
        return tuple(sorted(found, key=lambda one: _order(one.record)))

    @cached_property
    def routed(self) -> tuple[RoutedRun, ...]:
        """Every finished run with gates and routes, in the same order."""
        return tuple(RoutedRun.of(one) for one in self.committed if has_routes(one))

    @cached_property
    def speed(self) -> tuple[SpeedRecord, ...]:
        """What benchmarks measured, by file name."""
        return tuple(read_speed(path) for path in visible(self.folder / "speed", "*.json"))

    @cached_property
    def groups(self) -> dict[tuple[str, str], list[Committed]]:
        """The finished runs by (profile, data set)."""
        return grouped(self.committed)

    def of_row(self, row: str) -> tuple[Committed, ...]:
        """The finished runs of one row."""
        return tuple(one for one in self.committed if one.record.row == row)

    def failures_of(self, row: str) -> tuple[FailedRun, ...]:
        """One row's runs that failed and have not finished since."""
        paths = sorted((self.folder / row).glob(f"*/{FAILED}"))
        for path in paths:
            self.require_inside(path)
        return tuple(read_failure(path.parent) for path in paths if not (path.parent / RECORD).exists())

    def selected(self, *, rows: Sequence[str] = (), profile: str = "", data: str = "") -> tuple[Committed, ...]:
        """The finished runs of some rows, a profile and a data set; of all where nothing is given. Raises UsageError
        for a row that has no run."""
        known = {one.record.row for one in self.committed}
        for row in rows:
            if row not in known:
                raise suggest("row with a finished run", row, sorted(known))
        return tuple(
            one
            for one in self.committed
            if (not rows or one.record.row in rows)
            and profile in ("", one.record.profile)
            and data in ("", one.record.data.name)
        )

    def require_inside(self, path: Path) -> None:
        """Raises BlockedError for a file whose folder's name the book could not link to, and for a link that leads out
        of the results: what lies elsewhere is nobody's to publish."""
        if not _FOLDER.fullmatch(path.parent.name):
            raise BlockedError(f"{path.parent}: rename this folder; the book can link to letters, digits, '-' and '_'.")
        if not path.resolve().is_relative_to(self.folder.resolve()):
            raise BlockedError(f"{path} leads out of {self.folder}: put the file itself there.")

    def _read(self, path: Path) -> Committed:
        """The run of a record that lies in its row's folder."""
        self.require_inside(path)
        record = read_record(path)
        if record.row != path.parents[1].name or record.row not in ROWS:
            raise BlockedError(
                f"{path} is a record of {record.row}: it has to lie in the folder of that row, of {', '.join(ROWS)}."
            )
        return Committed(path.parent, record)


def grouped(runs: Sequence[Committed]) -> dict[tuple[str, str], list[Committed]]:
    """Runs by (profile, data set): what may stand in one table."""
    found: dict[tuple[str, str], list[Committed]] = {}
    for one in runs:
        found.setdefault((one.record.profile, one.record.data.name), []).append(one)
    return found


def _order(record: Record) -> tuple[int, str, int, str, int]:
    rows, profile = list(ROWS), record.profile
    place = rows.index(record.row) if record.row in rows else len(rows)
    rank = _PROFILES.index(profile) if profile in _PROFILES else len(_PROFILES)
    return place, record.row, rank, record.data.name, record.seed
