"""Several rows of one command, with stand-ins for the runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from dynroute_core.experiments import Experiment
from dynroute_core.runs.plan import RunPlan
from dynroute_core.system.errors import (
    EXIT_BLOCKED,
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    BlockedError,
    DynrouteError,
)
from dynroute_suite.command import run
from dynroute_suite.notebook.row import Options
from dynroute_suite.notebook.supervisor import Outcome
from support.commands import SMOKE, call


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[dict[str, object]], list[str]]:
    """Replaces the runs: endings by row, each an Outcome or an error. Gives the list in which runs are noted."""

    def use(endings: dict[str, object]) -> list[str]:
        ran: list[str] = []

        def plan(experiment: Experiment, *, data_root: Path, out: Path, force: bool) -> RunPlan:
            if isinstance(ending := endings.get(f"plan {experiment.row}"), DynrouteError):
                raise ending
            return RunPlan(tmp_path / experiment.row, "0" * 64, False, "there is no record yet")

        def run_row(experiment: Experiment, plan: RunPlan, options: Options) -> Outcome:
            ran.append(experiment.row)
            if isinstance(ending := endings[experiment.row], DynrouteError):
                raise ending
            assert isinstance(ending, Outcome)
            return ending

        monkeypatch.setattr(run, "plan", plan)
        monkeypatch.setattr(run, "run_row", run_row)
        return ran

    return use


FAILED = Outcome(
    state="failed",
    exit_code=EXIT_FAILED,
    error="ValueError",
    message="ValueError: odd",
    notebook=None,
    interrupted=False,
    seconds=1.0,
)

STOPPED = replace(FAILED, state="interrupted", exit_code=EXIT_INTERRUPTED, message="stopped by you.", interrupted=True)

A_AND_B = ("--row", "dynamic-a", "--row", "dynamic-b", "--row", "dynamic-a", *SMOKE, "--json")


def states(shown: str) -> dict[str, str]:
    return {row["row"]: row["state"] for row in json.loads(shown)["rows"]}


def test_a_failed_row_stops_the_command(stand_in: Callable[..., list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    ran = stand_in({"dynamic-a": FAILED})
    assert call(*A_AND_B) == EXIT_FAILED
    shown = capsys.readouterr()
    assert ran == ["dynamic-a"]
    assert states(shown.out) == {"dynamic-a": "failed", "dynamic-b": "not started"}
    assert "dynamic-a: ValueError: odd" in shown.err
    assert "the same command tries again" in shown.err


def test_keep_going_runs_every_row_and_reports_the_worst(
    stand_in: Callable[..., list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    ran = stand_in({"dynamic-a": FAILED, "dynamic-b": BlockedError("no weights.")})
    assert call(*A_AND_B, "--keep-going") == EXIT_FAILED
    assert ran == ["dynamic-a", "dynamic-b"]
    assert states(capsys.readouterr().out) == {"dynamic-a": "failed", "dynamic-b": "blocked"}


def test_what_is_blocked_shows_before_anything_runs(
    stand_in: Callable[..., list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    endings = {"dynamic-a": FAILED, "plan dynamic-b": BlockedError("no data.")}
    ran = stand_in(endings)
    assert call(*A_AND_B) == EXIT_BLOCKED
    assert ran == []
    assert call(*A_AND_B, "--dry-run", "--keep-going") == EXIT_BLOCKED
    capsys.readouterr()
    ran = stand_in(endings)
    assert call(*A_AND_B, "--keep-going") == EXIT_FAILED
    assert ran == ["dynamic-a"]
    assert states(capsys.readouterr().out) == {"dynamic-a": "failed", "dynamic-b": "blocked"}


def test_a_common_network_is_planned_after_its_source_has_run(
    stand_in: Callable[..., list[str]], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("--row", "common-a", "--row", "dynamic-a", *SMOKE, "--json")
    noted = stand_in({"dynamic-a": FAILED, "common-a": FAILED})
    plan = run.plan

    def noting(experiment: Experiment, **how: object) -> RunPlan:
        noted.append(f"plan {experiment.row}")
        return plan(experiment, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(run, "plan", noting)
    assert call(*words, "--keep-going") == EXIT_FAILED
    assert noted == ["plan dynamic-a", "dynamic-a", "plan common-a", "common-a"]
    noted.clear()
    assert call(*words) == EXIT_FAILED
    assert noted == ["plan dynamic-a", "dynamic-a"]
    shown = capsys.readouterr().out
    assert states(shown[shown.rindex('{\n "exit_code"') :]) == {"dynamic-a": "failed", "common-a": "not started"}


def test_an_interrupt_stops_even_with_keep_going(
    stand_in: Callable[..., list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    ran = stand_in({"dynamic-a": STOPPED})
    assert call(*A_AND_B, "--keep-going") == EXIT_INTERRUPTED
    assert ran == ["dynamic-a"]
    assert states(capsys.readouterr().out) == {"dynamic-a": "interrupted", "dynamic-b": "not started"}


@pytest.mark.parametrize(
    ("quota", "threads", "said"),
    [(2.0, 8, "OMP_NUM_THREADS=2"), (0.5, 2, "OMP_NUM_THREADS=1"), (1.5, 2, ""), (None, 8, "")],
)
def test_more_threads_than_a_container_may_run_are_told(
    quota: float | None,
    threads: int,
    said: str,
    stand_in: Callable[[dict[str, object]], list[str]],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stand_in({"dynamic-c": FAILED})
    monkeypatch.setattr(run, "processor_quota", lambda: quota)
    monkeypatch.setattr(run.torch, "get_num_threads", lambda: threads)
    assert call("--row", "dynamic-c", *SMOKE) == EXIT_FAILED
    shown = capsys.readouterr().out
    assert said in shown and ("OMP_NUM_THREADS" in shown) is bool(said)
