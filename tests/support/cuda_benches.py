"""Where the CUDA operators are tried, and their random inputs, laid out so that a stray access shows: NaN all around.

On the CPU they run through the emulator, a block's threads in three orders, so that a missing barrier shows; on a GPU
where one is.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from dynroute_kernels.cpu.build import compiler
from dynroute_kernels.cuda import build as cuda_build
from dynroute_kernels.cuda import operators as cuda_ops

GUARD = 256  # values of NaN on each side; a multiple of 16 bytes whatever the type


@dataclass(frozen=True)
class Bench:
    """Where and in which type an operator is tried."""

    device: torch.device
    dtype: torch.dtype

    def guarded(self, values: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        """A contiguous copy with guards around it: NaN, or 255 for bytes."""
        dtype = self.dtype if dtype is None else dtype
        poison = torch.nan if dtype.is_floating_point else 255
        arena = torch.full((values.numel() + 2 * GUARD,), poison, dtype=dtype, device=self.device)
        inside = arena[GUARD : GUARD + values.numel()].view(values.shape)
        inside.copy_(values)
        return inside

    def random(self, *shape: int, scale: float = 1.0, dtype: torch.dtype | None = None) -> Tensor:
        return self.guarded(torch.randn(shape) * scale, dtype)

    def poisoned(self, *shape: int, dtype: torch.dtype | None = None) -> Tensor:
        dtype = self.dtype if dtype is None else dtype
        return self.guarded(torch.full(shape, torch.nan if dtype.is_floating_point else 255), dtype)

    def records(self, rows: list[tuple[float, float, float, int]]) -> Tensor:
        return self.guarded(torch.tensor(rows, dtype=torch.float32), torch.float32)


def guards_hold(tensor: Tensor) -> bool:
    """Whether nothing was written before or after a tensor that `guarded` made."""
    arena = torch.as_strided(tensor, (tensor.numel() + 2 * GUARD,), (1,), tensor.storage_offset() - GUARD)
    outside = torch.cat([arena[:GUARD], arena[GUARD + tensor.numel() :]])
    return bool((outside.isnan() if outside.is_floating_point() else outside == 255).all())


WORKS = [
    *(pytest.param(("cpu", order), id=f"emulated-order{order}") for order in (0, 1, 7)),
    pytest.param(("cuda", 0), id="gpu", marks=pytest.mark.gpu),
]


def emulator(order: int = 0) -> None:
    """CPU tensors go through the emulator, its threads in this order: 0 first warp ahead, 1 last, else a seed."""
    if compiler() is None:
        pytest.skip("no C++ compiler: the emulator cannot be built")
    cuda_ops.emulate()
    cuda_build.emulator_library().dynroute_emulator_order(order)


@pytest.fixture(params=WORKS)
def device(request) -> torch.device:
    name, order = request.param
    if name == "cuda":
        if not torch.cuda.is_available():
            pytest.skip("no CUDA device: the kernels are checked through the emulator only")
        if cuda_build.find_nvcc() is None:
            pytest.skip("no nvcc: the kernels cannot be built for this GPU")
    else:
        emulator(order)
    return torch.device(name)


@pytest.fixture(params=[torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def bench(request, device) -> Bench:
    return Bench(device, request.param)


@pytest.fixture
def float_bench(device) -> Bench:
    return Bench(device, torch.float32)


def exact(*tensors: Tensor | None) -> list[Tensor | None]:
    return [None if tensor is None else tensor.double().cpu() for tensor in tensors]


def assert_near(found: Tensor, wanted: Tensor) -> None:
    """float32 sums of some hundred products err by a few 1e-7 of the largest. bf16 rounds to 8 bits on the way out,
    and the depthwise result, the shrunk map and the window before the product; those errors are independent.
    """
    tolerance = 2e-6 if found.dtype == torch.float32 else 2**-7
    assert not found.isnan().any()
    assert (found.double().cpu() - wanted).abs().max() <= tolerance * wanted.abs().max().clamp(min=1)
