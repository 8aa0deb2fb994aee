"""A model's parameters, batch norm statistics and optimizer state in flat buffers, which the compiled step works on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from dynroute_core.cell import CellModule
from dynroute_core.model import Segmenter
from dynroute_core.optimizer import parameters_of
from dynroute_core.space import ModelConfig
from dynroute_kernels.cpu import training as kernels


@dataclass
class Flat:
    """A model's parameters and batch norm statistics, each in one buffer; the model's own tensors are views of them.

    Convolutions' weights lie channels last. Tensors begin at whole vectors, and what lies between is 0. counts: batches
    that each norm has seen.
    """

    parameters: Tensor
    statistics: Tensor
    counts: Tensor
    firsts: dict[nn.Parameter, int] = field(default_factory=dict)
    norms: dict[nn.BatchNorm2d, int] = field(default_factory=dict)

    @classmethod
    def of(cls, model: nn.Module) -> Flat:
        parameters = list(model.parameters())
        norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
        dtype = parameters[0].dtype
        flat = cls(
            torch.zeros(sum(aligned(p.numel()) for p in parameters), dtype=dtype, device="cpu", requires_grad=True),
            torch.zeros(sum(2 * aligned(norm.num_features) for norm in norms), dtype=dtype, device="cpu"),
            torch.zeros(len(norms), dtype=torch.int64, device="cpu"),
        )
        at = 0
        for parameter in parameters:
            flat.firsts[parameter] = at
            parameter.data = flat.view(flat.parameters.detach(), parameter).copy_(parameter.detach())
            at += aligned(parameter.numel())
        at = 0
        for index, norm in enumerate(norms):
            flat.norms[norm] = at
            for name in ("running_mean", "running_var"):
                setattr(norm, name, flat.statistics[at : at + norm.num_features].copy_(getattr(norm, name)))
                at += aligned(norm.num_features)
            assert norm.num_batches_tracked is not None
            norm.num_batches_tracked = flat.counts[index].copy_(norm.num_batches_tracked)
        return flat

    def spans(self, groups: Sequence[dict[str, Any]]) -> kernels.Spans:
        """Where the groups' parameters lie, with their decay and learning rate."""
        each = [(group, parameter) for group in groups for parameter in group["params"]]
        return kernels.Spans(
            firsts=[self.firsts[parameter] for _, parameter in each],
            counts=[parameter.numel() for _, parameter in each],
            decays=[group["weight_decay"] for group, _ in each],
            rates=[group["lr"] for group, _ in each],
        )

    def view(self, buffer: Tensor, parameter: nn.Parameter) -> Tensor:
        """The parameter's part of a buffer that is laid out like `parameters`."""
        part = buffer[self.firsts[parameter] :][: parameter.numel()]
        if parameter.dim() != 4:
            return part.view(parameter.shape)
        outputs, inputs, height, width = parameter.shape
        return part.view(outputs, height, width, inputs).permute(0, 3, 1, 2)


@dataclass
class FlatState:
    """An optimizer's state of every parameter: a buffer for each of torch's kinds, laid out like the parameters."""

    flat: Flat
    _buffers: dict[str, tuple[Tensor, dict[nn.Parameter, Tensor]]] = field(default_factory=dict)

    def buffer(
        self, optimizer: Optimizer, kind: str, groups: Sequence[dict[str, Any]], *, like: Tensor | None = None
    ) -> Tensor:
        """All tensors of a kind; they begin as in `like`, or as 0. The optimizer's own of these groups become views of
        it, with the values that a checkpoint may have set."""
        if kind not in self._buffers:
            new = kernels.zeros(len(self.flat.parameters), self.flat.parameters.dtype)
            self._buffers[kind] = new, {one: self.flat.view(new, one) for one in self.flat.firsts}
        buffer, views = self._buffers[kind]
        for parameter in parameters_of(groups):
            own = views[parameter]
            found = optimizer.state[parameter].get(kind)
            if found is own:
                continue
            if found is None:
                found = own.zero_() if like is None else self.flat.view(like, parameter)
            optimizer.state[parameter][kind] = own.copy_(found)
        return buffer


def count_step(optimizer: Optimizer, groups: Sequence[dict[str, Any]]) -> int:
    """Counts a step of AdamW where torch's own does, in the state of every parameter of its groups; gives the number,
    from 1."""
    parameters = parameters_of(groups)
    before = optimizer.state[parameters[0]].get("step", torch.zeros((), dtype=torch.float32, device="cpu"))
    for parameter in parameters:  # a tensor each: torch counts in place
        optimizer.state[parameter]["step"] = before + 1
    return int(before) + 1


def aligned(count: int) -> int:
    return -(-count // kernels.ALIGNMENT) * kernels.ALIGNMENT


def in_order(model: Segmenter) -> tuple[list[nn.Parameter], list[nn.BatchNorm2d]]:
    """Parameters and norms in the order that the kernels walk them (`csrc/cpu/training/network.h`)."""
    parameters: list[nn.Parameter] = []
    norms: list[nn.BatchNorm2d] = []
    for module in _modules(model):
        parameters.extend(module.parameters(recurse=False))
        if isinstance(module, nn.BatchNorm2d):
            norms.append(module)
    return parameters, norms


def _modules(model: Segmenter) -> Iterator[nn.Module]:
    yield from _leaves(model.stem)
    for cell in model.space.cells:
        yield from _cell_modules(model.cell(cell), model.config)
    for narrow in model.head.narrow:
        yield from _leaves(narrow)
    yield from _leaves(model.head.fuse)
    yield model.head.predictor


def _cell_modules(cell: CellModule, config: ModelConfig) -> Iterator[nn.Module]:
    yield from _leaves(cell.operations[config.operations.index("sep_conv_3x3")])
    for path in (cell.up, cell.down):
        if path is not None:
            yield from _leaves(path)
    if cell.gate is not None:
        yield from _leaves(cell.gate.reduce)
        yield cell.gate.factors


def _leaves(module: nn.Module) -> Iterator[nn.Module]:
    """Convolutions and norms inside a module, in forward order."""
    return (one for one in module.modules() if isinstance(one, (nn.Conv2d, nn.BatchNorm2d)))
