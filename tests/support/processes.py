"""Processes that tests start, wait for and stop."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from dynroute_core.checkpoint import load_snapshot
from dynroute_core.runs.record import CHECKPOINT, CURVE, RECORD, ROUTES, read_curve, read_record, read_routes

DEADLINE_S = 300.0  # so long that only a hang reaches it, however busy the machine


def assert_nothing_half_written(folder: Path) -> None:
    """Every file that has its name is whole; what is not whole has the name of a temporary file."""
    readers = {RECORD: read_record, ROUTES: read_routes, CURVE: read_curve, CHECKPOINT: load_snapshot}
    for path in folder.rglob("*"):
        if path.name.startswith(".") or not path.is_file():
            continue
        if path.name in readers:
            readers[path.name](path)
        elif path.suffix == ".png":
            with Image.open(path) as picture:
                picture.load()


def wait_for(ready: Callable[[], bool], what: str) -> None:
    """Returns as soon as `ready` holds; a test that waits longer than minutes fails with `what` did not happen."""
    deadline = time.monotonic() + DEADLINE_S
    while not ready():
        assert time.monotonic() < deadline, f"{what} did not happen in {DEADLINE_S:g} s"
        time.sleep(0.02)


def is_gone(pid: int) -> bool:
    """Whether the process has ended (a zombie has; who reaps it is not our business)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True
