"""The finished and the failed runs under `results/`: what the book is made of.

Gives records in one order (row, then the published protocol's profile first, data set, seed). A folder with a
`record.json` is a finished run; one with a `failed.ipynb` and no record is a failed one. Nothing else is looked at.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from dynroute_core.experiments import ROWS
from dynroute_core.runs.record import RECORD, Record, read_record
from dynroute_core.system.errors import BlockedError, suggest

ROOT = Path(__file__).resolve().parents[2]
FAILED = "failed.ipynb"
_FOLDER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_PROFILES = ("full", "demo", "smoke")

_folder: ContextVar[Path] = ContextVar("results", default=ROOT / "results")


@dataclass(frozen=True)
class Committed:
    """A finished run: its folder, and the record in it. address: where the book has the record, from its root."""

    folder: Path
    record: Record

    @property
    def address(self) -> str:
        return f"/records/{quote(self.folder.parent.name)}/{quote(self.folder.name)}/{RECORD}"


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
    found = [Committed(path.parent, _in_place(path)) for path in results_folder().glob(f"*/*/{RECORD}")]
    return tuple(sorted(found, key=lambda one: _order(one.record)))


def _in_place(path: Path) -> Record:
    """The record, if it lies in its row's folder, and nothing of the run elsewhere."""
    folder = path.parent
    require_inside(path)
    record = read_record(path)
    if record.row != folder.parent.name or record.row not in ROWS:
        raise BlockedError(
            f"{path} is a record of {record.row}: it has to lie in the folder of that row, of {', '.join(ROWS)}."
        )
    return record


def require_inside(path: Path) -> None:
    """Raises BlockedError for a file whose folder's name the book could not link to, and for a link that leads out of
    the results: what lies elsewhere is nobody's to publish."""
    if not _FOLDER.fullmatch(path.parent.name):
        raise BlockedError(f"{path.parent}: rename this folder; the book can link to letters, digits, '-' and '_'.")
    if not path.resolve().is_relative_to(results_folder().resolve()):
        raise BlockedError(f"{path} leads out of {results_folder()}: put the file itself there.")


def records_of(row: str) -> tuple[Committed, ...]:
    """The finished runs of one row."""
    return tuple(one for one in committed() if one.record.row == row)


def failures_of(row: str) -> tuple[Path, ...]:
    """The folders of one row's runs that failed and have not finished since."""
    paths = sorted((results_folder() / row).glob(f"*/{FAILED}"))
    for path in paths:
        require_inside(path)
    folders = [path.parent for path in paths]
    return tuple(folder for folder in folders if not (folder / RECORD).exists())


def selected(*, rows: Sequence[str] = (), profile: str = "", data: str = "") -> tuple[Committed, ...]:
    """The finished runs of some rows, a profile and a data set; of all where nothing is given. Raises UsageError for a
    row that has no run."""
    found = committed()
    known = {one.record.row for one in found}
    for row in rows:
        if row not in known:
            raise suggest("row with a finished run", row, sorted(known))
    return tuple(
        one
        for one in found
        if (not rows or one.record.row in rows)
        and profile in ("", one.record.profile)
        and data in ("", one.record.data.name)
    )


def groups() -> dict[tuple[str, str], list[Committed]]:
    """The finished runs by (profile, data set)."""
    return grouped(committed())


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
