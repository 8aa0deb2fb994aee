"""One thread for every test: sums come in one order, so results repeat bit for bit, and small models run fastest."""

from __future__ import annotations

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def seeded():
    """The same random weights whichever tests ran before."""
    torch.manual_seed(20)
