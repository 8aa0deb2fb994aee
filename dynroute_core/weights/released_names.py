"""The parameter names of the released checkpoints; no other file knows them.

Takes a state dict with the original's names, gives ours, and the other way round. Loading pickles is not done here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from dynroute_core.checkpoint import require_fit
from dynroute_core.model import Segmenter

_BACKBONE, _HEAD = "backbone.", "sem_seg_head."
_BARE = ("stem.", "init_layer.", "all_cell_list.")  # how names of a backbone by itself begin
_CELL = re.compile(r"^cells\.(?:(init)|(\d+)_(\d+))\.(.+)$")
_PARTS = (
    (re.compile(r"^operations\.(\d+)\."), r"cell_ops._ops.\1.op."),
    (re.compile(r"^up\."), "res_up.1."),
    (re.compile(r"^down\."), "res_down.1."),
    (re.compile(r"^gate\.reduce\."), "gate_conv_beta.0."),
    (re.compile(r"^gate\.factors\."), "gate_conv_beta.2."),
)


def original_name(name: str) -> str:
    """The released checkpoints' name for one of our parameters or buffers."""
    name = re.sub(r"\bconv\.weight$", "weight", name)  # there, a convolution holds its norm; here, both are siblings
    if match := _CELL.match(name):
        initial, layer, scale, rest = match.groups()
        prefix = "backbone.init_layer." if initial else f"backbone.all_cell_list.{layer}.{scale}."
        for pattern, replacement in _PARTS:
            if pattern.match(rest):
                return prefix + pattern.sub(replacement, rest)
        return prefix + rest
    if name.startswith("stem."):
        stage, rest = name.removeprefix("stem.").split(".", 1)
        return f"backbone.stem.stem_{int(stage) + 1}.{rest}"
    name = re.sub(r"^head\.fuse\.", "sem_seg_head.layer_decoder_list.0.", name)
    name = re.sub(r"^head\.narrow\.(\d+)\.", lambda m: f"sem_seg_head.layer_decoder_list.{int(m[1]) + 1}.", name)
    return re.sub(r"^head\.predictor\.", "sem_seg_head.predictor.", name)


def plain_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict with the released checkpoints' names, the backbone's prefix among them, which a backbone by itself
    may lack."""
    bare = any(name.startswith(_BARE) for name in state) and not any(
        name.startswith((_BACKBONE, _HEAD)) for name in state
    )
    return {_BACKBONE + name if bare else name: tensor for name, tensor in state.items()}


def known_names(model: Segmenter) -> set[str]:
    """Every name under which a file may hold one of the network's tensors: ours, and the released checkpoints'."""
    ours = set(model.state_dict())
    theirs = {original_name(name) for name in ours}
    return ours | theirs | {name.removeprefix(_BACKBONE) for name in theirs}


def own_names(model: Segmenter, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict with the released checkpoints' names, by ours; names that `model` has no use for stay."""
    ours = {original_name(name): name for name in model.state_dict()}
    return {ours.get(name, name): tensor for name, tensor in plain_names(state).items()}


def load_original(model: Segmenter, state: Mapping[str, Tensor]) -> None:
    """Loads a state dict with the released checkpoints' names into `model`.

    `num_batches_tracked` may be absent. Raises BlockedError listing missing, extra and misshaped entries by the names
    of the checkpoint; the model is then unchanged.
    """
    own = {original_name(name): tensor for name, tensor in model.state_dict().items()}
    require_fit(own, plain_names(state))
    model.load_state_dict(own_names(model, state), strict=False)
