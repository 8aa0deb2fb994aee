"""A finished run as it lies under `results/`: its folder, and the record in it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from dynroute_core.runs.record import RECORD, Record


@dataclass(frozen=True)
class Committed:
    """A finished run."""

    folder: Path
    record: Record

    @property
    def identity(self) -> str:
        """Its folder below the results, such as `dynamic-a/demo-camvid-seed0`."""
        return f"{self.folder.parent.name}/{self.folder.name}"

    @property
    def address(self) -> str:
        """Where the book has its record, from the book's root."""
        return f"/records/{quote(self.identity)}/{RECORD}"
