"""What is submitted and what is not; submissions that fail, are killed, or meet."""

from __future__ import annotations

import fcntl
import os
import shlex
import stat
from pathlib import Path

import pytest

from dynroute_core.system.errors import EXIT_BLOCKED, EXIT_DONE, EXIT_USAGE
from dynroute_suite.cluster import submission
from dynroute_suite.cluster.submission import RunName, Submission, Task
from dynroute_suite.command.options import parser
from dynroute_suite.notebook.sandbox import LOG
from dynroute_suite.status.runs import statuses
from support.commands import SMOKE, call
from support.handed_runs import answered
from support.stand_in_queue import Queue

pytest.importorskip("submitit")


def test_rows_and_seeds_become_jobs_once(queue: Queue, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = ("--row", "common-a", "--row", "dynamic-a", "--row", "dynamic-c", "--seeds", 2, *SMOKE, "--json")
    words = (*words, "--out", tmp_path, "--cluster", "slurm")
    assert call(*words) == EXIT_DONE
    rows = answered(capsys)
    assert [(row["row"], row["seed"], row["state"]) for row in rows] == [
        (row, seed, "submitted") for seed in (0, 1) for row in ("dynamic-a", "common-a", "dynamic-c")
    ]
    (work,) = queue.handed
    called = [parser("").parse_args(each.commands[0].words) for each in work]
    assert [(each.row, each.seed) for each in called] == [
        (rows, seed) for seed in (0, 1) for rows in (["dynamic-a", "common-a"], ["dynamic-c"])
    ]
    ((folder, made),) = submission.submissions(tmp_path)
    assert made.jobs == ("7_0", "7_1", "7_2", "7_3")
    assert stat.S_IMODE(folder.stat().st_mode) == stat.S_IMODE(folder.parent.stat().st_mode) == 0o700

    queue.lines = "".join(f"{made.name}|{index}|PENDING|Resources\n" for index in range(4))
    assert call(*words) == EXIT_DONE
    assert {row["state"] for row in answered(capsys)} == {"waiting"}
    assert len(queue.handed) == 1
    assert call("--status", "--out", tmp_path, "--json") == EXIT_DONE
    shown = answered(capsys)
    assert len(shown) == 6
    assert {(row["state"], row["job"]) for row in shown} == {("waiting", f"7_{n}") for n in range(4)}

    queue.lines = ""  # the queue forgot them: what has neither record nor lock is submitted again
    run = next(Path(str(row["folder"])) for row in rows if row["row"] == "dynamic-c" and row["seed"] == 1)
    run.mkdir(parents=True)
    with (run / LOG).open("w") as log:
        fcntl.flock(log, fcntl.LOCK_EX)
        assert call(*words) == EXIT_DONE
    assert [row["state"] for row in answered(capsys)] == ["submitted"] * 5 + ["running"]
    assert len(queue.handed[1]) == 3


@pytest.mark.parametrize(
    "trouble", [KeyboardInterrupt(), OSError("sbatch: invalid partition")], ids=["Ctrl-C", "sbatch"]
)
def test_a_submission_that_fails_leaves_nothing(
    queue: Queue, capsys: pytest.CaptureFixture[str], tmp_path: Path, trouble: BaseException
) -> None:
    queue.trouble = trouble
    code = call("--row", "dynamic-c", *SMOKE, "--out", tmp_path, "--cluster", "slurm")
    assert code == (130 if isinstance(trouble, KeyboardInterrupt) else EXIT_BLOCKED)
    assert [words[0] for words in queue.asked] == ["scancel"], "what may have reached the queue is taken out of it"
    assert [path.name for path in (tmp_path / "cluster").iterdir()] == [".lock"]
    queue.trouble = None
    assert call("--row", "dynamic-c", *SMOKE[:2], "--device", "cuda:99", "--out", tmp_path, "--cluster", "slurm") == 0
    assert "invalid partition" in capsys.readouterr().err or code == 130


def test_a_killed_submission_is_taken_back_by_the_next(
    queue: Queue, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    task = Task(words=(), runs=(RunName(row="dynamic-c", profile="smoke", data="streets", seed=0, folder="x"),))
    killed = Submission(name="dynroute-0", cluster="slurm", tasks=(task,))
    submission.write_submission(tmp_path / "cluster" / killed.name, killed)
    assert statuses(tmp_path) == [], "nothing is known to have been handed over"
    assert call("--row", "dynamic-c", *SMOKE, "--out", tmp_path, "--cluster", "slurm") == EXIT_DONE
    assert ["scancel", "--name=dynroute-0"] in queue.asked
    ((folder, _),) = submission.submissions(tmp_path)
    assert folder.name != killed.name


def test_two_submissions_at_once_block(queue: Queue, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "cluster").mkdir()
    with (tmp_path / "cluster" / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert call("--row", "dynamic-c", *SMOKE, "--out", tmp_path, "--cluster", "slurm") == EXIT_BLOCKED
    assert "another process is at work" in capsys.readouterr().err
    assert queue.handed == []


def test_local_jobs_share_lanes(queue: Queue, tmp_path: Path) -> None:
    words = ("--row", "dynamic-c", "--seeds", 3, *SMOKE, "--out", tmp_path, "--cluster", "local")
    assert call(*words, "--cluster-option", "array_parallelism=2") == EXIT_DONE
    (work,) = queue.handed
    seeds = [[parser("").parse_args(each.words).seed for each in lane.commands] for lane in work]
    assert seeds == [[0, 2], [1]]
    assert call(*words, "--device", "cuda:99") == EXIT_USAGE
    ((_, made),) = submission.submissions(tmp_path)
    assert made.jobs == ("7_0", "7_1", "7_0")


@pytest.mark.parametrize("name", ["runs %j", "50%", "back\\slash", "two\nlines"])
def test_a_folder_that_slurm_reads_otherwise_is_refused(
    name: str, queue: Queue, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for cluster in ("slurm", "local"):
        words = ("--row", "dynamic-c", *SMOKE, "--out", tmp_path / name, "--cluster", cluster)
        assert call(*words) == EXIT_USAGE
        assert "Give --out a folder whose path is without" in capsys.readouterr().err
    assert queue.handed == [] and not list(tmp_path.iterdir())


def test_a_job_inherits_nothing_of_a_job_that_submits_it_and_finds_its_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Submitted by a stand-in for sbatch from inside an allocation, to a folder with blanks and quotes."""
    programs, out = tmp_path / "bin", tmp_path / 'it\'s "my" runs'
    programs.mkdir()
    for name, text in (
        ("sbatch", f"env > '{programs}/seen'; cp \"$1\" '{programs}/script'; echo Submitted batch job 7"),
        *((name, "exit 0") for name in ("srun", "squeue", "scancel")),
    ):
        (programs / name).write_text(f"#!/bin/sh\n{text}\n")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    for name, value in (("SLURM_JOB_ID", "5"), ("SLURM_NTASKS", "4"), ("SLURM_CONF", "/etc/slurm.conf")):
        monkeypatch.setenv(name, value)
    assert call("--row", "dynamic-c", *SMOKE, "--out", out, "--cluster", "slurm") == EXIT_DONE
    seen = [line.partition("=")[0] for line in (programs / "seen").read_text().splitlines()]
    assert [name for name in seen if name.startswith("SLURM_")] == ["SLURM_CONF"]
    assert os.environ["SLURM_NTASKS"] == "4", "the command itself keeps what it had"
    ((folder, _),) = submission.submissions(out)
    lines = (programs / "script").read_text().splitlines()
    (flag,) = (line for line in lines if line.startswith("#SBATCH --output="))
    assert shlex.split(flag.partition(" ")[2]) == [f"--output={folder}/%j_0_log.out"]
    (started,) = (line for line in lines if line.startswith("srun"))
    assert shlex.split(started)[-1] == str(folder)
