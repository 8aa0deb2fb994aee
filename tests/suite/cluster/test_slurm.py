"""Rows and seeds on a real SLURM, started on this machine: array, requeue, time-out, failure, and collection."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from dynroute_core.runs.record import read_record
from dynroute_core.system.errors import EXIT_BLOCKED, EXIT_DONE
from dynroute_suite.cluster import submission
from dynroute_suite.status.runs import statuses
from support import slurm_machine
from support.commands import SMOKE, call
from support.handed_runs import SHORT, answered, checkpointed, facts, spoil, states, whole
from support.processes import wait_for

ROOT = Path(__file__).resolve().parents[3]

pytest.importorskip("submitit")
pytestmark = [
    pytest.mark.cluster,
    pytest.mark.slow,
    pytest.mark.skipif(bool(slurm_machine.missing()), reason=f"not installed: {slurm_machine.missing()}"),
]


@pytest.fixture
def slurm(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A cluster of this machine's own; the command finds it by SLURM_CONF."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    with slurm_machine.running_slurm() as environment:
        monkeypatch.setenv("SLURM_CONF", environment["SLURM_CONF"])
        yield


@pytest.mark.usefixtures("slurm")
def test_an_array_survives_requeue_and_time_out_and_is_collected(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    words = ("--row", "dynamic-c", "--seeds", 3, *SMOKE, "--out", tmp_path, "--set", *SHORT, "--json")
    handed = (*words, "--cluster", "slurm", "--cluster-option")
    assert call(*handed, "partition=nowhere") == EXIT_BLOCKED
    assert "invalid partition" in capsys.readouterr().err
    assert submission.submissions(tmp_path) == []

    spoil(tmp_path, 2, capsys)
    assert call(*handed, "partition=main", "timeout_min=60", "signal_delay_s=60") == EXIT_DONE
    assert [row["state"] for row in answered(capsys)] == ["submitted"] * 3
    ((folder, made),) = submission.submissions(tmp_path)
    assert len({job.split("_")[0] for job in made.jobs}) == 1, "one array"

    wait_for(lambda: checkpointed(tmp_path, 0), "a checkpoint of seed 0")
    subprocess.run(["scontrol", "requeue", made.jobs[0]], check=True)
    wait_for(lambda: checkpointed(tmp_path, 1), "a checkpoint of seed 1")
    subprocess.run(["scancel", "--signal=USR2", made.jobs[1]], check=True)  # what SLURM sends before the time is up
    assert call(*handed, "partition=main") == EXIT_DONE
    assert {row["state"] for row in answered(capsys)[:2]} <= {"running", "waiting"}
    later = [task for _, more in submission.submissions(tmp_path) if more.name != made.name for task in more.tasks]
    assert {run.seed for task in later for run in task.runs} <= {2}, "only what has failed by now is handed over again"

    wait_for(lambda: all(one.state in ("done", "failed") for one in statuses(tmp_path)), "the end of every run")
    found = states(tmp_path)
    assert [found[seed].state for seed in range(3)] == ["done", "done", "failed"]
    for seed in (0, 1):
        assert read_record(Path(found[seed].record)).training.resumed_at, "it was not interrupted"
        assert facts(Path(found[seed].record)) == whole(seed, tmp_path / "whole")
    assert "is not a readable checkpoint" in found[2].message
    assert Path(found[2].log).stat().st_size > 0
    assert submission.log_path(folder, made.jobs[2]).stat().st_size > 0

    assert call(*words, "--status") == EXIT_DONE
    shown = capsys.readouterr()
    assert [row["state"] for row in json.loads(shown.out)["rows"]] == ["done", "done", "failed"]
    lines = [line.split() for line in shown.err.splitlines()]
    spread = next(lines[index + 1] for index, line in enumerate(lines) if "spread" in line)
    assert spread[:4] == ["dynamic-c", "smoke", "streets", "2"]
    assert spread[-2:] == ["0,", "1"]
