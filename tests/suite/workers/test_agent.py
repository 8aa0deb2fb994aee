"""Runs by two processes through the elastic agent: one record, workers that die, errors, interruptions."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from dynroute_core.checkpoint import load_snapshot
from dynroute_core.distributed import team_device
from dynroute_core.experiments import Experiment, experiment, with_settings
from dynroute_core.nonfinite import NonFiniteLossError
from dynroute_core.runs.pipeline import FinishedRun, RunProgress
from dynroute_core.runs.record import CHECKPOINT, RECORD, read_curve, read_record
from dynroute_core.system.errors import EXIT_BLOCKED, EXIT_INTERRUPTED, DynrouteError, UsageError
from dynroute_suite.workers import agent
from support.commands import DEADLINE_S, SMOKE, interrupt, start
from support.processes import is_gone, wait_for
from support.sample_tiny_runs import TINY, assert_same_run

ROOT = Path(__file__).resolve().parents[3]
# What a worker of the first attempt does to itself: sitecustomize is imported as Python starts.
HOOK = """
import os, signal, sys
if os.environ.get("TORCHELASTIC_RESTART_COUNT") == "0" and os.environ.get("RANK") == "{rank}":
    import {module} as module
    before, calls = {holder}.{name}, 0
    def dies(*given, **named):
        global calls
        calls += 1
        if calls == {call}:
            os.kill(os.getpid(), signal.SIGKILL)
        return before(*given, **named)
    {holder}.{name} = dies
"""


@pytest.fixture
def dies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Makes one worker end by SIGKILL as it calls a function for the so-manieth time."""

    def arrange(*, rank: int, module: str, function: str, call: int) -> None:
        holder, _, name = f"module.{function}".rpartition(".")
        hook = HOOK.format(rank=rank, module=module, holder=holder, name=name, call=call)
        (tmp_path / "sitecustomize.py").write_text(hook)
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), str(ROOT), os.environ.get("PYTHONPATH", "")]))

    return arrange


@pytest.fixture(scope="module")
def tiny() -> Experiment:
    return with_settings(experiment("dynamic-a", profile="smoke"), TINY)


@pytest.fixture(scope="module")
def finished(
    tiny: Experiment, smoke_streets: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[FinishedRun, list[RunProgress]]:
    said: list[RunProgress] = []
    out = tmp_path_factory.mktemp("two")
    return agent.run(tiny, data_root=smoke_streets, out=out, device="cpu", processes=2, report=said.append), said


@pytest.mark.slow
def test_two_processes_leave_one_record(
    finished: tuple[FinishedRun, list[RunProgress]], tiny: Experiment, smoke_streets: Path
) -> None:
    run, said = finished
    record = read_record(run.folder / RECORD)
    assert record.machine.processes == (2,)
    assert record.training.iterations == 8 and len(record.images) == 3
    assert [point.iteration for point in read_curve(run.folder / "curve.csv")] == [1, 3, 5, 7]
    last = {progress.phase: (progress.done, progress.total) for progress in said}
    assert last["train"] == (8, 8) and last["evaluate"] == (3, 3)
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    # The number of processes is no setting: one process finds the record.
    again = agent.run(tiny, data_root=smoke_streets, out=run.folder.parents[1], device="cpu")
    assert again.reused and again.record == record
    again = agent.run(tiny, data_root=smoke_streets, out=run.folder.parents[1], device="cpu", processes=2)
    assert again.reused and again.record == record
    assert handlers == [signal.default_int_handler, signal.SIG_DFL]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rank", "module", "function", "call"),
    [
        (1, "dynroute_core.train", "Trainer._backward", 6),  # checkpoints are written at 3, 6 and 8
        (0, "dynroute_core.system.files", "os.replace", 4),  # plan, curve, checkpoint, and then the curve at 6
    ],
)
def test_a_killed_worker_changes_nothing(rank, module, function, call, finished, tiny, smoke_streets, tmp_path, dies):
    dies(rank=rank, module=module, function=function, call=call)
    run = agent.run(tiny, data_root=smoke_streets, out=tmp_path / "runs", device="cpu", processes=2)
    assert_same_run(run.folder, finished[0].folder)
    assert run.record.training.resumed_at == (3,)
    assert not list(run.folder.glob(".*.tmp"))


@pytest.mark.slow
def test_workers_that_die_every_time_are_given_up(tiny, smoke_streets, tmp_path, dies):
    dies(rank=1, module="dynroute_core.train", function="Trainer._backward", call=1)
    with pytest.raises(DynrouteError, match="worker processes died 1 times"):
        agent.run(tiny, data_root=smoke_streets, out=tmp_path / "runs", device="cpu", processes=2, max_restarts=0)


@pytest.mark.slow
def test_a_loss_that_is_not_finite_ends_the_run_as_in_one_process(tiny, smoke_streets, tmp_path):
    wild = with_settings(tiny, {"train.lr": "1e30", "train.clip_norm": "1e30"})
    with pytest.raises(NonFiniteLossError, match=r"iteration \d+ \(files: [^)]*, "):
        agent.run(wild, data_root=smoke_streets, out=tmp_path, device="cpu", processes=2)


@pytest.mark.slow
def test_another_number_of_processes_goes_on_and_is_recorded(tiny, smoke_streets, tmp_path):
    def stop(progress: RunProgress) -> None:
        if progress.phase == "train" and progress.done >= 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        agent.run(tiny, data_root=smoke_streets, out=tmp_path, device="cpu", report=stop)
    run = agent.run(tiny, data_root=smoke_streets, out=tmp_path, device="cpu", processes=2)
    assert run.record.machine.processes == (1, 2)
    assert run.record.training.resumed_at == (3,)


# --- through the command line ----------------------------------------------------------------------------------------


def workers_of(pid: int) -> list[int]:
    """The processes below a process that are workers: each is in a session of its own, so only parents lead to them."""
    found = []
    waiting = [pid]
    while waiting:
        here = waiting.pop()
        for path in Path("/proc").glob("[0-9]*/stat"):
            try:
                state, parent = path.read_text().rpartition(")")[2].split()[:2]
                words = (path.parent / "cmdline").read_bytes()
            except OSError:
                continue
            if int(parent) == here and state != "Z":
                waiting.append(int(path.parent.name))
                found += [waiting[-1]] * (b"dynroute_suite.workers.worker" in words)
    return found


@pytest.mark.slow
def test_an_interrupt_ends_all_workers_after_a_checkpoint(tmp_path: Path) -> None:
    settings = ("model.layers=3", "train.iterations=4000", "train.checkpoint_every=4000", "train.log_every=1")
    words = ("--row", "dynamic-c", *SMOKE, "--procs", "2", "--out", str(tmp_path), "--json", "--set", *settings)
    process = start(*words)
    seen: list[int] = []

    def at_work() -> bool:
        events = list(tmp_path.glob("dynamic-c/*/events/*"))
        seen[:] = workers_of(process.pid) if events else []
        return len(seen) == 2

    out, err = interrupt(process, signal.SIGINT, at_work)
    (row,) = json.loads(out)["rows"]
    assert (row["state"], row["exit_code"], process.returncode) == (
        "interrupted",
        EXIT_INTERRUPTED,
        EXIT_INTERRUPTED,
    ), err
    folder = Path(row["folder"])
    facts = load_snapshot(folder / CHECKPOINT).facts
    assert 0 < facts["iteration"] < 4000 and facts["processes"] == [2]
    assert not (folder / RECORD).exists()
    for pid in seen:
        wait_for(lambda pid=pid: is_gone(pid), f"the end of worker {pid}")


@pytest.mark.slow
def test_broken_data_keep_their_exit_code_through_agent_and_kernel(smoke_streets: Path, tmp_path: Path) -> None:
    """The image is read by one worker alone, in training; its header is whole."""
    data = tmp_path / "streets"
    shutil.copytree(smoke_streets, data)
    broken = sorted(data.glob("leftImg8bit/train/*/*.png"))[0]
    broken.write_bytes(broken.read_bytes()[:-200])
    words = ("--row", "dynamic-c", *SMOKE, "--procs", "2", "--out", str(tmp_path / "runs"), "--json")
    process = start(*words, "--data", f"streets={data}")
    out, err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == EXIT_BLOCKED, err
    (row,) = json.loads(out)["rows"]
    assert row["state"] == "blocked"
    assert row["message"].startswith(f"{broken} ") and "Restore it" in row["message"]
    assert "Traceback" not in err and "DataError" not in row["message"]


AGENT = """
import sys
from pathlib import Path
from dynroute_core.experiments import experiment, with_settings
from dynroute_suite.workers import agent
settings = {"model.layers": "3", "train.iterations": "100000", "train.log_every": "1"}
agent.run(with_settings(experiment("dynamic-a", profile="smoke"), settings), data_root=Path(sys.argv[1]),
            out=Path(sys.argv[2]), device="cpu", processes=2, report=lambda seen: print(seen.phase, flush=True))
"""


@pytest.mark.slow
def test_a_killed_agent_leaves_no_worker(smoke_streets: Path, tmp_path: Path) -> None:
    words = [sys.executable, "-c", AGENT, str(smoke_streets), str(tmp_path)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(words, stdout=subprocess.PIPE, cwd=ROOT, env=environment, text=True) as agent:
        assert agent.stdout is not None
        while "train" not in agent.stdout.readline():
            assert agent.poll() is None
        pids = workers_of(agent.pid)
        assert len(pids) == 2
        agent.kill()
    for pid in pids:
        wait_for(lambda pid=pid: is_gone(pid), f"the end of worker {pid}")


# --- what cannot be --------------------------------------------------------------------------------------------------


def test_more_gpus_than_there_are(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert team_device("cuda", 2) == team_device("auto", 2) == "cuda"
    assert team_device("cpu", 7) == "cpu"
    with pytest.raises(UsageError, match=r"3 processes need a GPU each, and torch sees 2\. Give --gpus 2"):
        team_device("cuda", 3)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(UsageError, match="torch sees none"):
        team_device("cuda", 1)
    for device, processes in (("cpu", 0), ("cuda:1", 2), ("tpu", 2)):
        with pytest.raises(UsageError, match="give at least 1, and cpu, cuda or auto"):
            team_device(device, processes)


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs: nccl between processes has not been run")
def test_two_gpus_give_the_record_of_one(tiny, smoke_streets, tmp_path):
    """Written, but never run where this was written: there was no GPU."""
    gentle = with_settings(tiny, {"train.lr": "0.001"})
    runs = [
        agent.run(gentle, data_root=smoke_streets, out=tmp_path / str(n), device="cuda", processes=n) for n in (1, 2)
    ]
    curves = [read_curve(run.folder / "curve.csv") for run in runs]
    for one, two in zip(*curves, strict=True):
        assert two.loss == pytest.approx(one.loss, rel=1e-3)  # sums in another order, over eight steps
        assert two.expected_macs == pytest.approx(one.expected_macs, rel=1e-3)
    assert runs[1].record.machine.processes == (2,)
    assert runs[1].record.machine.device == "cuda"
