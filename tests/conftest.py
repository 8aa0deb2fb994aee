"""One thread for every test: sums come in one order, so results repeat bit for bit, and small models run fastest."""

from __future__ import annotations

import os
from pathlib import Path

import hypothesis
import pytest
import torch

torch.set_num_threads(1)
# The same examples every time, and none refused because the machine was busy; nothing is kept on disk.
hypothesis.settings.register_profile("repeatable", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("repeatable")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--all-routes", nargs="?", const="1/1", metavar="PART/PARTS", help="see test_every_route.py; -s shows figures"
    )


@pytest.fixture(scope="session")
def smoke_streets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The smoke profile's generated data, made once."""
    from dynroute_core.experiments import experiment
    from dynroute_core.plan import find_data

    here = Path.cwd()
    os.chdir(tmp_path_factory.mktemp("streets"))
    try:
        return find_data(experiment("dynamic-c", profile="smoke").data, None)
    finally:
        os.chdir(here)


@pytest.fixture(autouse=True)
def seeded():
    """The same random weights whichever tests ran before."""
    torch.manual_seed(20)
