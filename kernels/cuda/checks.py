"""What is checked before a pointer is taken: shapes, types, devices, layout. Raises ValueError, naming the argument."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor  # has no memory to point to

from dynroute_kernels.cuda.problems import Sources

DTYPES = (torch.bfloat16, torch.float32)
CHANNEL_STEP = 16  # channels are multiples of this: one step of a tensor core
RECORD = 4  # floats of a gate record


def check(holds: bool, otherwise: str) -> None:
    if not holds:
        raise ValueError(otherwise)


def check_same(name: str, tensor: Tensor, shape: Sequence[int], dtype: torch.dtype, like: Tensor) -> None:
    """`tensor` has this shape and type, is contiguous and 16-byte aligned, and lies where `like` lies."""
    check(tuple(tensor.shape) == tuple(shape), f"{name} of shape {tuple(tensor.shape)}: give {tuple(shape)}.")
    check(tensor.dtype == dtype, f"{name} of {tensor.dtype}: give {dtype}.")
    check(tensor.device == like.device, f"{name} on {tensor.device}: give it on {like.device}.")
    check(tensor.is_contiguous(), f"{name} is not contiguous: call .contiguous().")


def check_map(name: str, tensor: Tensor) -> tuple[int, int, int, int]:
    """(images, height, width, channels) of a map."""
    fits = tensor.dim() == 4 and min(tensor.shape) >= 1 and tensor.shape[3] % CHANNEL_STEP == 0
    check(fits, f"{name} of shape {tuple(tensor.shape)}: give N×H×W×C, C a multiple of {CHANNEL_STEP}.")
    check(tensor.dtype in DTYPES, f"{name} of {tensor.dtype}: give bfloat16 or float32.")
    check(tensor.is_contiguous(), f"{name} is not contiguous: call .contiguous().")
    pixels = tensor.shape[1] * tensor.shape[2]
    check(pixels < 2**31 // 16, f"{name} of {pixels} pixels: a map of fewer than 2^27 is needed.")
    images, height, width, channels = tensor.shape
    return images, height, width, channels


def check_weights(weight: Tensor, bias: Tensor, x: Tensor, inputs: int, outputs: int) -> None:
    fits = weight.dim() == 2 and outputs % CHANNEL_STEP == 0
    check(fits, f"weight of shape {tuple(weight.shape)}: give inputs × outputs, both multiples of {CHANNEL_STEP}.")
    check_same("weight", weight, (inputs, outputs), x.dtype, x)
    check_same("bias", bias, (outputs,), torch.float32, x)


def check_out(out: Tensor, x: Tensor, stride: int) -> None:
    """`out` is the map that a convolution which keeps sizes makes of `x`, at every stride-th position."""
    check_map("out", out)
    images, height, width, _ = x.shape
    check_same("out", out, (images, -(-height // stride), -(-width // stride), out.shape[3]), x.dtype, x)


def check_count(**lists: Sequence[Tensor | int | None]) -> None:
    """The lists are equally long: one entry per cell or path."""
    lengths = {name: len(entries) for name, entries in lists.items()}
    check(len(set(lengths.values())) == 1, f"lists of different lengths: {lengths}.")


def pointers(*tensors: Tensor | None) -> list[int]:
    return [0 if tensor is None or isinstance(tensor, FakeTensor) else tensor.data_ptr() for tensor in tensors]


def sizes(x: Tensor, out: Tensor) -> tuple[int, int, int, int, int, int]:
    """in_height, in_width, height, width, channels, outputs."""
    return x.shape[1], x.shape[2], out.shape[1], out.shape[2], x.shape[3], out.shape[3]


def sources(records: Sequence[Tensor | None], like: Tensor) -> Sources:
    """The records (N×4) of the cells from which down, keep and up come."""
    for record in records:
        if record is not None:
            check_same("sources", record, (len(like), RECORD), torch.float32, like)
    return Sources(*pointers(*records))
