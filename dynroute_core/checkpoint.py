"""Training checkpoints: tensors and JSON in one safetensors file of our own; nothing is ever unpickled.

Takes and gives a `Snapshot`; what it means is `train.py`'s business. Written whole or not at all.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from safetensors import safe_open
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.optim import Optimizer

from dynroute_core.optimizer import STATE
from dynroute_core.system.errors import BlockedError
from dynroute_core.system.files import open_regular, write_whole
from dynroute_core.system.strict_json import decode_json

FORMAT = "dynroute-checkpoint-1"
MAX_MB = 4 << 10  # Layer33 with its momenta has 0.3 GB
NETWORK = "model/"  # what names of the network's tensors begin with
STEPS = "optimizer_steps"  # how many AdamW has taken

Use = Literal["evaluate", "start"]


@dataclass(frozen=True, kw_only=True)
class Weights:
    """Weights that a run takes from a file."""

    file: str  # path of a released .pth, a checkpoint of ours or plain safetensors
    use: Use = "evaluate"  # as they are, or start: training begins with them
    # The file's hash, filled in when the run is planned; the run's key holds it, and not where the file lies. One that
    # is given must be the file's.
    sha256: str = ""

    def __post_init__(self) -> None:
        if not self.file:
            raise ValueError("weights.file is empty: name a checkpoint")


class MisfitError(BlockedError):
    """Weights of another network than the one they are for."""


@dataclass(frozen=True)
class Snapshot:
    """Everything that training needs to go on: named tensors, and plain facts as JSON."""

    tensors: dict[str, Tensor]
    facts: dict[str, object]

    @property
    def network(self) -> dict[str, Tensor]:
        """The network's tensors among them, by its own names."""
        return {name.removeprefix(NETWORK): t for name, t in self.tensors.items() if name.startswith(NETWORK)}


def save_snapshot(path: Path, snapshot: Snapshot) -> None:
    """Writes a checkpoint. Raises BlockedError where the disk has no room; the previous one is then still there."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in snapshot.tensors.items()}
    facts = json.dumps(snapshot.facts, allow_nan=False)
    metadata = {"format": FORMAT, "facts": facts, "sha256": _digest(tensors, facts)}
    write_whole(path, save(tensors, metadata=metadata))


def load_snapshot(path: Path) -> Snapshot:
    """Reads a checkpoint. Raises BlockedError for a file that is truncated, damaged, foreign or no checkpoint."""
    try:
        open_regular(path, most_mb=MAX_MB).close()
        metadata = safetensors_metadata(path)
        if metadata.get("format") != FORMAT:
            raise BlockedError(f"{path} is a safetensors file, but no checkpoint of this suite.")
        facts = decode_json(metadata["facts"].encode())
        tensors = safetensors_tensors(path)
        if not isinstance(facts, dict) or metadata["sha256"] != _digest(tensors, metadata["facts"]):
            raise ValueError("its contents do not have the checksum written with them")
    except BlockedError:
        raise
    except Exception as error:  # headers may name types that torch lacks, and shapes that no tensor has
        raise BlockedError(
            f"{path} is not a readable checkpoint ({error}). Delete it to start the run anew."
        ) from error
    return Snapshot(tensors, facts)


def safetensors_metadata(path: Path) -> dict[str, str]:
    """What a safetensors file says beside its tensors. Raises whatever safetensors does for a broken one."""
    with safe_open(path, framework="pt") as file:
        return file.metadata() or {}


def safetensors_tensors(path: Path) -> dict[str, Tensor]:
    """A safetensors file's tensors. Raises whatever safetensors does for a broken one, or for a type that torch lacks.

    Not by `safe_open`'s `get_tensor`: that loses two Python integers per call (safetensors 0.5.0 to 0.8.0).
    """
    return load(path.read_bytes())


def _digest(tensors: dict[str, Tensor], facts: str) -> str:
    """sha256 over names, types, shapes, values and facts: safetensors itself would load a flipped bit."""
    digest = hashlib.sha256(facts.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"\0{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def misfits(own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> list[str]:
    """What keeps a state dict from fitting a network's own: missing, extra, misshaped and mistyped entries, the first
    of each named. `num_batches_tracked` may be absent. Empty where it fits."""
    missing = [name for name in own if name not in given and not name.endswith("num_batches_tracked")]
    extra = sorted(name for name in given if name not in own)
    mistyped = [
        f"{name} holds {given[name].dtype}, the network wants {own[name].dtype}"
        for name in own
        if name in given and given[name].is_floating_point() != own[name].is_floating_point()
    ]
    misshaped = [
        f"{name} is {tuple(given[name].shape)}, the network wants {tuple(own[name].shape)}"
        for name in own
        if name in given and given[name].shape != own[name].shape
    ]
    return [
        f"{len(found)} {kind}: {', '.join(found[:5])}{', ...' if len(found) > 5 else ''}"
        for kind, found in (("missing", missing), ("extra", extra), ("misshaped", misshaped), ("mistyped", mistyped))
        if found
    ]


def require_fit(own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> None:
    """Raises MisfitError with the misfits of a state dict that is to be loaded whole."""
    if problems := misfits(own, given):
        raise MisfitError(
            f"these weights do not fit the model ({'; '.join(problems)}). "
            "Check layers, channels, classes and gate of the row against the checkpoint."
        )


def training_tensors(network: nn.Module, optimizer: Optimizer) -> dict[str, Tensor]:
    """What a snapshot holds of a network at work: its tensors, the optimizer's state, torch's random state."""
    tensors = {NETWORK + name: tensor for name, tensor in network.state_dict().items()}
    for name, parameter in network.named_parameters():
        state = optimizer.state[parameter]
        tensors |= {start + name: state[kind] for kind, start in STATE.items() if state.get(kind) is not None}
        if "step" in state:
            tensors[STEPS] = state["step"]
    return tensors | rng_tensors()


def restore_training(snapshot: Snapshot, network: nn.Module, optimizer: Optimizer) -> None:
    """Goes back to what `training_tensors` gave. Raises RuntimeError and KeyError where it is of another network."""
    network.load_state_dict(snapshot.network)
    for name, parameter in network.named_parameters():
        given = {kind: snapshot.tensors.get(start + name) for kind, start in STATE.items()}
        # As the parameter lies in memory: sums in another order would end in other bits.
        state = {kind: torch.empty_like(parameter).copy_(one) for kind, one in given.items() if one is not None}
        if "exp_avg" in state and STEPS in snapshot.tensors:
            state["step"] = snapshot.tensors[STEPS].clone()
        optimizer.state.pop(parameter, None)
        if state:
            optimizer.state[parameter] = state
    restore_rng(snapshot.tensors)


def rng_tensors() -> dict[str, Tensor]:
    """The state of torch's random generators, of the CPU and of every GPU."""
    states = {"rng/cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states |= {f"rng/cuda{index}": state for index, state in enumerate(torch.cuda.get_rng_state_all())}
    return states


def restore_rng(tensors: dict[str, Tensor]) -> None:
    """Sets torch's random generators to a snapshot's states; GPUs that the snapshot does not know keep theirs."""
    torch.set_rng_state(tensors["rng/cpu"])
    for index in range(torch.cuda.device_count()):
        if (state := tensors.get(f"rng/cuda{index}")) is not None:
            torch.cuda.set_rng_state(state, index)
