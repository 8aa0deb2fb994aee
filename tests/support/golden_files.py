"""The numbers of the original implementation in `golden/`, and our network and recipe set up as they were made.

Float32 files were made on one AVX-512 processor. Float32 sums in another order push a few ReLUs over their kink, so
float32 gradients differ between processors, and even more from float64. The float64 files are what ours must equal.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from dynroute_core.losses import Budget
from dynroute_core.model import Segmenter
from dynroute_core.recipe import TrainConfig
from dynroute_core.space import ModelConfig
from dynroute_core.weights.released_names import load_original, original_name

FOLDER = Path(__file__).parents[1] / "golden"
BUDGET_MACS = 26300e6  # the released code's constant, whatever the network's width


def _names(kind: str) -> list[str]:
    return sorted({path.name.split(".")[0] for path in FOLDER.glob(f"{kind}_*.safetensors")})


EVAL_FILES = _names("eval")
TRAIN_FILES = [name for name in _names("train") if not name.endswith("_float64")]  # each has a file in float64
TRAJECTORY_FILES = _names("trajectory")


@dataclass(frozen=True)
class GoldenBatch:
    """A batch as `Trainer` takes it."""

    images: Tensor
    labels: Tensor
    names: tuple[str, ...]


def load(name: str) -> tuple[dict, dict[str, Tensor]]:
    """A file's facts and tensors; of a large one, the batches are in a file beside it."""
    facts: dict = {}
    tensors: dict[str, Tensor] = {}
    for path in sorted(FOLDER.glob(f"{name}.*safetensors")):
        with safe_open(path, framework="pt") as file:
            facts |= json.loads((file.metadata() or {}).get("golden", "{}"))
            tensors |= {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a mapping)
    return facts, tensors


def within(tensors: dict[str, Tensor], group: str) -> dict[str, Tensor]:
    """The tensors of a group (`weights`, `grad`, `updated`, `final`), by the original's names."""
    return {name.removeprefix(f"{group}/"): value for name, value in tensors.items() if name.startswith(f"{group}/")}


def build(facts: dict, tensors: dict[str, Tensor], dtype: torch.dtype = torch.float32) -> Segmenter:
    """Our network with a file's weights."""
    config = facts["config"]
    gate = "small" if config.get("small") else "full"
    model = Segmenter(ModelConfig(layers=config["layers"], channels=config["channels"], gate=gate))
    load_original(model, within(tensors, "weights"))
    return model.to(dtype)


def batch(tensors: dict[str, Tensor], prefix: str = "") -> GoldenBatch:
    """A file's batch; prefix: `batch/3/` where it has several."""
    count = sum(name.startswith(f"{prefix}image/") for name in tensors)
    images, labels = ([tensors[f"{prefix}{kind}/{k}"] for k in range(count)] for kind in ("image", "label"))
    return GoldenBatch(torch.stack(images), torch.stack(labels), tuple(f"golden {prefix}{k}" for k in range(count)))


def recipe(facts: dict, images: int, **settings: float) -> TrainConfig:
    """The published recipe as a file was made. settings: where it was made with others, and a budget's `start` and
    `ramp`."""
    config = facts["config"]
    height, width = facts["nominal_size"]
    schedule = {name: settings.pop(name) for name in ("start", "ramp") if name in settings}
    budget = Budget(weight=config["lw"], target=config["mu"], **schedule) if config.get("constrain") else None
    return TrainConfig(
        batch=images,
        crop_height=height,  # where costs are counted; the images are smaller
        crop_width=width,
        budget=budget,
        budget_macs=BUDGET_MACS if budget else None,
        **settings,
    )


def gradients(model: Segmenter) -> dict[str, Tensor]:
    """By the original's names."""
    return {original_name(n): p.grad for n, p in model.named_parameters() if p.grad is not None}


def statistics(model: Segmenter) -> dict[str, Tensor]:
    """Batch norm's, by the original's names."""
    return {original_name(n): buffer for n, buffer in model.named_buffers() if "running_" in n}


def largest(values: dict[str, Tensor]) -> float:
    return max(value.abs().max().item() for value in values.values())


def relative_error(ours: Tensor, theirs: Tensor) -> float:
    scale = theirs.abs().max().clamp(min=1e-12)
    return ((ours - theirs).abs().max() / scale).item()


def distance(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> float:
    """The largest difference anywhere, as a share of the largest entry of all of theirs. Ours may hold more names."""
    return max((ours[name] - value).abs().max().item() for name, value in theirs.items()) / largest(theirs)
