"""The golden files: numbers of the original implementation."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors import safe_open
from torch import Tensor

from dynroute_core.model import Segmenter
from dynroute_core.space import ModelConfig
from dynroute_core.weights.released_names import load_original

FOLDER = Path(__file__).parents[1] / "golden"


EVAL_FILES = sorted(path.stem for path in FOLDER.glob("eval_*.safetensors"))


TRAIN_FILES = sorted(path.stem for path in FOLDER.glob("train_*.safetensors"))


def load(name: str) -> tuple[dict, dict[str, Tensor]]:
    with safe_open(FOLDER / f"{name}.safetensors", framework="pt") as file:
        return json.loads(file.metadata()["golden"]), {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a mapping)


def build(facts: dict, tensors: dict[str, Tensor]) -> Segmenter:
    config = facts["config"]
    gate = "small" if config.get("small") else "full"
    model = Segmenter(ModelConfig(layers=config["layers"], channels=config["channels"], gate=gate))
    load_original(model, {k.removeprefix("weights/"): v for k, v in tensors.items() if k.startswith("weights/")})
    return model
