"""How a batch goes through the network and back, and how weights move: the seam between `train.py` and who computes.

`EagerStep` is torch's own and the specification. `engine/training.py` has a compiled one, which a run takes where it
can; both train the same model object, so checkpoints, costs and evaluation know no difference.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from dynroute_core.cost import Accounting, Cost
from dynroute_core.losses import segmentation_loss
from dynroute_core.optimizer import average_weights


class StepOutput(Protocol):
    """What a forward pass gives: logits N×K×H×W at the images' size, and what the routes cost."""

    @property
    def logits(self) -> Tensor: ...
    def cost(self, *, height: int, width: int, accounting: Accounting) -> Cost: ...


class Step(Protocol):
    """Who computes a training step. Gradients add up from `zero_grad` on; `clip` comes before `update`."""

    name: str  # for records

    def forward(self, images: Tensor) -> StepOutput:
        """A forward pass in training, with the batch's own statistics. images: N×3×H×W, BGR, 0..255."""

    def losses(
        self, images: Tensor, labels: Tensor, labelled: Tensor, weights: Tensor | None = None
    ) -> tuple[StepOutput, Tensor]:
        """`forward`, and the cross-entropy summed over the labelled pixels, as a share of `labelled` of them. weights:
        K, of the classes."""

    def zero_grad(self) -> None: ...
    def clip(self, most: float) -> Tensor:
        """Shortens the gradient of all parameters to a norm of at most `most`; gives the norm that it had."""

    def update(self, optimizer: Optimizer) -> None:
        """One step of the optimizer, which holds momenta and moments."""

    def average(self, optimizer: Optimizer, keep: float) -> None:
        """Moves the weights' average, which the optimizer holds, as `optimizer.average_weights` does."""


class EagerStep:
    """Torch, operation by operation. network: `model`, compiled by torch or wrapped for several processes."""

    name = "eager"

    def __init__(self, model: nn.Module, network: nn.Module, *, amp: bool, channels_last: bool) -> None:
        self._model, self._network = model, network
        self._amp, self._channels_last = amp, channels_last
        parameter = next(model.parameters())
        self._device = parameter.device.type
        self._precision = torch.promote_types(parameter.dtype, torch.float32)  # of images and losses

    def forward(self, images: Tensor) -> StepOutput:
        images = images.to(self._precision)
        if self._channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        with torch.autocast(self._device, torch.bfloat16, enabled=self._amp):
            output: StepOutput = self._network(images)
        return output

    def losses(
        self, images: Tensor, labels: Tensor, labelled: Tensor, weights: Tensor | None = None
    ) -> tuple[StepOutput, Tensor]:
        output = self.forward(images)
        logits = output.logits.to(self._precision)
        return output, segmentation_loss(logits, labels, labelled=labelled, weights=weights)

    def zero_grad(self) -> None:
        self._model.zero_grad(set_to_none=True)

    def clip(self, most: float) -> Tensor:
        return torch.nn.utils.clip_grad_norm_(self._model.parameters(), most, foreach=True)

    def update(self, optimizer: Optimizer) -> None:
        optimizer.step()

    def average(self, optimizer: Optimizer, keep: float) -> None:
        average_weights(optimizer, keep)
