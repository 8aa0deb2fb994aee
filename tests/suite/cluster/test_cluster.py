"""Runs handed over: options, what is submitted and what is not, killed submissions, --status; and submitit's local
executor at work."""

from __future__ import annotations

import fcntl
import json
import os
import pickletools
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from dynroute_core.runs.finished import experiment_of
from dynroute_core.runs.record import PLAN, RECORD, read_record, write_record
from dynroute_core.system.errors import EXIT_BLOCKED, EXIT_DONE, EXIT_USAGE
from dynroute_core.system.strict_json import to_json
from dynroute_suite.cluster import job, submission
from dynroute_suite.cluster import queue as cluster_queue
from dynroute_suite.cluster import submit as cluster
from dynroute_suite.cluster.job import Command, JobFailedError, RowJob
from dynroute_suite.cluster.submission import RunName, Submission, Task
from dynroute_suite.command import cluster_options
from dynroute_suite.command.session import again, open_session, parser
from dynroute_suite.command.summary import seeds_text
from dynroute_suite.notebook.document import OWN, failure_of
from dynroute_suite.notebook.sandbox import LOG, is_at_work
from dynroute_suite.status.runs import RunStatus, statuses
from support.handed_runs import SHORT, SMOKE, answered, call, checkpointed, facts, spoil, states, whole
from support.processes import wait_for
from support.sample_records import sample_record

ROOT = Path(__file__).resolve().parents[3]

pytest.importorskip("submitit")


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


# Refusals


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--seeds 0", "--seeds 0: give a whole number"),
        ("--seeds 2 --set seed=3", "no --set seed=... beside"),
        ("--seeds 0 --status", "--seeds 0: give a whole number"),
        ("--cluster pbs", "invalid choice: 'pbs'"),
        ("--cluster local --force", "would start anew each time"),
        ("--cluster-option partition=gpu", "--cluster-option is of --cluster"),
        ("--cluster local --cluster-option partition", "give KEY=VALUE"),
        ("--cluster slurm --cluster-option partitoin=gpu", "Did you mean 'partition'"),
        ("--cluster slurm --cluster-option nodes=2", "unknown option of --cluster slurm 'nodes'"),
        ("--cluster local --cluster-option timeout_mins=1", "Did you mean 'timeout_min'"),
        ("--cluster local --cluster-option timeout_min=soon", "whole number of at least 1"),
        ("--cluster local --cluster-option timeout_min=5 timeout_min=6", "given twice"),
        ("--cluster local --cluster-option timeout_min=1", "told to stop before it begins"),
        ("--cluster local --cluster-option setup=module", "JSON list of shell commands"),
    ],
)
def test_what_cannot_be_submitted_is_said_in_one_message(
    words: str, said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_options.shutil, "which", lambda name: name)
    assert call("--row", "dynamic-c", *SMOKE, "--out", tmp_path / "runs", *words.split()) == EXIT_USAGE
    shown = capsys.readouterr()
    assert said in shown.err
    assert "Traceback" not in shown.err
    assert not (tmp_path / "runs").exists()


def test_a_cluster_that_is_not_here_blocks(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("--row", "dynamic-c", *SMOKE, "--out", tmp_path, "--cluster", "slurm")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert call(*words) == EXIT_BLOCKED
    assert "sbatch is not on this machine" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "submitit", None)
    assert call(*words) == EXIT_BLOCKED
    assert "needs submitit" in capsys.readouterr().err


# What a job is


def test_a_job_calls_for_its_rows_and_seed_and_keeps_everything_else() -> None:
    words = "--all --seed 3 --seeds 2 --profile smoke --set train.lr=0.1 data.workers=0 --timeout 5 --out o"
    more = "--data streets=d --route static-unet --cluster slurm --cluster-option partition=gpu --keep-going --json"
    given = parser("").parse_args([*words.split(), *more.split()])
    made = parser("").parse_args(again(given, ["dynamic-a", "common-a"], 4))
    assert (made.row, made.seed, made.seeds, made.json) == (["dynamic-a", "common-a"], 4, 1, True)
    assert (made.all, made.cluster, made.cluster_option, made.keep_going) == (False, "", [], False)
    kept = set(vars(given)) - {"row", "all", "seed", "seeds", "cluster", "cluster_option", "keep_going", "json"}
    assert {name: getattr(made, name) for name in kept} == {name: getattr(given, name) for name in kept}


def test_the_pickle_of_a_job_names_its_classes_and_holds_strings() -> None:
    """Nothing of a run is pickled: loading needs this package, and imports nothing else."""
    import cloudpickle

    work = RowJob(commands=(Command(words=("--row", "dynamic-c"), answer="/a.json"),), here="/", patience_s=1.0)
    every = list(pickletools.genops(cloudpickle.dumps(work, protocol=2)))
    named = {str(argument) for opcode, argument, _ in every if opcode.name == "GLOBAL"}
    assert {name.rsplit(" ", 1)[0] for name in named} <= {
        "dynroute_suite.cluster.job",
        "copyreg",
        "builtins",
        "__builtin__",
    }


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], RowJob]:
    """Makes jobs that call a small program in reproduce.py's place."""

    def make(source: str, calls: int = 1) -> RowJob:
        path = tmp_path / "program.py"
        path.write_text(source)
        monkeypatch.setattr(job, "PROGRAM", path)
        commands = tuple(Command(words=(str(n),), answer=str(tmp_path / f"{n}.json")) for n in range(calls))
        return RowJob(commands=commands, here=str(tmp_path), patience_s=60.0)

    return make


def test_a_job_leaves_answers_and_goes_on_after_one_that_failed(program: Callable[..., RowJob], tmp_path: Path) -> None:
    work = program("import os, sys\nprint('answer', sys.argv[1], os.getcwd())\nsys.exit(3 * (sys.argv[1] == '0'))", 2)
    with pytest.raises(JobFailedError, match="exit codes 3, 0"):
        work()
    for number in (0, 1):
        assert (tmp_path / f"{number}.json").read_text() == f"answer {number} {tmp_path}\n"
    assert not list(tmp_path.glob(".*.part"))


def test_a_job_that_is_put_back_first_waits_for_its_checkpoint(program: Callable[..., RowJob], tmp_path: Path) -> None:
    """SIGUSR2 reaches every process of a job: the command must not die of it, but stop at our SIGTERM, in its time."""
    source = """
import os, pathlib, signal, sys, time
def stop(*_):
    time.sleep(0.5)
    pathlib.Path("checkpoint").touch()
    sys.exit(130)
signal.signal(signal.SIGTERM, stop)
os.kill(os.getpid(), signal.SIGUSR2)
pathlib.Path("mark").touch()
while True: time.sleep(0.1)
"""
    work = program(source)
    found: list[object] = []

    def told(*_: object) -> None:
        found.append(work.checkpoint().function)
        assert (tmp_path / "checkpoint").exists()
        raise SystemExit

    before = signal.signal(signal.SIGUSR2, told)
    try:
        wake = f"""
import os, pathlib, signal, time
while not pathlib.Path("mark").exists(): time.sleep(0.05)
os.kill({os.getpid()}, signal.SIGUSR2)
"""
        with subprocess.Popen([sys.executable, "-c", wake], cwd=tmp_path), pytest.raises(SystemExit):
            work()
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert found == [replace(work, idle=1)], "there was no checkpoint of a row"


def test_a_job_that_comes_no_further_is_not_put_back_for_ever(tmp_path: Path) -> None:
    checkpoint = tmp_path / "dynamic-c" / "smoke-streets-seed0-00000000" / "checkpoint.safetensors"
    checkpoint.parent.mkdir(parents=True)
    folders = (f"{tmp_path}/dynamic-c/*-seed0-*",)
    command = Command(words=(), answer=str(tmp_path / "answer.json"), folders=folders)
    work = RowJob(commands=(command,), here=str(tmp_path), patience_s=1.0)
    job._found.clear()
    for start in range(1, job.MAX_IDLE):
        again_ = work.checkpoint()
        assert again_ is not None
        work = again_.function
        assert work.idle == start
    checkpoint.touch()
    again_ = work.checkpoint()
    assert again_ is not None and again_.function.idle == 0, "it came further"
    checkpoint.unlink()
    assert work.checkpoint() is None
    assert "more time" in json.loads((tmp_path / "answer.json").read_text())["message"]


# What is submitted


@dataclass
class Queue:
    """A stand-in for SLURM: what was handed over, and what squeue says."""

    handed: list[list[RowJob]]
    asked: list[list[str]]
    lines: str = ""
    trouble: BaseException | None = None


@pytest.fixture
def queue(monkeypatch: pytest.MonkeyPatch) -> Queue:
    made = Queue([], [])

    @dataclass
    class Job:
        job_id: str

    class Executor:
        def submit_array(self, work: list[RowJob]) -> list[Job]:
            if made.trouble:
                raise made.trouble
            made.handed.append(work)
            return [Job(f"7_{index}") for index in range(len(work))]

    def ask(words: list[str]) -> str:
        made.asked.append(words)
        return made.lines if words[0] == "squeue" else ""

    monkeypatch.setattr(cluster_options.shutil, "which", lambda name: name)
    monkeypatch.setattr(cluster, "executor", lambda *_: Executor())
    monkeypatch.setattr(cluster_queue, "ask", ask)
    return made


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


# --seeds and --status without a cluster


def test_seeds_are_runs_of_their_own_and_a_common_network_follows_its_own_seed() -> None:
    words = ["--row", "common-a", "--row", "dynamic-a", "--seed", "2", "--seeds", "2", *SMOKE]
    session = open_session(parser("").parse_args(words))
    made = [(each.row, each.seed) for each in session.experiments]
    assert made == [("dynamic-a", 2), ("common-a", 2), ("dynamic-a", 3), ("common-a", 3)]
    assert [session.source(each) for each in session.experiments] == [
        source for first in (0, 2) for source in (None, session.experiments[first])
    ]
    assert session.name(session.experiments[3]) == "common-a seed 3"


def test_mean_and_spread_are_those_of_runs_alike() -> None:
    one = sample_record(row="dynamic-c", profile="smoke")
    miou = (30.0, 34.0)
    runs = [
        replace(one, seed=seed, config=one.config | {"seed": seed}, metrics=replace(one.metrics, miou_percent=percent))
        for seed, percent in enumerate(miou)
    ]
    other = replace(one, config=one.config | {"seed": 5, "evaluate": {"flip": True}}, seed=5)
    lines = seeds_text([*runs, other]).splitlines()
    assert len(lines) == 3, "a setting with one seed has no spread"
    assert lines[1].split()[3:6] == ["2", "32.0", "2.83"]  # |30 − 34|/√2
    assert lines[1].split()[-2:] == ["0,", "1"]
    assert seeds_text([other]) == ""


def test_common_networks_of_other_seeds_are_alike_whatever_paths_they_found() -> None:
    one = replace(sample_record(row="dynamic-a", profile="smoke"), row="common-a")
    model = one.config["model"]
    assert isinstance(model, dict)
    along = [f"{layer}.0>keep" for layer in range(model["layers"])]
    below = ["init>down", *(f"{layer}.1>keep" for layer in range(model["layers"]))]
    runs = []
    for seed, paths in enumerate((["init>keep", *along], below)):
        fixed = model | {"gate": "none", "paths": paths}
        own = {"seed": seed, "model": fixed, "common": {"source": "dynamic-a", "source_key": f"{seed}" * 64}}
        runs.append(replace(one, seed=seed, config=one.config | own))
        experiment_of(runs[-1])
    assert seeds_text(runs).splitlines()[1].split()[3] == "2"


def test_settings_of_another_version_count_as_they_stand() -> None:
    one = sample_record(row="dynamic-c", profile="smoke")
    model = one.config["model"]
    assert isinstance(model, dict)
    unknown = [
        replace(one, seed=seed, config=one.config | {"seed": seed, "model": model | {"gate": gate}})
        for seed, gate in enumerate(("newer", "newer", "other"))
    ]
    lines = seeds_text(unknown).splitlines()
    assert len(lines) == 3 and lines[1].split()[-2:] == ["0,", "1"]


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


def test_looking_at_a_lock_is_no_reason_for_a_run_to_fail(tmp_path: Path) -> None:
    from dynroute_suite.notebook.sandbox import open_log

    assert not is_at_work(tmp_path)
    with open_log(tmp_path):
        assert is_at_work(tmp_path)
    (tmp_path / ".lock").touch()
    assert not is_at_work(tmp_path)


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


# submitit's local executor, at work: seconds per run


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
        for pid in cluster_queue.local_processes(folder):
            os.kill(pid, signal.SIGINT)
    found = states(tmp_path)
    assert found[0].state == "done"
    assert read_record(Path(found[0].record)).training.resumed_at
    assert facts(Path(found[0].record)) == whole(0, tmp_path / "whole")
    assert "is not a readable checkpoint" in found[1].message
    assert Path(found[1].log).stat().st_size > 0
    assert failure_of(Path(found[1].folder) / "failed.ipynb") is not None
    assert to_json(made)  # the file can be read back and written again
