"""SIGKILL at any moment: after it the same command finishes, with the record and the weights of an undisturbed run.

Training, evaluation, writing of records, common networks and generation of streets are killed in forks of one process
(`fork_server`), most at exact moments drawn at random, some by the clock; `test_command.py` kills the command.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from dynroute_core.runs.common_networks import OPEN_PATHS
from dynroute_core.system.errors import EXIT_BLOCKED, EXIT_DONE
from support.fork_server import Attempt, ForkServer
from support.processes import assert_nothing_half_written, wait_for
from support.sample_tiny_runs import assert_same_run

pytestmark = pytest.mark.slow
SEED = 20_200_614
DONE = EXIT_DONE
SETTINGS = {
    "model.layers": "3",
    "train.iterations": "8",
    "train.checkpoint_every": "2",
    "train.log_every": "2",
    "data.workers": "0",
    "evaluate.backend": "torch",
}
DEADLINE_S = 300.0  # only what hangs meets it, on a busy machine too


@dataclass(frozen=True)
class Whole:
    """An undisturbed attempt. folder: of its run, or its streets; moments: that it passed; seconds: that it took."""

    attempt: Attempt
    folder: Path
    moments: tuple[str, ...]
    seconds: float


@pytest.fixture(scope="module")
def server() -> Iterator[ForkServer]:
    with ForkServer() as started:
        yield started


def undisturbed(server: ForkServer, attempt: Attempt, place: Path) -> Whole:
    attempt = replace(attempt, out=str(place / "whole"), said=str(place / "said"), passed=str(place / "passed"))
    began = time.monotonic()
    assert server.run(attempt) == DONE
    seconds = time.monotonic() - began
    folder = place / "whole"
    if attempt.row:
        (folder,) = (folder / attempt.row).iterdir()
    moments = (place / "passed").read_text().splitlines()
    return Whole(replace(attempt, passed=""), folder, tuple(moments), seconds)


@pytest.fixture(scope="module")
def run_of(server: ForkServer, smoke_streets: Path, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    attempt = Attempt(out="", said="", row="dynamic-a", data=str(smoke_streets), settings=SETTINGS)
    return undisturbed(server, attempt, tmp_path_factory.mktemp("run"))


def kill_once(server: ForkServer, whole: Whole, attempt: Attempt, rng: random.Random) -> bool:
    """Whether it was killed: at a random moment or, one time in four, by the clock; False where it finished before."""
    if rng.random() < 0.75:
        code = server.run(replace(attempt, moment=rng.randint(1, 2 * len(whole.moments) // 3)))
    else:
        pid, delay = server.start(attempt), rng.uniform(0, whole.seconds)
        time.sleep(delay)  # the random part of the test, not a wait for anything
        os.kill(pid, signal.SIGKILL)
        code = server.wait(pid)
    assert code in (-signal.SIGKILL, DONE), f"{code}: {said(attempt)}"
    return code != DONE


def said(attempt: Attempt) -> str:
    path = Path(attempt.said)
    return path.read_text() if path.exists() else "nothing"


def kill_in_chains(
    server: ForkServer,
    whole: Whole,
    place: Path,
    *,
    kills: int,
    seed: int,
    variants: tuple[dict[str, str], ...] = ({},),
) -> list[Path]:
    """Kills, resumes, kills again, at most six times in a row, and then lets it finish; the finished folders.

    variants: settings that cannot change a number, in turn.
    """
    print(f"seed {seed}, {len(whole.moments)} moments")
    rng, killed, ended = random.Random(seed), 0, []
    while killed < kills:
        out = place / str(len(ended))
        settings = (whole.attempt.settings or {}) | variants[len(ended) % len(variants)]
        attempt = replace(whole.attempt, out=str(out), said=str(place / "said"), settings=settings)
        for _ in range(min(6, kills - killed)):
            if not kill_once(server, whole, attempt, rng):
                break
            killed += 1
            assert_nothing_half_written(out)
        assert server.run(attempt) == DONE, said(attempt)
        ended.append(out)
    print(f"{killed} kills in {len(ended)} chains")
    return ended


def assert_ended_alike(whole: Whole, out: Path) -> None:
    assert whole.attempt.row
    (folder,) = (out / whole.attempt.row).iterdir()
    assert_same_run(folder, whole.folder)
    assert not [path for path in folder.rglob("*") if path.name.endswith(".tmp")]
    for path in [OPEN_PATHS, *(path.relative_to(whole.folder) for path in whole.folder.rglob("*.png"))]:
        assert (folder / path).exists() == (whole.folder / path).exists()
        if (folder / path).exists():
            assert (folder / path).read_bytes() == (whole.folder / path).read_bytes(), path
    assert scalars(folder) == scalars(whole.folder)


def scalars(folder: Path) -> list[tuple[int, float]]:
    events = EventAccumulator(str(folder / "events"))
    events.Reload()
    return [(event.step, event.value) for event in events.Scalars("train/loss")]


def test_training_evaluation_and_records_survive(server: ForkServer, run_of: Whole, tmp_path: Path) -> None:
    variants = ({}, {"data.workers": "1"}, {"train.checkpoint_every": "1"})
    for out in kill_in_chains(server, run_of, tmp_path, kills=28, seed=SEED, variants=variants):
        assert_ended_alike(run_of, out)


def test_a_common_network_survives(
    server: ForkServer, smoke_streets: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Its open paths are counted first, over the training images, by a finished run beside it."""
    place = tmp_path_factory.mktemp("source")
    source = Attempt(out=str(place / "whole"), said="", row="dynamic-c", data=str(smoke_streets), settings=SETTINGS)
    assert server.run(source) == DONE
    whole = undisturbed(server, replace(source, row="common-c"), place)
    for number in range(6):
        shutil.copytree(place / "whole" / "dynamic-c", tmp_path / str(number) / "dynamic-c")
    for out in kill_in_chains(server, whole, tmp_path, kills=6, seed=SEED + 1):
        assert_ended_alike(whole, out)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_generated_streets_survive(
    server: ForkServer, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    whole = undisturbed(server, Attempt(out="", said=""), tmp_path_factory.mktemp("streets"))
    for out in kill_in_chains(server, whole, tmp_path, kills=16, seed=SEED + 2):
        assert contents(out) == contents(whole.folder)


def group_is_gone(pid: int) -> bool:
    try:
        os.killpg(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_streets_workers_end_with_a_killed_generation(server: ForkServer, tmp_path: Path) -> None:
    """They are processes of their own, which would wait for another scene for ever."""
    attempt = Attempt(out=str(tmp_path / "set"), said=str(tmp_path / "said"), workers=2, scenes=24)
    pid = server.start(attempt)
    wait_for(lambda: list((tmp_path / "set").rglob("*.png")), "the first scene")
    os.kill(pid, signal.SIGKILL)
    assert server.wait(pid) == -signal.SIGKILL
    wait_for(lambda: group_is_gone(pid), "the end of the workers")
    assert server.run(replace(attempt, workers=1)) == DONE
    assert server.run(replace(attempt, workers=1, out=str(tmp_path / "fresh"))) == DONE
    assert contents(tmp_path / "set") == contents(tmp_path / "fresh")


@pytest.mark.parametrize("workers", ["0", "1"])
def test_of_two_at_work_on_a_run_one_says_so_and_the_lock_dies_with_its_holder(
    server: ForkServer, run_of: Whole, tmp_path: Path, workers: str
) -> None:
    """The first stands still in mid-training with the lock. With a data worker, which outlives it by seconds."""
    settings = SETTINGS | {"data.workers": workers}
    attempt = replace(run_of.attempt, out=str(tmp_path), said=str(tmp_path / "said"), settings=settings)
    first = server.start(replace(attempt, moment=len(run_of.moments) // 3, signal=signal.SIGSTOP))
    assert server.wait(first) == -signal.SIGSTOP
    assert server.run(attempt) == EXIT_BLOCKED
    assert "another process is at work on" in said(attempt)
    os.kill(first, signal.SIGKILL)
    assert server.wait(first) == -signal.SIGKILL
    assert server.run(attempt) == DONE, said(attempt)
    assert_ended_alike(run_of, tmp_path)


def test_of_two_that_generate_streets_one_waits(server: ForkServer, tmp_path: Path) -> None:
    attempt = Attempt(out=str(tmp_path / "set"), said=str(tmp_path / "said"))
    first = server.start(replace(attempt, moment=60, signal=signal.SIGSTOP))
    assert server.wait(first) == -signal.SIGSTOP
    second = server.start(attempt)
    wait_for(lambda: waits_for_a_lock(second), "the second's waiting")
    os.kill(first, signal.SIGCONT)
    assert [server.wait(pid) for pid in (first, second)] == [DONE, DONE], said(attempt)
    assert server.run(replace(attempt, out=str(tmp_path / "fresh"))) == DONE
    assert contents(tmp_path / "set") == contents(tmp_path / "fresh")


def waits_for_a_lock(pid: int) -> bool:
    """As the kernel lists it: `1: -> FLOCK ADVISORY WRITE <pid> ...`."""
    return any(line.split()[1] == "->" and str(pid) in line.split() for line in open("/proc/locks"))


def test_a_run_that_another_finished_meanwhile_is_reused(server: ForkServer, run_of: Whole, tmp_path: Path) -> None:
    """Planned as unfinished, but by the time it has the lock there is a record: nothing is done twice."""
    attempt = replace(run_of.attempt, out=str(tmp_path), said=str(tmp_path / "said"))
    before_lock = run_of.moments.index("before locked") + 1
    late = server.start(replace(attempt, moment=before_lock, signal=signal.SIGSTOP))
    assert server.wait(late) == -signal.SIGSTOP
    assert server.run(attempt) == DONE
    (folder,) = (tmp_path / "dynamic-a").iterdir()
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    os.kill(late, signal.SIGCONT)
    assert server.wait(late) == DONE, said(attempt)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()} == before
