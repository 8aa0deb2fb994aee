"""What the tests of the command share."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from dynroute_core.runs import shipped
from dynroute_core.runs.finished import FinishedRun
from dynroute_core.runs.record import RECORD
from dynroute_core.runs.shipping import ship

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command changes the working directory; this puts it back after each test."""
    monkeypatch.chdir(ROOT)


@pytest.fixture
def results(finished: FinishedRun, smoke_streets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A results folder, taken for the committed one, in which dynamic-a ships."""
    place = tmp_path / "results" / "dynamic-a" / "smoke-streets-seed0"
    place.mkdir(parents=True)
    shutil.copy(finished.folder / RECORD, place)
    ship(finished.folder, tmp_path / "results", data_root=smoke_streets)
    for reader in (shipped.find_shipped, shipped.shipped_rows):
        monkeypatch.setattr(reader, "__defaults__", (tmp_path / "results",))
    return tmp_path / "results"
