"""Learning Dynamic Routing for Semantic Segmentation (CVPR 2020), reproduced: model, costs, data, training, evaluation.

The public names are imported when they are first asked for, so that `reproduce.py --help` and the processes that draw
street scenes start without torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dynroute_core.engine.inference import InferenceEngine
    from dynroute_core.experiments import ROWS, Experiment, experiment
    from dynroute_core.model import RoutingOutput, Segmenter
    from dynroute_core.runs.prediction import PredictedPicture, predict
    from dynroute_core.runs.shipped import load
    from dynroute_core.space import Cell, ModelConfig, Route, RoutingSpace

_HOME = {
    "ROWS": "experiments",
    "Cell": "space",
    "Experiment": "experiments",
    "InferenceEngine": "engine.inference",
    "ModelConfig": "space",
    "PredictedPicture": "runs.prediction",
    "Route": "space",
    "RoutingOutput": "model",
    "RoutingSpace": "space",
    "Segmenter": "model",
    "experiment": "experiments",
    "load": "runs.shipped",
    "predict": "runs.prediction",
}
__all__ = [
    "ROWS",
    "Cell",
    "Experiment",
    "InferenceEngine",
    "ModelConfig",
    "PredictedPicture",
    "Route",
    "RoutingOutput",
    "RoutingSpace",
    "Segmenter",
    "experiment",
    "load",
    "predict",
]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
