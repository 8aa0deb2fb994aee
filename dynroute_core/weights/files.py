"""Weights from files: a released checkpoint, one of our own, or plain safetensors. Read safely and checked, then used.

Takes a path and a network; gives the network its weights. A file may hold the names of the released code (a `.pth` as
downloaded: its `model` entry, or a bare state dict, as wrapped as training left it: wrapping.py) or ours.
Pickles from the internet can run programs: torch reads them with `weights_only`, which makes tensors and plain values
and refuses everything else; numbers of numpy's are read here, without numpy. What else a checkpoint holds (optimizer,
schedule, iteration) is left alone.
"""

from __future__ import annotations

import hashlib
import io
import pickle
import struct
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor
from torch.serialization import safe_globals

from dynroute_core.checkpoint import (
    FORMAT,
    MAX_MB,
    MisfitError,
    Use,
    Weights,
    load_snapshot,
    misfits,
    require_fit,
    safetensors_metadata,
    safetensors_tensors,
)
from dynroute_core.model import Segmenter
from dynroute_core.system.errors import BlockedError, UsageError
from dynroute_core.system.files import open_regular, write_whole
from dynroute_core.weights.released_names import known_names, load_original, own_names
from dynroute_core.weights.wrapping import ENTRIES, entry, unwrapped

HEAD_PREFIX = "head."
PLAIN_FORMAT = "dynroute-weights-1"  # of files that hold a network and nothing else

_PLAIN_TYPES = (
    *(torch.float16, torch.bfloat16, torch.float32, torch.float64),
    *(torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64),
)


def hashed(weights: Weights) -> Weights:
    """The same weights with the file's sha256. Raises BlockedError where it cannot be read, UsageError where another
    hash was asked for."""
    found = file_hash(Path(weights.file))
    if weights.sha256 not in ("", found):
        raise UsageError(f"{weights.file} has the sha256 {found}, weights.sha256 asks for {weights.sha256}.")
    return replace(weights, sha256=found)


def file_hash(path: Path) -> str:
    """sha256 of a file of weights. Raises BlockedError where it is no file, too large or unreadable."""
    with _open(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _open(path: Path) -> Iterator[io.BufferedReader]:
    """The file of weights. Raises BlockedError where it is no file, too large or unreadable."""
    try:
        if path.is_dir():
            raise BlockedError(f"{path} is a folder. Give the file of the weights, such as checkpoint.safetensors.")
        with open_regular(path, most_mb=MAX_MB) as file:
            yield file
    except OSError as error:
        raise BlockedError(f"cannot read {path}: {error.strerror or error}. Check the path of the weights.") from error


@dataclass(frozen=True, kw_only=True)
class TakenWeights:
    """What a network took from a file. head: whether the head came along. tensors: how many came."""

    file: str
    use: Use
    head: bool
    tensors: int

    @property
    def words(self) -> str:
        """For people."""
        what = "weights" if self.use == "evaluate" else f"backbone {'and head' if self.head else 'alone'}"
        return f"{what} of {self.file}"


def give_weights(model: Segmenter, path: Path, *, use: Use) -> TakenWeights:
    """Loads a file's weights into `model`; gives what came from it.

    To evaluate, every tensor must be there, and no other. To start from, the backbone must be there whole; the head
    comes along where it is whole and of the same shape (as many classes), else it stays as it is initialised, and what
    the network has no use for (an ImageNet classifier) is left out. Raises BlockedError with missing, extra and
    misshaped names; the model is then unchanged.
    """
    own = model.state_dict()
    raw, prefix = unwrapped(read_weights(path), known_names(model))
    given = raw if own.keys() & raw.keys() else own_names(model, raw)
    names = f" (its names without {prefix})" if prefix else ""
    backbone, head = _split(own)
    given_backbone, given_head = _split(given)
    if use == "evaluate":
        if not given_head and not misfits(backbone, given_backbone):
            raise BlockedError(
                f"{path} holds a backbone without a head (ImageNet weights?): there is nothing to evaluate. "
                "Train from it with --init instead of --weights."
            )
        try:
            if given is raw:
                require_fit(own, given)
                model.load_state_dict(given, strict=False)
            else:
                load_original(model, raw)
        except MisfitError as error:
            raise MisfitError(f"{path}{names}: {error}") from error
        return TakenWeights(file=path.name, use=use, head=True, tensors=len(given))
    has_head = not misfits(head, given_head)
    useful = {name: tensor for name, tensor in given_backbone.items() if name in own}
    if problems := misfits(backbone, useful):
        raise MisfitError(
            f"{path}{names} does not hold this row's backbone ({'; '.join(problems)}). Check layers, channels and gate."
        )
    taken = useful | (given_head if has_head else {})
    model.load_state_dict(taken, strict=False)
    return TakenWeights(file=path.name, use=use, head=has_head, tensors=len(taken))


def save_weights(path: Path, model: Segmenter, *, head: bool) -> None:
    """Writes a network, or without `head` its backbone alone, as plain safetensors by our names."""
    backbone, rest = _split(model.state_dict())
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in (backbone | (rest if head else {})).items()}
    write_whole(path, save(tensors, metadata={"format": PLAIN_FORMAT}))


def _split(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """(backbone, head)."""
    head = {name: tensor for name, tensor in state.items() if name.startswith(HEAD_PREFIX)}
    return {name: tensor for name, tensor in state.items() if name not in head}, head


def read_weights(path: Path) -> dict[str, Tensor]:
    """The network's tensors in a file, by the names that stand there.

    Raises BlockedError for a file that is missing, truncated, no checkpoint, or a pickle of more than tensors.
    """
    with _open(path) as file:
        begin = file.read(9)
    if (archive := begin[:4] == b"PK\x03\x04") or begin[:1] == b"\x80":
        tensors = _read_pickle(path, archive=archive)
    elif begin[8:9] == b"{":
        tensors = _read_safetensors(path)
    else:
        raise BlockedError(f"{path} is neither a PyTorch nor a safetensors file. Restore it, or give another.")
    if not tensors:
        raise BlockedError(f"{path} holds no tensors. Give a checkpoint's state dict.")
    for name, tensor in tensors.items():
        if tensor.layout != torch.strided or tensor.device.type != "cpu" or tensor.dtype not in _PLAIN_TYPES:
            raise BlockedError(f"{path}: {name[:100]} is no plain tensor of real numbers. Give a plain state dict.")
        if tensor.untyped_storage().nbytes() < tensor.numel() * tensor.element_size():  # a few bytes, repeated
            raise BlockedError(f"{path}: {name[:100]} claims more values than the file holds. Restore it.")
        if not tensor.isfinite().all():
            raise BlockedError(f"{path}: {name[:100]} holds values that are not finite: such weights compute nothing.")
    return tensors


class _NumpyType:
    """Stands in for numpy.dtype: its letter code, such as f8."""

    def __init__(self, code: str, *_: object) -> None:
        self.code = code

    def __setstate__(self, state: object) -> None:
        """Byte order and the like, left alone: such numbers stand beside the weights, and nobody reads them."""


def _numpy_number(kind: _NumpyType, raw: bytes) -> float:
    """Stands in for numpy's way of making a scalar. Raises KeyError for other types than these."""
    return float(struct.unpack("<" + {"f8": "d", "f4": "f", "i8": "q", "i4": "i", "b1": "?"}[kind.code], raw)[0])


# Schedules saved beside the weights often hold numpy numbers. No code of numpy is run on what a file says.
_HARMLESS: list[Callable[..., object] | tuple[Callable[..., object], str]] = [
    (_NumpyType, "numpy.dtype"),
    (_numpy_number, "numpy.core.multiarray.scalar"),
    (_numpy_number, "numpy._core.multiarray.scalar"),
]


def _check_archive(path: Path) -> None:
    """Raises ValueError for an archive that torch would have to inflate: it writes none, and a few MB can claim any
    size."""
    with _open(path) as file, zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        if any(
            entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size for entry in entries
        ):
            raise ValueError("it is compressed, as no checkpoint is")
        if sum(entry.file_size for entry in entries) > path.stat().st_size:
            raise ValueError("it claims more bytes than it has")
        if (name := archive.testzip()) is not None:  # torch does not look: a flipped bit would be another weight
            raise ValueError(f"the checksum of {name[:100]} is wrong")


def _read_pickle(path: Path, *, archive: bool) -> dict[str, Tensor]:
    try:
        if archive:
            _check_archive(path)
        with safe_globals(_HARMLESS):
            found = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise BlockedError(
            f"{path} is refused: it is damaged, or a pickle of more than tensors and plain values, which could run any "
            f"program ({_first_line(error)}). Ask its author for a plain state dict or safetensors."
        ) from error
    except Exception as error:  # a damaged pickle ends in any of them: its opcodes are obeyed until one fails
        raise BlockedError(
            f"{path} is truncated or damaged ({_first_line(error)}). Restore it, for example by downloading it again."
        ) from error
    inner = entry(found)
    if not isinstance(inner, Mapping):
        raise BlockedError(f"{path} holds a {type(inner).__name__}, not a state dict of named tensors.")
    strange = [name for name, value in inner.items() if not (isinstance(value, Tensor) and isinstance(name, str))]
    if strange:
        raise BlockedError(
            f"{path} is no state dict: {str(strange[0])[:100]} is no tensor with a name. Give a checkpoint "
            f"with an entry {' or '.join(ENTRIES)} that holds the network's tensors by name."
        )
    return dict(inner)


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    refused = [line for line in lines if "GLOBAL" in line or "Unsupported" in line]
    return (refused or lines or [type(error).__name__])[0][:200]


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        if safetensors_metadata(path).get("format") != FORMAT:
            return safetensors_tensors(path)
    except Exception as error:  # headers may name types that torch lacks, and shapes that no tensor has
        raise BlockedError(f"{path} is truncated or damaged ({_first_line(error)}). Restore it.") from error
    return load_snapshot(path).network
