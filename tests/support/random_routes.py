"""Random sets of paths of small spaces, for property tests."""

from __future__ import annotations

from hypothesis import strategies as st

from dynroute_core.space import PathKey, RoutingSpace

DEPTHS = (1, 2, 3, 5)


@st.composite
def some_paths(draw: st.DrawFn, depths: tuple[int, ...] = DEPTHS) -> tuple[RoutingSpace, frozenset[PathKey]]:
    """A space, and paths of it: each in with one probability, which is drawn too, so that full and empty sets occur."""
    space = RoutingSpace(draw(st.sampled_from(depths)), 8)
    share = draw(st.floats(0, 1))
    chances = draw(st.lists(st.floats(0, 1), min_size=len(space.all_paths), max_size=len(space.all_paths)))
    return space, frozenset(path for path, chance in zip(space.all_paths, chances, strict=True) if chance <= share)
