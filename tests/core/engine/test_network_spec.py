"""A network as the kernels take it: norms folded while it is read, so that an engine starts without a copy of it."""

from __future__ import annotations

import copy

import pytest
import torch

from dynroute_core import InferenceEngine
from dynroute_core.engine.backend import BackendUnavailableError, folded
from dynroute_core.engine.network_spec import network_spec
from support.sample_models import mixed_model, small_config


@pytest.mark.parametrize("gate", ["full", "small", "none"])
def test_read_or_folded_before_it_is_the_same_weights(gate):
    model = mixed_model(small_config(gate=gate), seed=9).float()
    assert torch.equal(network_spec(model).weights(), network_spec(folded(model, torch.float32)).weights())


def test_a_norm_counts():
    model = mixed_model(small_config(), seed=9).float()
    before = network_spec(model).weights()
    model.head.fuse.norm.running_var.mul_(2)
    assert not torch.equal(network_spec(model).weights(), before)


def test_a_compiled_engine_copies_no_network(monkeypatch):
    model = mixed_model(small_config(), seed=9).float()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    monkeypatch.setattr(copy, "deepcopy", lambda *_: pytest.fail("a network was copied"))
    try:
        InferenceEngine(model, backend="native")
    except BackendUnavailableError as error:
        pytest.skip(str(error))
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
