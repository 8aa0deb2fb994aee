"""Routes by name, from a file, or as an image took them: what a forced route is given by on the command line.

Takes text and the network's `RoutingSpace`; gives a `Route` of that space. Nothing is run here.

A route file is JSON with exactly these fields, at most 1 MB:

    {"schema": 1, "layers": 16, "paths": ["init>keep", "0.0>down", ...]}

layers: of the space it is meant for; paths: the open ones, `CELL>PATH`, in any order. All others are closed.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from dynroute_core.runs.record import read_routes
from dynroute_core.space import OPEN_THRESHOLD, Route, RoutingSpace, path_name
from dynroute_core.static_routes import STATIC, static_route
from dynroute_core.system.errors import BlockedError, UsageError, suggest
from dynroute_core.system.files import read_regular, write_whole
from dynroute_core.system.strict_json import decode_json

SCHEMA = 1
MAX_MB = 1
ALL_OPEN, ALL_CLOSED, STATIC_PREFIX, IMAGE_PREFIX = "all-open", "all-closed", "static-", "image:"
ROUTE_NAMES = (ALL_OPEN, ALL_CLOSED, *(STATIC_PREFIX + name for name in STATIC))


class RouteFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A route file's content."""

    schema: int
    layers: int
    paths: tuple[str, ...]


def find_route(text: str, space: RoutingSpace, *, routes: Path | None = None) -> Route:
    """The route that `text` means, in this space.

    text: a name of `ROUTE_NAMES`; `FILE.json`, a route file; `FILE.json#IMAGE`, the route of one image of a run's
    `routes.json`; or `image:IMAGE`, the same from the file `routes`. Raises UsageError for what is unknown or not of
    this space, BlockedError for a file that is missing or broken.
    """
    if text.startswith(IMAGE_PREFIX):
        if routes is None:
            raise UsageError(
                f"{text}: there are no routes to look in. Give FILE.json#{text.removeprefix(IMAGE_PREFIX)}."
            )
        return image_route(routes, text.removeprefix(IMAGE_PREFIX), space)
    before, mark, image = text.partition(".json#")
    if mark:
        return image_route(Path(before + ".json"), image, space)
    if text.endswith(".json"):
        return read_route(Path(text), space)
    if text not in ROUTE_NAMES:
        raise suggest("route", text, [*ROUTE_NAMES, "FILE.json", "FILE.json#IMAGE"])
    if text == ALL_OPEN:
        return frozenset(space.all_paths)
    if text == ALL_CLOSED:
        return frozenset()
    return _check_space(static_route(text.removeprefix(STATIC_PREFIX), space.layers), space, text)


def read_route(path: Path, space: RoutingSpace) -> Route:
    """The route of a route file. Raises as `find_route`."""
    try:
        content = msgspec.convert(decode_json(_read(path)), RouteFile)
    except ValueError as error:  # msgspec's are among them
        raise BlockedError(
            f'{path} is no route file: {error}. It has to be {{"schema": 1, "layers": L, "paths": ["init>keep", ...]}}.'
        ) from error
    if content.schema != SCHEMA:
        raise BlockedError(f"{path} has schema {content.schema}, this version reads {SCHEMA}.")
    _check_layers(path, content.layers, space)
    try:
        return _check_space(space.whole.parse_paths(content.paths), space, str(path))
    except ValueError as error:
        raise error if isinstance(error, UsageError) else UsageError(f"{path}: {error}") from error


def write_route(path: Path, route: Route, *, layers: int) -> None:
    """Writes a route file, whole or not at all. Raises ValueError for a path that no space of so many layers has."""
    space = RoutingSpace(layers, 1)
    checked = space.check_route(route)
    names = tuple(path_name(each) for each in space.all_paths if each in checked)
    content = RouteFile(schema=SCHEMA, layers=layers, paths=names)
    write_whole(path, msgspec.json.format(msgspec.json.encode(content), indent=1) + b"\n")


def image_route(path: Path, image: str, space: RoutingSpace) -> Route:
    """The paths along which a recorded image was sent, a closed cell's identity keep among them.

    Raises as `find_route`.
    """
    recorded = read_routes(path)
    _check_layers(path, recorded.layers, space)
    named = {each.name: each for each in recorded.images}
    if image not in named:
        raise suggest(f"image of {path}", image, named)
    factors = zip(recorded.paths, named[image].factors, strict=True)
    try:
        route = space.whole.parse_paths(name for name, factor in factors if factor > OPEN_THRESHOLD)
    except ValueError as error:
        raise BlockedError(f"{path} holds paths that its own space lacks: {error}") from error
    return _check_space(route, space, f"{path}#{image}")


def _read(path: Path) -> bytes:
    try:
        return read_regular(path, most_mb=MAX_MB)
    except OSError as error:
        raise BlockedError(
            f"cannot read {path}: {error.strerror or error}. Give a route file, FILE.json, that is there."
        ) from error


def _check_layers(path: Path, layers: int, space: RoutingSpace) -> None:
    if layers != space.layers:
        raise UsageError(
            f"{path} is a route of {layers} layers; this network has {space.layers}. Give one of its depth."
        )


def _check_space(route: Route, space: RoutingSpace, what: str) -> Route:
    foreign = sorted(route - frozenset(space.all_paths))
    if foreign:
        raise UsageError(
            f"{what} opens {len(foreign)} paths that this network lacks, {path_name(foreign[0])} first. "
            "A fixed network can be sent along its own paths only."
        )
    return route
