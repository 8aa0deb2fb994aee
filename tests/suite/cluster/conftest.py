"""What the tests of clusters share."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.stand_in_queue import Queue, stand_in_queue

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command changes the working directory; this puts it back after each test."""
    monkeypatch.chdir(ROOT)


@pytest.fixture
def queue(monkeypatch: pytest.MonkeyPatch) -> Queue:
    return stand_in_queue(monkeypatch)
