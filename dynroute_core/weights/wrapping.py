"""What other programs wrap around a network's state dict when they save it: an entry of a larger file, longer names.

Takes what was saved; gives the network's tensors by the names that it has itself. Knows no file formats.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping

from torch import Tensor

ENTRIES = ("model", "state_dict", "model_state_dict")
"""Where checkpoints hold the network: detectron2 and others; Lightning and others; PyTorch's tutorials."""

WRAPPERS = ("module", "_orig_mod")
"""Parts of names that DataParallel, DDP and averaged models add, and torch.compile, wherever they wrap a module."""


def entry(saved: object) -> object:
    """The entry of a checkpoint that holds the network; all of it where it has no such entry."""
    if not isinstance(saved, Mapping):
        return saved
    return next((saved[name] for name in ENTRIES if isinstance(saved.get(name), Mapping)), saved)


def unwrapped(state: Mapping[str, Tensor], known: Collection[str]) -> tuple[dict[str, Tensor], str]:
    """A state dict by names without wrappers, and without the attribute under which most of its network lies
    (Lightning's `model.`); and that prefix, "" for none. Names with neither stay as they are.

    known: the names that a network may have. A state dict whose names would then collide is left as it is.
    """
    bare = {name: ".".join(part for part in name.split(".") if part not in WRAPPERS) for name in state}
    found = Counter(prefix for name in bare.values() if (prefix := _prefix(name, known)) is not None)
    prefix = found.most_common(1)[0][0] if found else ""
    names = {name: short.removeprefix(prefix) for name, short in bare.items()}
    if len(set(names.values())) < len(names):
        return dict(state), ""
    return {names[name]: tensor for name, tensor in state.items()}, prefix


def _prefix(name: str, known: Collection[str]) -> str | None:
    """What stands before the longest known name that `name` ends in; None where it ends in none."""
    parts = name.split(".")
    starts = (start for start in range(len(parts)) if ".".join(parts[start:]) in known)
    first = next(starts, None)
    return None if first is None else "".join(f"{part}." for part in parts[:first])
