"""Which scenes a set consists of, where each lies in Cityscapes' layout, and which kind it is.

The kind stands in a scene's city, so that every record of an image has it in the image's name.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, get_args

from dynroute_core.data.source import Scenes

Kind = Literal["ordinary", "near", "far"]
"""near: few large objects close to the camera; far: many small ones; ordinary: any distance."""

VAL_OFFSET = 1 << 20
"""Scene index of the first validation scene: the training set can grow without touching validation."""

_FRAME = 19
_CITIES = {
    "train": (
        "alderbruck",
        "birkenau",
        "cordelle",
        "dunmarsh",
        "eschwald",
        "fennick",
        "garlow",
        "hollenried",
    ),
    "val": ("ivenstadt", "jarnby", "kestrel"),
}
# An official name has exactly one word before its two numbers, so the kind is the whole city.
_CITIES_OF_KINDS = {"near": ("near",), "far": ("far",), "mixed": ("near", "far")}


@dataclass(frozen=True)
class Place:
    """A scene of a set. stem: its files' name below a root's folders, as "train/city/city_000000_000019"."""

    stem: str
    index: int
    kind: Kind


def places(scenes: Scenes, *, train: int, val: int) -> Iterator[Place]:
    """Every scene of a set with so many of each split. Of mixed scenes every other one is near: files sorted by name
    are halves of either kind, so that whatever is spread over them has both."""
    for split, count, first in (("train", train, 0), ("val", val, VAL_OFFSET)):
        cities = _CITIES[split] if scenes == "ordinary" else _CITIES_OF_KINDS[scenes]
        for number in range(count):
            city, sequence = cities[number % len(cities)], number // len(cities)
            stem = f"{city}/{city}_{sequence:06d}_{_FRAME:06d}"
            yield Place(f"{split}/{stem}", first + number, kind_of(stem))


def kind_of(name: str) -> Kind:
    """The kind of the scene whose name in a data set and in records is `name`, "near/near_000000_000019"."""
    city = name.partition("/")[0]
    return next((kind for kind in get_args(Kind) if kind == city), "ordinary")
