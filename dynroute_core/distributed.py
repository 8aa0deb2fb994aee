"""Several processes that train one network: who does what, what they tell each other, and batch norm over all of them.

Takes the process group that the elastic agent's workers join (`workers/agent.py`); gives a `Team`. N processes see
exactly the batch of one: sample places, drop path and data order are functions of the place in the whole batch, and
every sum that a formula takes over the batch is taken over all processes. What is left is rounding, because sums come
in another order. `ALONE`, a team of one, communicates nothing and changes no bit.

Between processes go tensors alone, nothing pickled. Leaves out starting, watching and restarting them.
"""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import Function, FunctionCtx
from torch.distributed.rendezvous import rendezvous
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from dynroute_core.cell import CellModule, Gate
from dynroute_core.system.errors import UsageError

# A process that dies is seen at once, by the closed connection and by the agent. What may take long is the leader
# alone at work: counting the open paths of a whole training split on a CPU.
PATIENCE = timedelta(days=1)


@dataclass(frozen=True)
class Team:
    """This process among those that train together. rank: 0 leads, and alone writes files."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def total(self, own: Tensor) -> Tensor:
        """The sum over all processes; no gradient flows through it."""
        if self.size == 1:
            return own
        everyone = own.detach().clone()
        dist.all_reduce(everyone)
        return everyone

    def gathered(self, own: Tensor) -> Tensor:
        """Every process's vector after another, in the order of ranks. Gradients flow to this process's own part."""
        if self.size == 1:
            return own
        everyone = [torch.empty_like(own) for _ in range(self.size)]
        dist.all_gather(everyone, own.detach().contiguous())
        everyone[self.rank] = own
        return torch.cat(everyone)

    def any(self, own: bool) -> bool:
        """Whether it is so in any process. Between the CPUs, so that no process waits for its GPU."""
        if self.size == 1:
            return own
        flag = torch.tensor(own, dtype=torch.uint8, device="cpu")
        dist.all_reduce(flag, dist.ReduceOp.MAX)
        return bool(flag)

    def share_hash(self, make: Callable[[], str]) -> str:
        """The sha256 that the leader makes, in hexadecimal, in every process."""
        if self.size == 1:
            return make()
        digest = list(bytes.fromhex(make())) if self.leads else [0] * 32
        told = torch.tensor(digest, dtype=torch.uint8, device="cpu")
        dist.broadcast(told, 0)
        return bytes(told.tolist()).hex()

    def wait(self) -> None:
        """Returns once every process has come here."""
        self.any(False)

    @contextmanager
    def leader_first(self) -> Iterator[None]:
        """The leader works through the block before the others begin with it."""
        if not self.leads:
            self.wait()
        yield
        if self.leads:
            self.wait()

    def places(self, batch: int, parts: int) -> tuple[int, ...]:
        """Which places of a batch worked through in `parts` are this process's: an equal stretch of each part.

        Raises UsageError where the parts cannot be dealt evenly.
        """
        require_even(batch, parts, self.size)
        share = batch // (parts * self.size)
        return tuple((part * self.size + self.rank) * share + place for part in range(parts) for place in range(share))

    def dealt(self, count: int) -> list[int]:
        """Which of `count` things are this process's, dealt like cards: r, r + size, ...; from the first again where
        they do not come out even, so that every process has as many."""
        each = -(-count // self.size)
        return [index % count for index in range(self.rank, each * self.size, self.size)]

    def collected(self, rows: Tensor, count: int) -> Tensor:
        """The rows that the processes made of what was `dealt` to them, all `count` in order."""
        if self.size == 1:
            return rows
        everyone = [torch.empty_like(rows) for _ in range(self.size)]
        dist.all_gather(everyone, rows.contiguous())
        return torch.stack(everyone, dim=1).flatten(0, 1)[:count]

    def wrapped(self, network: nn.Module) -> nn.Module:
        """The network whose backward pass averages gradients over the processes, in buckets, while it goes on."""
        if self.size == 1:
            return network
        with warnings.catch_warnings():  # torch 2.14 has another name for the argument, which 2.11 does not know
            warnings.simplefilter("ignore", FutureWarning)
            # Buffers are equal already: every process computes batch norm's statistics from the same sums.
            return DistributedDataParallel(network, broadcast_buffers=False)

    def unsynchronised(self, network: nn.Module, *, when: bool) -> AbstractContextManager[None]:
        """Where gradients only add up: all parts of a batch but the last."""
        return network.no_sync() if when and isinstance(network, DistributedDataParallel) else nullcontext()


ALONE = Team()


def require_even(batch: int, parts: int, processes: int) -> None:
    """Raises UsageError where a batch cannot be dealt to the processes in equal shares."""
    if batch % (parts * processes):
        raise UsageError(
            f"train.batch={batch} in train.accumulate={parts} parts cannot be dealt evenly to {processes} processes. "
            f"Give a batch that is a multiple of {parts * processes}, or another number of processes."
        )


def team_device(device: str, processes: int) -> str:
    """cpu or cuda: what so many processes compute on. Raises UsageError where there are fewer GPUs."""
    found = torch.cuda.device_count()
    kind = ("cuda" if found else "cpu") if device == "auto" else device
    if processes < 1 or kind not in ("cpu", "cuda"):
        raise UsageError(f"{processes} processes on {device}: give at least 1, and cpu, cuda or auto.")
    if kind == "cuda" and processes > found:
        raise UsageError(
            f"{processes} processes need a GPU each, and torch sees {found}. Give --gpus {found} or fewer, or --procs."
            if found
            else f"{processes} processes need a GPU each, and torch sees none. Give --procs to run on the CPU."
        )
    return kind


@contextmanager
def joined(device: str) -> Iterator[Team]:
    """This process's team, by the environment that the elastic agent gives its workers. device: cpu or cuda."""
    if sys.platform == "linux":
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # one machine: nothing needs to be heard outside
    store, rank, size = next(rendezvous("env://"))
    # The agent keeps one store for all attempts (torch 2.14): without a name of its own, an attempt finds the addresses
    # of processes that are gone.
    attempt = os.environ["TORCHELASTIC_RESTART_COUNT"]
    store = dist.PrefixStore(f"attempt {attempt}", store)  # type: ignore[attr-defined]
    backend = "gloo" if device == "cpu" else "cpu:gloo,cuda:nccl"
    dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=PATIENCE)
    yield Team(rank, size)
    dist.destroy_process_group()  # not after an error: others may be in the middle of a word, and the agent ends them


class TeamNorm(nn.BatchNorm2d):
    """Batch norm whose statistics are the whole batch's. In evaluation, and in state dicts, an `nn.BatchNorm2d`.

    (torch's own SyncBatchNorm refuses CPU tensors, and makes the host wait for the GPU in every layer.) Every process
    must give a batch of the same size.
    """

    def __init__(self, like: nn.BatchNorm2d, team: Team) -> None:
        super().__init__(like.num_features, like.eps, like.momentum)
        self.weight, self.bias = like.weight, like.bias
        self.running_mean, self.running_var = like.running_mean, like.running_var
        self.num_batches_tracked = like.num_batches_tracked
        self.training = like.training
        self.team = team

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        count = self.team.size * x.numel() // x.shape[1]
        mean, variance = self._statistics(x)
        self._track(mean.detach(), variance.detach() * count / (count - 1))  # unbiased, as torch tracks it
        out: Tensor = _Normalise.apply(x, self.weight, self.bias, mean, variance, self.eps, count, self.team)
        return out

    def _statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and biased variance of each channel over all processes."""
        unused = torch.zeros(2, self.num_features, dtype=self.weight.dtype, device=x.device)  # they set the precision
        own = torch.batch_norm_update_stats(x.detach(), unused[0], unused[1], 0.0)
        mean, variance = (each.double() for each in own)  # a mean square beside a large mean loses digits in float32
        both = self.team.total(torch.stack([mean, variance + mean.square()])) / self.team.size
        mean, square = both[0], both[1]
        return mean.to(self.weight.dtype), (square - mean.square()).clamp(min=0).to(self.weight.dtype)

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor) -> None:
        assert self.running_mean is not None and self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        share = 1 / self.num_batches_tracked.double() if self.momentum is None else self.momentum
        self.running_mean.mul_(1 - share).add_(mean * share)
        self.running_var.mul_(1 - share).add_(variance * share)


class _Normalise(Function):
    """(x - mean) / √(variance + eps) · weight + bias, where mean and variance are those of all processes' x."""

    @staticmethod
    def forward(
        ctx: FunctionCtx,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        mean: Tensor,
        variance: Tensor,
        eps: float,
        count: int,
        team: Team,
    ) -> Tensor:
        ctx.save_for_backward(x, weight, mean, variance)
        ctx.eps, ctx.count, ctx.team = eps, count, team  # type: ignore[attr-defined]
        return F.batch_norm(x, mean, variance, weight, bias, False, 0.0, eps)

    @staticmethod
    def backward(ctx: FunctionCtx, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Of weight and bias this process's share, as of every parameter: averaging the gradients is DDP's business."""
        x, weight, mean, variance = ctx.saved_tensors  # type: ignore[attr-defined]
        eps, count, team = ctx.eps, ctx.count, ctx.team  # type: ignore[attr-defined]
        direct, by_weight, by_bias = torch.ops.aten.native_batch_norm_backward(
            grads[0], x, weight, mean, variance, None, None, False, eps, [True, True, True]
        )
        sums = team.total(torch.stack([by_weight, by_bias])) / count
        scale = (variance + eps).rsqrt()
        # What x does to every output through the variance, and through the mean.
        slope, shift = (part.view(-1, 1, 1) for part in (weight * scale.square() * sums[0], weight * scale * sums[1]))
        through = (x - mean.view(-1, 1, 1)).mul_(slope).add_(shift)
        return (direct - through).to(x.dtype), by_weight, by_bias, None, None, None, None, None


def synchronise(network: nn.Module, team: Team) -> None:
    """Makes a network a member's: batch norms and gates are the whole batch's, drop path that of its images' places."""
    if team.size == 1:
        return
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if type(child) is nn.BatchNorm2d:
                setattr(module, name, TeamNorm(child, team))
        if isinstance(module, CellModule):
            module.share = (team.rank, team.size)
        if isinstance(module, Gate):
            module.total = team.total
