"""What sets an evaluation apart from its row's own, in words for tables and titles; empty where nothing does.

Takes a record's `config`, plain JSON of any version of this suite, or a count from it.
"""

from __future__ import annotations

from collections.abc import Mapping

from dynroute_core.published import FROM_IMAGENET


def augmentation(config: Mapping[str, object]) -> str:
    """The test-time augmentation: another protocol than single scale."""
    settings = _part(config, "evaluate")
    scales, flip = settings.get("scales", [1.0]), settings.get("flip", False)
    if not flip and scales == [1.0]:
        return ""
    shown = " ".join(str(scale) for scale in scales) if isinstance(scales, list) else str(scales)
    return f"test-time augmentation: scales {shown}{', flipped' if flip else ''}"


def forced_route(config: Mapping[str, object]) -> str:
    """The route that was forced in place of the gates' own."""
    route = _part(_part(config, "evaluate"), "route")
    paths = route.get("paths")
    if not isinstance(paths, list):
        return ""
    factors = "factors of 1" if route.get("factors") == "one" else "the gates' factors"
    return f"forced route {route.get('name')}: {len(paths)} paths, {factors}"


def given_weights(config: Mapping[str, object]) -> str:
    """The file whose weights were evaluated, or from which training started."""
    given = _part(config, "weights")
    if not given:
        return ""
    return f"{'weights of' if given.get('use') == 'evaluate' else 'started from'} {given.get('file')}"


def from_scratch(config: Mapping[str, object]) -> str:
    """That the row starts from given weights, and this run, as demos may, from random ones."""
    return "from scratch" if config.get("row") in FROM_IMAGENET and not config.get("weights") else ""


def left_out(batches: int) -> str:
    """The batches whose loss was not finite and that were not trained on."""
    return f"{batches} batch{'es' if batches > 1 else ''} with a loss that is not finite left out" if batches else ""


def _part(config: Mapping[str, object], name: str) -> Mapping[str, object]:
    part = config.get(name)
    return part if isinstance(part, dict) else {}
