"""The candidate operations of a cell (paper, section 3.2): what may be summed into a cell's hidden state.

Each is a module C×H×W → C×H×W, without activation at its end. Takes names of `OperationName`; costs are in `cost.py`.
Every row of the table uses sep_conv_3x3 + skip_connect; the rest are the released code's other candidates.
"""

from __future__ import annotations

from torch import Tensor, nn

from dynroute_core.space import OperationName


class ConvNorm(nn.Sequential):
    """Convolution without bias, batch norm, and a ReLU where asked."""

    conv: nn.Conv2d
    norm: nn.BatchNorm2d

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 1,
        *,
        stride: int = 1,
        padding: int | None = None,
        groups: int = 1,
        relu: bool,
    ) -> None:
        super().__init__()
        padding = kernel // 2 if padding is None else padding
        self.add_module("conv", nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False))
        self.add_module("norm", nn.BatchNorm2d(outputs))
        if relu:
            self.add_module("relu", nn.ReLU())


def depthwise(channels: int, kernel: int, *, stride: int = 1, dilation: int = 1) -> nn.Conv2d:
    """A k×k convolution of each channel by itself, size kept (halved at stride 2), no bias."""
    padding = dilation * (kernel // 2)
    return nn.Conv2d(channels, channels, kernel, stride, padding, dilation, groups=channels, bias=False)


def separable_conv(channels: int, kernel: int, *, pairs: int, dilation: int = 1) -> nn.Sequential:
    """`pairs` × (depthwise k×k, pointwise + BN), a ReLU between pairs."""
    stages: list[nn.Module] = []
    for pair in range(pairs):
        stages.append(depthwise(channels, kernel, dilation=dilation))
        stages.append(ConvNorm(channels, channels, relu=pair < pairs - 1))
    return nn.Sequential(*stages)


def bottleneck(channels: int, kernel: int, *, middle: int, groups: int) -> nn.Sequential:
    """1×1 → k×k → 1×1, BN after each, ReLU after the first two."""
    return nn.Sequential(
        ConvNorm(channels, middle, relu=True),
        ConvNorm(middle, middle, kernel, groups=groups, relu=True),
        ConvNorm(middle, channels, relu=False),
    )


class NoOperation(nn.Module):
    """Contributes zeros."""

    def forward(self, x: Tensor) -> Tensor:
        return x * 0


def build_operation(name: OperationName, channels: int) -> nn.Module:
    """The module of one candidate operation on `channels` channels."""
    match name:
        case "none":
            return NoOperation()
        case "skip_connect":
            return nn.Identity()
        case "avg_pool_3x3":
            return nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False)
        case "max_pool_3x3":
            return nn.MaxPool2d(3, stride=1, padding=1)
        case "sep_conv_3x3" | "sep_conv_5x5" | "sep_conv_7x7":
            return separable_conv(channels, int(name[-1]), pairs=2)
        case "sep_conv_heavy_3x3" | "sep_conv_heavy_5x5":
            return separable_conv(channels, int(name[-1]), pairs=3)
        case "dil_conv_3x3" | "dil_conv_5x5":
            return separable_conv(channels, int(name[-1]), pairs=1, dilation=2)
        case "conv_3x3_basic":
            return ConvNorm(channels, channels, 3, relu=False)
        case "Bottleneck_3x3" | "Bottleneck_5x5":
            return bottleneck(channels, int(name[-1]), middle=max(channels // 4, 1), groups=1)
        case "MBConv_3x3" | "MBConv_5x5":
            return bottleneck(channels, int(name[-1]), middle=4 * channels, groups=4 * channels)
