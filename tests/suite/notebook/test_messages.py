"""What processes leave each other as files."""

from __future__ import annotations

from pathlib import Path

from dynroute_core.runs.progress import RunProgress
from dynroute_core.system.errors import (
    UsageError,
)
from dynroute_suite.notebook.messages import Failure, Tail, failures, leave_failure
from dynroute_suite.notebook.progress import reporter


def test_progress_goes_through_the_file_whole_lines_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "progress"
    tail, write = Tail(path), reporter(str(path))
    assert tail.read() == []
    write(RunProgress("train", 1, 10, "loss 1.5"))
    with path.open("ab") as file:
        file.write(b'not json\n{"phase": "train", "done": 2,')
    assert tail.read() == [RunProgress("train", 1, 10, "loss 1.5")]
    with path.open("ab") as file:
        file.write(b' "total": 10, "text": "x"}\n')
    assert tail.read() == [RunProgress("train", 2, 10, "x")]
    assert tail.read() == []


def test_the_first_failure_of_an_attempt_stays(tmp_path: Path) -> None:
    """Of the workers of an attempt one fails; the others then lose it, which is no reason of their own."""
    assert failures(tmp_path) == []
    leave_failure(tmp_path, Failure.of(UsageError("odd")), attempt=1)
    leave_failure(tmp_path, Failure.of(ConnectionError("lost")), attempt=1)
    leave_failure(tmp_path, Failure.of(ValueError("before")))
    before, odd = failures(tmp_path)
    assert (before.name, before.text, before.kind) == ("ValueError", "before", None)
    assert (odd.name, odd.text, odd.kind) == ("UsageError", "odd", UsageError)
