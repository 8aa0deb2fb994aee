"""Routes by name, by file and as an image took them; and every file that must not pass for one."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from dynroute_core.runs.record import Routes
from dynroute_core.runs.route_files import MAX_MB, ROUTE_NAMES, find_route, image_route, read_route, write_route
from dynroute_core.space import INITIAL, Cell, ModelConfig, RoutingSpace
from dynroute_core.static_routes import static_model, static_route
from dynroute_core.system.errors import BlockedError, UsageError
from dynroute_core.system.strict_json import to_json
from support.random_routes import some_paths
from support.sample_records import random_output, sample_routes

SPACE = RoutingSpace(8, 4)
CONFIG = ModelConfig(layers=4, channels=4, gate="small")


@pytest.fixture
def recorded(tmp_path: Path) -> tuple[Path, Routes]:
    routes = sample_routes(CONFIG, bias=-0.4)
    path = tmp_path / "routes.json"
    path.write_bytes(to_json(routes))
    return path, routes


def test_names():
    assert find_route("all-open", SPACE) == frozenset(SPACE.all_paths)
    assert find_route("all-closed", SPACE) == frozenset()
    assert find_route("static-unet", SPACE) == static_route("unet", 8)
    for name in ROUTE_NAMES:
        assert SPACE.check_route(find_route(name, SPACE)) == find_route(name, SPACE)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("static-unt", r"unknown route 'static-unt'\. Did you mean 'static-unet'"),
        ("", "unknown route ''. Known: all-open, all-closed, static-fcn32s"),
        ("unet", "FILE.json#IMAGE"),
        ("image:street", "there are no routes to look in. Give FILE.json#street"),
    ],
)
def test_names_that_are_none(text, message):
    with pytest.raises(UsageError, match=message.replace("(", "\\(")):
        find_route(text, SPACE)


def test_a_network_that_does_not_fit_the_depth():
    with pytest.raises(UsageError, match="U-Net does not fit 4 layers"):
        find_route("static-unet", RoutingSpace(4, 8))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(drawn=some_paths())
def test_what_is_written_is_read(drawn, tmp_path):
    space, paths = drawn
    path = tmp_path / "mine.json"
    write_route(path, paths, layers=space.layers)
    assert read_route(path, space) == find_route(str(path), space) == paths
    content = json.loads(path.read_text())
    assert (content["schema"], content["layers"]) == (1, space.layers)
    assert path.read_bytes().endswith(b"}\n")


def test_only_paths_of_the_space_are_written(tmp_path):
    with pytest.raises(ValueError, match=r"no path 'keep' leaves cell 9\.0"):
        write_route(tmp_path / "mine.json", frozenset({(Cell(9, 0), "keep")}), layers=8)
    assert not list(tmp_path.iterdir())


GOOD = {"schema": 1, "layers": 8, "paths": ["init>keep"]}


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (GOOD | {"paths": ["init>up"]}, UsageError, "mine.json: no path 'init>up' in a space of 8 layers"),
        (GOOD | {"paths": ["../../etc/passwd"]}, UsageError, "no path '../../etc/passwd'"),
        (GOOD | {"layers": 16}, UsageError, "a route of 16 layers; this network has 8"),
        (GOOD | {"schema": 2}, BlockedError, "has schema 2, this version reads 1"),
        (GOOD | {"factors": []}, BlockedError, "is no route file: .*factors.*It has to be"),
        ({"schema": 1, "layers": 8}, BlockedError, "is no route file: .*paths"),
        (GOOD | {"paths": "init>keep"}, BlockedError, "is no route file: .*array"),
        (GOOD | {"paths": [["init", "keep"]]}, BlockedError, "is no route file"),
        (GOOD | {"layers": 8.5}, BlockedError, "is no route file"),
        ([], BlockedError, "is no route file"),
    ],
)
def test_content_that_is_no_route_of_this_space(content, error, message, tmp_path):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(content))
    with pytest.raises(error, match=message):
        find_route(str(path), SPACE)


@pytest.mark.parametrize("raw", [b"", b"{", b"\xff\xfe", b"[" * 5000, b'{"schema": 1e999, "layers": 8, "paths": []}'])
def test_bytes_that_are_no_json(raw, tmp_path):
    path = tmp_path / "mine.json"
    path.write_bytes(raw)
    with pytest.raises(BlockedError, match=r"mine\.json is no route file"):
        read_route(path, SPACE)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(BlockedError, match=r"cannot read .*none\.json"):
        find_route(str(tmp_path / "none.json"), SPACE)
    (tmp_path / "folder.json").mkdir()
    os.mkfifo(tmp_path / "pipe.json")  # reading it would wait for a writer
    for name in ("folder.json", "pipe.json"):
        with pytest.raises(BlockedError, match=r"it is (a folder|no regular file)"):
            find_route(str(tmp_path / name), SPACE)
    with (tmp_path / "large.json").open("wb") as file:
        file.truncate((MAX_MB << 20) + 1)
    with pytest.raises(BlockedError, match="at most 1 MB are read"):
        find_route(str(tmp_path / "large.json"), SPACE)
    with pytest.raises(BlockedError, match="cannot read"):
        find_route("nul\0.json", SPACE)


def test_the_route_an_image_took(recorded):
    """Equal to what the forward pass itself says, closed cells' identity keeps included."""
    path, routes = recorded
    space = RoutingSpace.of(CONFIG)
    assert set("ocd") == set("".join(image.states for image in routes.images))
    for image, taken in zip(routes.images, random_output(CONFIG, 6, 1, -0.4).routes(), strict=True):
        assert find_route(f"{path}#{image.name}", space) == taken
        assert find_route(f"image:{image.name}", space, routes=path) == taken


def test_images_that_are_not_recorded(recorded):
    path, routes = recorded
    space = RoutingSpace.of(CONFIG)
    with pytest.raises(
        UsageError, match=r"unknown image of .*routes\.json 'street_00001'\. Did you mean 'street_000001'"
    ):
        find_route(f"{path}#street_00001", space)
    with pytest.raises(UsageError, match="unknown image"):
        find_route(f"{path}#", space)
    with pytest.raises(UsageError, match="a route of 4 layers; this network has 8"):
        find_route(f"{path}#street_000001", SPACE)
    many = tuple(replace(routes.images[0], name=f"street_{number:06d}") for number in range(500))
    path.write_bytes(to_json(replace(routes, images=many)))
    with pytest.raises(UsageError, match=r"street_000099, \.\.\. \(500 in all\)\.$"):
        find_route(f"{path}#nothing", space)


def test_recorded_routes_that_cannot_be(recorded, tmp_path):
    path, routes = recorded
    space = RoutingSpace.of(CONFIG)
    path.write_bytes(to_json(replace(routes, paths=("9.9>up", *routes.paths[1:]))))
    with pytest.raises(BlockedError, match=r"paths that its own space lacks: no path '9\.9>up'"):
        for image in routes.images:
            image_route(path, image.name, space)
    path.write_text("{}")
    with pytest.raises(BlockedError, match="is not a readable routes"):
        find_route(f"{path}#street_000001", space)
    with pytest.raises(BlockedError, match="cannot read"):
        find_route(f"{tmp_path / 'none.json'}#street_000001", space)


def test_a_fixed_network_takes_its_own_paths_only(tmp_path):
    own = RoutingSpace.of(static_model("unet", 8))
    assert find_route("all-open", own) == find_route("static-unet", own) == frozenset(own.all_paths)
    with pytest.raises(UsageError, match=r"static-hrnetv2 opens .* paths that this network lacks, .* first"):
        find_route("static-hrnetv2", own)
    write_route(tmp_path / "mine.json", frozenset({(INITIAL, "keep"), (Cell(7, 3), "keep")}), layers=8)
    with pytest.raises(UsageError, match=r"opens 1 paths that this network lacks, 7\.3>keep first"):
        find_route(str(tmp_path / "mine.json"), own)
