"""--status: how far every run is, with a cluster and without."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from dynroute_core.runs.record import PLAN, RECORD, write_record
from dynroute_core.system.errors import EXIT_DONE, EXIT_USAGE
from dynroute_suite.cluster import submission
from dynroute_suite.cluster.submission import RunName, Submission, Task
from dynroute_suite.notebook.document import OWN
from dynroute_suite.notebook.sandbox import LOG
from dynroute_suite.status.runs import RunStatus, statuses
from support.commands import SMOKE, call
from support.sample_records import sample_record
from support.stand_in_queue import Queue

pytest.importorskip("submitit")


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[Path]:
    """OUT with a run in every state that needs no cluster."""

    def folder(seed: int, *, iterations: int | None = 6) -> Path:
        made = tmp_path / "dynamic-c" / f"smoke-streets-seed{seed}-{seed:08x}"
        made.mkdir(parents=True)
        if iterations is not None:
            (made / PLAN).write_text(json.dumps({"config": {"train": {"iterations": iterations}}}))
        return made

    record = sample_record(row="dynamic-c", profile="smoke")
    write_record(folder(0) / RECORD, record)
    failed = {"cells": [], "metadata": {OWN: {"failure": ["ValueError", "odd"]}}, "nbformat": 4, "nbformat_minor": 5}
    place = folder(1)
    (place / "failed.ipynb").write_text(json.dumps(failed))
    (place / LOG).write_text("the end")
    stopped = json.loads(json.dumps(failed).replace("ValueError", "Interrupted").replace("odd", "stopped by you."))
    (folder(2) / "failed.ipynb").write_text(json.dumps(stopped))
    folder(3)
    (folder(4) / RECORD).write_text("{")
    folder(5, iterations=None)
    with (folder(6) / LOG).open("w") as log:
        fcntl.flock(log, fcntl.LOCK_EX)
        yield tmp_path


def test_status_says_how_far_every_run_is(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = {status.seed: status for status in statuses(runs)}
    states = [found[seed].state for seed in range(7)]
    assert states == ["done", "failed", "interrupted", "interrupted", "failed", "failed", "running"]
    assert (found[1].message, Path(found[1].log).name) == ("odd", LOG)
    assert found[2].message == "stopped by you."
    assert (found[0].iteration, found[3].iteration, found[3].iterations) == (6, 0, 6)
    assert "is not a readable record" in found[4].message
    assert (
        call("--row", "dynamic-c", "--row", "dynamic-b", "--seeds", 2, "--status", *SMOKE, "--out", runs) == EXIT_DONE
    )
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:5] for line in lines[1:5]] == [
        ["dynamic-c", "smoke", "streets", "0", "done"],
        ["dynamic-c", "smoke", "streets", "1", "failed"],
        ["dynamic-b", "smoke", "streets", "0", "not"],
        ["dynamic-b", "smoke", "streets", "1", "not"],
    ]
    assert any("GFLOPs" in line for line in lines), "nobody is at work on these: the finished one is shown"
    assert call("--status", "--out", runs) == EXIT_DONE
    shown = capsys.readouterr().out
    assert "GFLOPs" not in shown, "one is at work"
    assert "dynamic-c seed 1: odd" in shown
    assert call("--status", "--row", "dynamic-d", "--out", runs) == EXIT_USAGE
    assert call("--status", "--out", runs / "nothing") == EXIT_DONE
    assert "no run here yet" in capsys.readouterr().out


def test_what_a_job_said_is_shown_where_the_run_left_nothing(queue: Queue, tmp_path: Path) -> None:
    run = tmp_path / "dynamic-c" / "smoke-streets-seed0-00000000"
    task = Task(words=(), runs=(RunName(row="dynamic-c", profile="smoke", data="streets", seed=0, folder=str(run)),))
    made = Submission(name="dynroute-1", cluster="slurm", tasks=(task,), jobs=("9",))
    folder = tmp_path / "cluster" / made.name
    submission.write_submission(folder, made)
    submission.log_path(folder, "9").write_text("killed")

    def seen() -> RunStatus:
        (status,) = statuses(tmp_path)
        return status

    queue.lines = f"{made.name}|N/A|RUNNING|None\n"
    assert seen().state == "running"
    queue.lines = f"{made.name}|N/A|OUT_OF_MEMORY|OutOfMemory\n"
    assert (seen().state, seen().log) == ("failed", str(submission.log_path(folder, "9")))
    assert "OUT_OF_MEMORY" in seen().message
    answer = {"exit_code": 3, "message": "no data.", "rows": []}
    submission.answer_path(folder, 0).write_text(json.dumps(answer))
    assert (seen().state, seen().message) == ("failed", "no data.")
    write_record(run / RECORD, sample_record(row="dynamic-c", profile="smoke"))
    queue.asked.clear()
    assert (seen().state, queue.asked) == ("done", []), "no cluster is asked where nothing is open"
    (run / RECORD).unlink()
    run.rmdir()
    queue.lines = f"{made.name}|N/A|PENDING|BeginTime\n"
    submission.answer_path(folder, 0).unlink()
    assert (seen().state, seen().message) == ("waiting", "PENDING, BeginTime")
