"""SIGKILL to the command: alone, as its process group, or with everything it started, at random moments of a row's run.

After each the same command goes on, waits where it must for what still writes a checkpoint, and in the end leaves the
record, the weights and the notebook of an undisturbed run.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from dynroute_core.experiments import experiment, with_settings
from dynroute_core.runs.pipeline import run
from dynroute_core.runs.plan import plan
from dynroute_core.runs.record import CHECKPOINT, PLAN, RECORD
from dynroute_core.system.errors import EXIT_BLOCKED
from dynroute_suite.notebook.row import is_fresh
from support.processes import assert_nothing_half_written, wait_for
from support.sample_tiny_runs import assert_same_run

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[3]
SEED = 7_2020
SETTINGS = {
    "model.layers": "3",
    "train.iterations": "40",
    "train.checkpoint_every": "4",
    "train.log_every": "4",
    "evaluate.backend": "torch",
}
# What the command is waited for to write, and by how many seconds at most it is then killed later.
KILLS: tuple[tuple[str, float, str], ...] = (
    (PLAN, 0.5, "all"),
    (CHECKPOINT, 0.3, "alone"),
    ("", 3.0, "all"),
    (CHECKPOINT, 0.3, "all"),
    ("", 4.0, "alone"),
    (RECORD, 0.5, "group"),
    (RECORD, 2.0, "all"),
)


@dataclass(frozen=True)
class Process:
    """A process as the system knows it: its number alone may be somebody else's later."""

    pid: int
    started: str

    @classmethod
    def of(cls, pid: int) -> Process:
        return cls(pid, _stat(pid)[19])

    def is_gone(self) -> bool:
        try:
            fields = _stat(self.pid)
        except OSError:
            return True
        return fields[0] == "Z" or fields[19] != self.started


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state on."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def family(pid: int) -> list[Process]:
    """A process and everything that it started, the eldest first."""
    parents: dict[int, list[int]] = {}
    for path in Path("/proc").iterdir():
        if path.name.isdigit():
            try:
                parents.setdefault(int(_stat(int(path.name))[1]), []).append(int(path.name))
            except OSError:
                continue
    found = [pid]
    for each in found:
        found += parents.get(each, [])
    members = []
    for each in found:
        try:
            members.append(Process.of(each))
        except OSError:
            continue
    return members


class Command:
    """`reproduce.py` on the row, with temporary files and session of its own."""

    def __init__(self, streets: Path, out: Path, temporary: Path) -> None:
        changes = [f"{name}={value}" for name, value in SETTINGS.items()]
        words = ["--row", "dynamic-a", "--profile", "smoke", "--device", "cpu", "--data", f"streets={streets}"]
        self.process = subprocess.Popen(
            [sys.executable, "reproduce.py", *words, "--out", str(out), "--set", *changes],
            cwd=ROOT,
            env=os.environ | {"TMPDIR": str(temporary), "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def kill(self, whom: str) -> list[Process]:
        """Kills it, its group, or all; gives all."""
        members = family(self.process.pid)
        if whom == "group":
            os.killpg(self.process.pid, signal.SIGKILL)
        for member in members if whom == "all" else members[:1]:
            if not member.is_gone():
                os.kill(member.pid, signal.SIGKILL)
        self.end()
        return members

    def end(self) -> tuple[int, str]:
        """Exit code and what it said."""
        said, _ = self.process.communicate(timeout=300)
        return self.process.returncode, said


@pytest.fixture
def temporary() -> Iterator[Path]:
    """Where the command has its scratch folders: short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="dr-test-", dir="/tmp", ignore_cleanup_errors=True) as name:
        yield Path(name)


def test_the_command_survives_its_kills(
    smoke_streets: Path, tmp_path: Path, temporary: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    print(f"seed {SEED}")
    rng = random.Random(SEED)
    chosen = with_settings(experiment("dynamic-a", profile="smoke"), SETTINGS)
    whole = run(chosen, data_root=smoke_streets, out=tmp_path_factory.mktemp("whole"), device="cpu").folder
    out = tmp_path / "runs"
    folder = plan(chosen, data_root=smoke_streets, out=out).folder
    left: list[Process] = []
    for number, (name, later, whom) in enumerate(KILLS):
        written = modified(folder / name)
        command = Command(smoke_streets, out, temporary)
        if name and not (folder / RECORD).exists():  # else only the notebook is left to be killed
            wait_for(lambda: command.process.poll() is not None or modified(folder / name) > written, name)  # noqa: B023
        time.sleep(rng.uniform(0, later))  # the random part of the test, not a wait for anything
        if number == 0:
            assert_another_says_so(command, smoke_streets, out, temporary)
        while command.process.poll() is not None:  # it was faster than the kill: its end is taken back
            code, said = command.end()
            assert code == 0, said
            (folder / RECORD).unlink()
            later /= 2
            assert later > 0.1, said
            command = Command(smoke_streets, out, temporary)
            time.sleep(rng.uniform(0, later))
        left += command.kill(whom)
        assert_nothing_half_written(folder)
    code, said = Command(smoke_streets, out, temporary).end()
    assert code == 0, said
    assert_same_run(folder, whole)
    assert is_fresh(plan(chosen, data_root=smoke_streets, out=out))
    assert not (folder / "failed.ipynb").exists()
    assert not [path for path in folder.rglob("*") if path.name.endswith(".tmp")]
    wait_for(lambda: all(process.is_gone() for process in left), "the end of every process that was left")
    assert not list(temporary.iterdir())


def modified(path: Path) -> int:
    return path.stat().st_mtime_ns if path.is_file() else 0


def assert_another_says_so(command: Command, streets: Path, out: Path, temporary: Path) -> None:
    """While the first stands still, it is at work."""
    command.process.send_signal(signal.SIGSTOP)
    code, said = Command(streets, out, temporary).end()
    assert code == EXIT_BLOCKED, said
    assert "another process is at work on" in said
    assert "Traceback" not in said
