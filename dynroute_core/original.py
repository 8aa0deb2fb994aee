"""The parameter names of the released checkpoints; no other file knows them.

Takes a state dict with the original's names, gives ours, and the other way round. Loading pickles is not done here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from dynroute_core.model import Segmenter
from dynroute_core.runtime import BlockedError

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


def load_original(model: Segmenter, state: Mapping[str, Tensor]) -> None:
    """Loads a state dict with the released checkpoints' names into `model`.

    `num_batches_tracked` may be absent. Raises BlockedError listing missing, extra and misshaped entries; the model is
    then unchanged.
    """
    own = model.state_dict()
    renamed = {name: original_name(name) for name in own}
    counters = {name for name in own if name.endswith("num_batches_tracked")}
    missing = [there for here, there in renamed.items() if there not in state and here not in counters]
    extra = sorted(set(state) - set(renamed.values()))
    misshaped = [
        f"{there} is {tuple(state[there].shape)}, the model wants {tuple(own[here].shape)}"
        for here, there in renamed.items()
        if there in state and state[there].shape != own[here].shape
    ]
    if missing or extra or misshaped:
        problems = [
            f"{len(found)} {kind}: {', '.join(found[:5])}{', ...' if len(found) > 5 else ''}"
            for kind, found in (("missing", missing), ("extra", extra), ("misshaped", misshaped))
            if found
        ]
        raise BlockedError(
            f"these weights do not fit the model ({'; '.join(problems)}). "
            "Check layers, channels, classes and gate of the row against the checkpoint."
        )
    model.load_state_dict({here: state[there] for here, there in renamed.items() if there in state}, strict=False)
