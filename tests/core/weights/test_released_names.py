"""The released checkpoints' names: one for each of ours, and a state dict that does not fit changes nothing."""

from __future__ import annotations

import pytest
import torch

from dynroute_core.model import Segmenter
from dynroute_core.space import ModelConfig
from dynroute_core.system.errors import BlockedError
from dynroute_core.weights.released_names import load_original, original_name
from support.sample_checkpoints import released
from support.sample_models import images, mixed_model, small_config


@pytest.mark.parametrize("gate", ["full", "small", "none"])
@pytest.mark.parametrize("layers", [1, 4, 16])
def test_names_are_a_bijection(gate, layers):
    with torch.device("meta"):
        model = Segmenter(ModelConfig(layers=layers, channels=8, gate=gate))
    names = [original_name(name) for name in model.state_dict()]
    assert len(set(names)) == len(names)
    assert all(name.startswith(("backbone.", "sem_seg_head.")) for name in names)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    # One of every kind; the names are those of the golden files.
    [
        ("stem.0.conv.weight", "backbone.stem.stem_1.weight"),
        ("stem.0.norm.running_var", "backbone.stem.stem_1.norm.running_var"),
        ("stem.1.0.weight", "backbone.stem.stem_2.0.weight"),
        ("stem.2.1.conv.weight", "backbone.stem.stem_3.1.weight"),
        ("cells.init.gate.reduce.conv.weight", "backbone.init_layer.gate_conv_beta.0.weight"),
        ("cells.init.down.norm.bias", "backbone.init_layer.res_down.1.norm.bias"),
        ("cells.12_3.operations.0.0.weight", "backbone.all_cell_list.12.3.cell_ops._ops.0.op.0.weight"),
        ("cells.2_1.operations.0.3.norm.weight", "backbone.all_cell_list.2.1.cell_ops._ops.0.op.3.norm.weight"),
        ("cells.2_1.up.conv.weight", "backbone.all_cell_list.2.1.res_up.1.weight"),
        ("cells.2_1.gate.factors.bias", "backbone.all_cell_list.2.1.gate_conv_beta.2.bias"),
        ("head.fuse.conv.weight", "sem_seg_head.layer_decoder_list.0.weight"),
        ("head.narrow.2.norm.weight", "sem_seg_head.layer_decoder_list.3.norm.weight"),
        ("head.predictor.bias", "sem_seg_head.predictor.bias"),
    ],
)
def test_names_one_by_one(ours, theirs):
    assert original_name(ours) == theirs


@pytest.mark.parametrize("gate", ["full", "none"])
def test_round_trip(gate):
    source = mixed_model(small_config(gate=gate), seed=1)
    target = mixed_model(small_config(gate=gate), seed=2)
    load_original(target, released(source))
    assert all(
        torch.equal(a, b) for a, b in zip(source.state_dict().values(), target.state_dict().values(), strict=True)
    )
    with torch.no_grad():
        assert torch.equal(source(images(1, 64, 64)).logits, target(images(1, 64, 64)).logits)


def test_counters_are_optional():
    source, target = mixed_model(small_config(), seed=1), mixed_model(small_config(), seed=2)
    state = released(source)
    lean = {name: tensor for name, tensor in state.items() if not name.endswith("num_batches_tracked")}
    assert len(lean) < len(state)
    load_original(target, lean)
    assert torch.equal(target.head.predictor.weight, source.head.predictor.weight)


def unfit(change):
    state = released(mixed_model(small_config(), seed=1))
    change(state)
    return state


WEIGHT, COUNTER = "sem_seg_head.predictor.weight", "backbone.stem.stem_1.norm.num_batches_tracked"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop(WEIGHT), f"1 missing: {WEIGHT}"),
        (lambda s: s.update(momentum=torch.zeros(1)), "1 extra: momentum"),
        (lambda s: s.update({WEIGHT: torch.zeros(19, 4, 3, 3)}), r"1 misshaped: .*predictor.weight is \(19, 4, 3, 3\)"),
        (lambda s: s.update({COUNTER: torch.zeros(2, 3)}), r"1 misshaped: .*num_batches_tracked is \(2, 3\)"),
        (lambda s: [s.pop(name) for name in list(s) if "init_layer" in name], r"\d+ missing: .*, \.\.\."),
    ],
)
def test_what_does_not_fit_is_listed_and_the_model_unchanged(change, message):
    model = mixed_model(small_config(), seed=2)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(BlockedError, match=message) as error:
        load_original(model, unfit(change))
    assert "Check layers, channels, classes and gate" in str(error.value)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_all_problems_are_told_at_once():
    def change(state):
        state.pop(WEIGHT)
        state["extra"] = torch.zeros(1)

    with pytest.raises(BlockedError, match=r"1 missing: .*; 1 extra: extra"):
        load_original(mixed_model(small_config()), unfit(change))
