"""One thread for every test, and in every process that a test starts: sums come in one order, so results repeat bit for
bit, small models run fastest, and no thread spins for one that a busy neighbour keeps from running."""

from __future__ import annotations

import os
from pathlib import Path

import hypothesis
import pytest
import torch

from dynroute_core.experiments import Experiment
from dynroute_core.runs.finished import FinishedRun
from support.sample_tiny_runs import TINY

torch.set_num_threads(1)
os.environ["OMP_NUM_THREADS"] = "1"
# The same examples every time, and none refused because the machine was busy; nothing is kept on disk.
hypothesis.settings.register_profile("repeatable", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("repeatable")


def pytest_sessionstart(session: pytest.Session) -> None:
    """Says on what it runs: results in float32 depend on it. (`pytest_report_header` would be silent under -q.)"""
    from dynroute_core.system.machine import device_name
    from dynroute_kernels import BuildError, instruction_sets

    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or hasattr(session.config, "workerinput"):
        return
    try:
        chosen = instruction_sets()
    except BuildError as error:
        chosen = str(error)
    reporter.write_line(f"{device_name(torch.device('cpu'))}, {os.cpu_count()} cores; instruction set: {chosen}")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--all-routes", nargs="?", const="1/1", metavar="PART/PARTS", help="see test_every_route.py; -s shows figures"
    )


@pytest.hookimpl(trylast=True)  # after pytest has put tests of one fixture together
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with a slow test come first: at the end, no worker is left alone with one."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session")
def smoke_streets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The smoke profile's generated data, made once."""
    from dynroute_core.experiments import experiment
    from dynroute_core.runs.plan import find_data

    here = Path.cwd()
    os.chdir(tmp_path_factory.mktemp("streets"))
    try:
        return find_data(experiment("dynamic-c", profile="smoke").data, None)
    finally:
        os.chdir(here)


@pytest.fixture(scope="session")
def tiny() -> Experiment:
    """A run of eight iterations of a shallow network."""
    from dynroute_core.experiments import experiment, with_settings

    return with_settings(experiment("dynamic-a", profile="smoke"), TINY)


@pytest.fixture(scope="module")
def finished(tiny: Experiment, smoke_streets: Path, tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    from dynroute_core.runs.pipeline import run

    return run(tiny, data_root=smoke_streets, out=tmp_path_factory.mktemp("whole"), device="cpu")


@pytest.fixture(autouse=True)
def seeded():
    """The same random weights whichever tests ran before."""
    torch.manual_seed(20)
