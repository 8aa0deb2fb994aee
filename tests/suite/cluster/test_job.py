"""The work of a job: its pickle, its answers, and what becomes of it when it is put back into the queue."""

from __future__ import annotations

import json
import os
import pickletools
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from dynroute_suite.cluster import job
from dynroute_suite.cluster.job import Command, JobFailedError, RowJob

pytest.importorskip("submitit")


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
    job._times_at_start.clear()
    for start in range(1, job.MAX_IDLE):
        back = work.checkpoint()
        assert back is not None
        work = back.function
        assert work.idle == start
    checkpoint.touch()
    back = work.checkpoint()
    assert back is not None and back.function.idle == 0, "it came further"
    checkpoint.unlink()
    assert work.checkpoint() is None
    assert "more time" in json.loads((tmp_path / "answer.json").read_text())["message"]
