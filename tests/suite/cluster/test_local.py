"""submitit's local executor at work."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path

import pytest

from dynroute_core.runs.record import read_record
from dynroute_core.system.errors import EXIT_DONE
from dynroute_core.system.strict_json import to_json
from dynroute_suite.cluster import queue, submission
from dynroute_suite.notebook.document import failure_of
from dynroute_suite.status.runs import statuses
from support.commands import SMOKE, call
from support.handed_runs import SHORT, answered, checkpointed, facts, spoil, states, whole
from support.processes import wait_for

pytest.importorskip("submitit")


def children(parent: int) -> list[int]:
    """The processes that a process started."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            if path.read_text().rpartition(")")[2].split()[1] == str(parent):
                found.append(int(path.parent.name))
    return found


@pytest.mark.slow
def test_local_jobs_resume_fail_and_are_collected(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    spoil(tmp_path, 1, capsys)
    words = ("--row", "dynamic-c", "--seeds", 2, *SMOKE, "--out", tmp_path, "--set", *SHORT, "--json")
    assert call(*words, "--cluster", "local", "--cluster-option", "array_parallelism=2") == EXIT_DONE
    assert [row["state"] for row in answered(capsys)] == ["submitted", "submitted"]
    ((folder, made),) = submission.submissions(tmp_path)
    try:
        wait_for(lambda: checkpointed(tmp_path, 0), "a checkpoint")
        assert call(*words, "--cluster", "local") == EXIT_DONE
        assert answered(capsys)[0]["state"] == "running"
        (task,) = children(int(made.jobs[0]))
        os.kill(task, signal.SIGUSR2)  # what the controller sends when the time is up
        wait_for(lambda: {one.state for one in statuses(tmp_path)} == {"done", "failed"}, "the end of both")
    finally:
        for pid in queue.local_processes(folder):
            os.kill(pid, signal.SIGINT)
    found = states(tmp_path)
    assert found[0].state == "done"
    assert read_record(Path(found[0].record)).training.resumed_at
    assert facts(Path(found[0].record)) == whole(0, tmp_path / "whole")
    assert "is not a readable checkpoint" in found[1].message
    assert Path(found[1].log).stat().st_size > 0
    assert failure_of(Path(found[1].folder) / "failed.ipynb") is not None
    assert to_json(made)  # the file can be read back and written again
