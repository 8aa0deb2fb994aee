"""What the tests of the command share."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command changes the working directory; this puts it back after each test."""
    monkeypatch.chdir(ROOT)
