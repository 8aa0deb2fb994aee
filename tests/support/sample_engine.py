"""Routes drawn at random for the engines, and what an engine must give: what the model gives."""

from __future__ import annotations

import random

import torch

from dynroute_core import InferenceEngine, Route, RoutingSpace, Segmenter


def relative(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    return ((ours - theirs).abs().max() / theirs.abs().max().clamp(min=1e-12)).item()


def assert_equal(engine: InferenceEngine, model: Segmenter, batch: torch.Tensor, tolerance: float, **how) -> None:
    with torch.inference_mode():
        theirs = model(batch, **how)
    ours = engine(batch, **how)
    assert ours.logits.shape == theirs.logits.shape
    assert relative(ours.logits, theirs.logits) < tolerance
    for cell, gate in theirs.gates.items():
        assert torch.equal(ours.gates[cell].state, gate.state), cell
        torch.testing.assert_close(ours.gates[cell].factors, gate.factors, rtol=0, atol=tolerance)
    labels = engine.labels(batch, **how)
    best, second = theirs.logits.topk(2, dim=1).values.unbind(1)
    tie = best - second <= 2 * tolerance * theirs.logits.abs().max()
    assert ((labels == theirs.logits.argmax(1)) | tie).all()


def random_routes(space: RoutingSpace, count: int) -> list[Route]:
    rng = random.Random(7)
    return [
        frozenset(path for path in space.all_paths if rng.random() < share)
        for share in rng.choices((0.4, 0.7, 0.9), k=count)
    ]
