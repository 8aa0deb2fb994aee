"""The finished and the failed runs under `results/`: what the book is made of.

Gives records in one order (row, then the published protocol's profile first, data set, seed). A folder with a
`record.json` is a finished run; one with a `failed.ipynb` and no record is a failed one. Nothing else is looked at.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

from dynroute_core.experiments import ROWS
from dynroute_core.record import RECORD, Record, read_record

ROOT = Path(__file__).resolve().parents[2]
FAILED = "failed.ipynb"
_PROFILES = ("full", "demo", "smoke")

_folder: ContextVar[Path] = ContextVar("results", default=ROOT / "results")


@dataclass(frozen=True)
class Committed:
    """A finished run: its folder, and the record in it. address: where the book has the record, from its root."""

    folder: Path
    record: Record

    @property
    def address(self) -> str:
        return f"/records/{self.folder.parent.name}/{self.folder.name}/{RECORD}"


@contextmanager
def results_in(folder: Path) -> Iterator[None]:
    """Reads another folder's results for the time of a `with` block."""
    token = _folder.set(folder)
    try:
        yield
    finally:
        _folder.reset(token)


def results_folder() -> Path:
    return _folder.get()


def committed() -> tuple[Committed, ...]:
    """Every finished run. Raises BlockedError naming a record that cannot be read, or that lies in another's place."""
    found = [Committed(path.parent, read_record(path)) for path in results_folder().glob(f"*/*/{RECORD}")]
    return tuple(sorted(found, key=lambda one: _order(one.record)))


def records_of(row: str) -> tuple[Committed, ...]:
    """The finished runs of one row."""
    return tuple(one for one in committed() if one.record.row == row)


def failures_of(row: str) -> tuple[Path, ...]:
    """The folders of one row's runs that failed and have not finished since."""
    folders = sorted(path.parent for path in (results_folder() / row).glob(f"*/{FAILED}"))
    return tuple(folder for folder in folders if not (folder / RECORD).exists())


def groups() -> dict[tuple[str, str], list[Committed]]:
    """The finished runs by (profile, data set): what may stand in one table."""
    found: dict[tuple[str, str], list[Committed]] = {}
    for one in committed():
        found.setdefault((one.record.profile, one.record.data.name), []).append(one)
    return found


def _order(record: Record) -> tuple[int, str, int, str, int]:
    rows, profile = list(ROWS), record.profile
    place = rows.index(record.row) if record.row in rows else len(rows)
    rank = _PROFILES.index(profile) if profile in _PROFILES else len(_PROFILES)
    return place, record.row, rank, record.data.name, record.seed
