"""The command that makes weights ship: what it says, and how it ends."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from dynroute_core.runs.finished import FinishedRun
from dynroute_core.runs.record import RECORD
from dynroute_core.runs.shipped import find_shipped
from dynroute_core.system.errors import EXIT_BLOCKED, EXIT_DONE
from dynroute_suite.shipping.__main__ import main


def test_it_ships_and_says_what_was_lost(
    finished: FinishedRun, smoke_streets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)  # the command leaves for its own folder; paths are those of the caller
    shutil.copytree(finished.folder, "run")
    words = ["run", "--results", "results", "--data", str(smoke_streets)]
    assert main(words) == EXIT_BLOCKED
    assert "first" in capsys.readouterr().err

    monkeypatch.chdir(tmp_path)
    place = Path("results/dynamic-a/smoke-streets-seed0")
    place.mkdir(parents=True)
    shutil.copy(finished.folder / RECORD, place)
    assert main(words) == EXIT_DONE
    facts = find_shipped("dynamic-a", tmp_path / "results").facts
    shown = capsys.readouterr().out
    assert f"mIoU {facts.stored_miou_percent:.2f} % as stored, {facts.miou_percent:.2f} % in float32" in shown
    assert f"{facts.size_bytes / 2**20:.2f} MB, Apache-2.0" in shown
