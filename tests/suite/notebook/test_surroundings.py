"""Notebooks run where terminal, disk or user are not as on a developer's machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from dynroute_suite.notebook import document
from dynroute_suite.notebook.sandbox import LOG
from dynroute_suite.notebook.supervisor import DONE_NOTEBOOK, Job, Outcome, execute


def run(job: Job) -> Outcome:
    return execute(job, check=lambda: None, stamp=lambda: "stamp")


@pytest.mark.slow
def test_cells_print_what_the_terminal_cannot_show(job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "latin-1")
    made = job("print('λ')")
    assert run(made).state == "done"
    assert "λ" in (made.folder / LOG).read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_kernel_that_does_not_begin_in_time_is_told_with_what_may_help(
    job: Callable[..., Job], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = "import sys, time\nif any('ipykernel' in word for word in sys.orig_argv):\n    time.sleep(600)\n"
    (tmp_path / "sitecustomize.py").write_text(program)  # every Python process imports it first
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    outcome = run(job("pass", start_timeout_s=1))
    assert (outcome.state, outcome.error) == ("failed", "KernelStartError")
    assert "in 1 seconds" in outcome.message and "start fewer runs at once" in outcome.message


@pytest.mark.slow
def test_a_user_without_home_and_name_can_run(
    job: Callable[..., Job], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = "import pwd\ndef getpwuid(number):\n    raise KeyError(number)\npwd.getpwuid = getpwuid\n"
    (tmp_path / "sitecustomize.py").write_text(program)  # every Python process imports it first
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    for name in ("HOME", "USER", "LOGNAME"):
        monkeypatch.delenv(name, raising=False)
    made = job("import os, pwd\ntry:\n    pwd.getpwuid(os.getuid())\nexcept KeyError:\n    print('nobody')")
    outcome = run(made)
    assert (outcome.state, outcome.message) == ("done", "")
    (printed,) = document.read(made.folder / DONE_NOTEBOOK)["cells"][-1]["outputs"]
    assert printed["text"] == "nobody\n"
