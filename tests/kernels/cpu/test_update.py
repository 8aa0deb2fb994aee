"""The updates on flat buffers: AdamW is torch's, in double to rounding; averages; the same bits everywhere."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dynroute_kernels.cpu import build, training

pytestmark = pytest.mark.skipif(
    build.built(part=training.PART) is None and bool(build.missing()),
    reason=f"not compiled, and no {' nor '.join(build.missing())}",
)

# Tensors of lengths that fill no vector, and one that spans several blocks of an average.
COUNTS = (5, 16, 70_001, 33)
FIRSTS = (0, 16, 32, 70_048)
LENGTH = 70_096
DECAYS, RATES = (0.05, 0.0, 0.01, 0.2), (1e-2, 3e-3, 1e-2, 2.5e-2)
BETAS, EPSILON, SCALE, STEPS = (0.9, 0.99), 1e-6, 0.3, 5
SPANS = training.Spans(FIRSTS, COUNTS, DECAYS, RATES)
DTYPES = (torch.float32, torch.float64)


def flat(seed: int, dtype: torch.dtype) -> Tensor:
    """Values where the tensors are, of sizes from 1e-3 to 1e3; zeros between."""
    generator = torch.Generator().manual_seed(seed)
    found = torch.zeros(LENGTH, dtype=dtype)
    for part in parts(found):
        drawn = torch.randn(len(part), 2, generator=generator, dtype=torch.float64)
        part.copy_(drawn[:, 0] * 10 ** drawn[:, 1].clamp(-3, 3))
    return found


def parts(buffer: Tensor) -> list[Tensor]:
    return [buffer[first : first + count] for first, count in zip(FIRSTS, COUNTS, strict=True)]


def trained(dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Parameters and both moments after some steps."""
    parameters, first, second = flat(0, dtype), torch.zeros(LENGTH, dtype=dtype), torch.zeros(LENGTH, dtype=dtype)
    for step in range(1, STEPS + 1):
        training.update_adamw(
            parameters, flat(step, dtype), first, second, SPANS, step=step, betas=BETAS, epsilon=EPSILON, scale=SCALE
        )
    return parameters, first, second


def torchs(dtype: torch.dtype) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    tensors = [part.clone() for part in parts(flat(0, dtype))]
    groups = [
        {"params": [one], "lr": rate, "weight_decay": decay}
        for one, rate, decay in zip(tensors, RATES, DECAYS, strict=True)
    ]
    optimizer = torch.optim.AdamW(groups, betas=BETAS, eps=EPSILON)
    for step in range(1, STEPS + 1):
        for one, gradient in zip(tensors, parts(flat(step, dtype)), strict=True):
            one.grad = gradient * SCALE
        optimizer.step()
    states = [optimizer.state[one] for one in tensors]
    return tensors, [state["exp_avg"] for state in states], [state["exp_avg_sq"] for state in states]


def test_adamw_is_torchs():
    """Groups of their own rate and decay. A few roundings of 1e-16 a step, of what a step adds as well: up to 1e3."""
    for ours, theirs in zip(trained(torch.float64), torchs(torch.float64), strict=True):
        for own, other in zip(parts(ours), theirs, strict=True):
            assert torch.allclose(own, other, rtol=1e-12, atol=1e-12)


def test_adamw_in_float32_is_as_near_as_torchs():
    exact = trained(torch.float64)[0]
    ours = (trained(torch.float32)[0].double() - exact).square().sum()
    theirs = sum(
        (own.double() - part).square().sum() for own, part in zip(torchs(torch.float32)[0], parts(exact), strict=True)
    )
    assert 0 < ours <= 1.1 * theirs  # a tenth: which of two roundings is nearer is chance


def test_between_the_tensors_nothing_appears():
    for buffer in trained(torch.float32):
        for part in parts(buffer):
            part.zero_()
        assert not buffer.any()


@pytest.mark.parametrize("dtype", DTYPES)
def test_an_average_is_of_both(dtype):
    averaged, parameters = flat(0, dtype), flat(1, dtype)
    wanted = 0.9 * averaged.double() + 0.1 * parameters.double()
    training.average(averaged, parameters, keep=0.9)
    # three roundings, of numbers up to the larger of the two
    most = 3 * torch.finfo(dtype).eps * torch.maximum(flat(0, dtype).abs(), parameters.abs()).double()
    assert ((averaged.double() - wanted).abs() <= most).all()


def test_an_average_meets_what_no_longer_moves():
    """keep = 0.999 and 1 - keep do not add up to 1 in float32: parameters that stay would be missed by 3e-5."""
    parameters = flat(0, torch.float32)
    averaged = parameters.clone()
    for _ in range(100):
        training.average(averaged, parameters, keep=0.999)
    assert torch.equal(averaged, parameters)


def everything(dtype: torch.dtype) -> tuple[Tensor, ...]:
    parameters, first, second = trained(dtype)
    averaged = flat(7, dtype)
    training.average(averaged, parameters, keep=0.99)
    return parameters, first, second, averaged


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_same_bits_on_every_instruction_set(dtype, monkeypatch):
    wanted = everything(dtype)
    for isa in ("plain", "avx2", "avx512"):
        if training.library().dynroute_step_isa(isa.encode()) is not None:
            monkeypatch.setenv("DYNROUTE_ISA", isa)
            assert all(map(torch.equal, everything(dtype), wanted)), isa


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_same_bits_for_any_number_of_threads(dtype, monkeypatch):
    wanted = everything(dtype)
    for count in (1, 2, 3, 5):
        monkeypatch.setattr(torch, "get_num_threads", lambda count=count: count)
        assert all(map(torch.equal, everything(dtype), wanted)), count


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_is_scaled_is_torchs_product(dtype):
    values = flat(0, dtype)[: LENGTH - 3].view(-1, 1)  # any number of elements and any shape
    assert torch.equal(training.scaled(values, 0.3), values * 0.3)


def test_zeros_can_be_written():
    found = training.zeros(5, torch.float64)
    assert torch.equal(found, torch.zeros(5, dtype=torch.float64)) and found.add_(1).sum() == 5
