"""The figures of the profiles: by how much `demo` and `smoke` are smaller than the published setting, per data set.

Numbers only; the rules by which `experiments.py` applies them stand there, and what a data set is in its `DataSource`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from dynroute_core.data.source import DataSource


@dataclass(frozen=True, kw_only=True)
class Shrink:
    """How a profile makes a run smaller than the published one. lr_factor multiplies the published lr × batch/8."""

    channels: int
    stem_channels: int
    iterations: int
    batch: int
    warmup_share: float
    lr_factor: float
    precise_bn_batches: int
    image_share: float  # of the data set's image height: what evaluation shows, and training is centred on
    crop_share: float  # of that height
    scales: tuple[float, ...]  # of that height


PUBLISHED_HEIGHT = 1024  # of Cityscapes' images, pixels; the two that follow are shares of it
PUBLISHED_SCALES = (0.5, 0.75, 1.0, 1.25, 1.5, 2.0)  # 512 ... 2048 of 1024
PUBLISHED_CROP = 0.75  # 768 of 1024

SMOKE = Shrink(
    channels=4,
    stem_channels=8,
    iterations=6,
    batch=2,
    warmup_share=0.2,
    lr_factor=1.0,
    precise_bn_batches=2,
    image_share=1.0,
    crop_share=0.5,
    scales=(0.75, 1.0),
)
# Tuned once, on dynamic-raw and CamVid, for the mIoU of a quarter of an hour on two cores; LOG.md has what was tried.
_LONG = Shrink(
    channels=16,
    stem_channels=32,
    iterations=2000,
    batch=8,
    warmup_share=0.02,
    lr_factor=2.0,
    precise_bn_batches=30,
    image_share=0.5,
    crop_share=0.89,
    scales=(3 / 4, 1.0, 4 / 3),
)
# make reproduce: five minutes with everything around it.
_SHORT = replace(_LONG, channels=8, stem_channels=16, iterations=600)


def demo(source: DataSource) -> Shrink:
    """The demo profile's figures for a data set."""
    return replace(_SHORT if source.demo == "short" else _LONG, image_share=source.demo_image_share)
