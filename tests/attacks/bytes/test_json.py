"""Bad bytes in the files of a run: records, routes, curves, speed records, counts of open paths, plans, route files."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dynroute_core.runs.common_networks import OpenPaths, read_open_paths
from dynroute_core.runs.plan import RunData, plan_opened
from dynroute_core.runs.record import CurvePoint, read_curve, read_record, read_routes, write_curve
from dynroute_core.runs.route_files import find_route, read_route, write_route
from dynroute_core.space import ModelConfig, RoutingSpace
from dynroute_core.system.errors import BlockedError, DynrouteError
from dynroute_core.system.strict_json import DEEPEST, decode_json, to_json
from dynroute_suite.notebook import document
from dynroute_suite.report.failures import read_failure
from dynroute_suite.report.speed_record import read_speed
from support.damage import bombard, bounded, damaged
from support.sample_records import sample_curve, sample_record, sample_routes
from support.sample_speed import RECORD as SPEED

SMALL = ModelConfig(layers=4, channels=4, gate="small")
SPACE = RoutingSpace.of(SMALL)
COUNTS = OpenPaths(
    row="dynamic-a",
    key="0" * 64,
    train_fingerprint="a" * 64,
    images=9,
    opened={f"{cell}>{path}": 5 for cell, path in SPACE.all_paths},
    passed_on={f"{cell}>{path}": 4 for cell, path in SPACE.all_paths},
)


def same_json(value: object, raw: bytes) -> None:
    """What was read is what another reader of JSON reads."""
    written = json.loads(msgspec.json.encode(value))
    assert written == json.loads(raw), "a value was read that does not stand there"


def same_speed(value: object, raw: bytes) -> None:
    given = json.loads(raw)
    for one in given["measurements"]:
        one.setdefault("peak_mb", None)  # the one field that may be left out
    assert json.loads(msgspec.json.encode(value)) == given


def same_curve(points: list[CurvePoint], raw: bytes) -> None:
    lines = list(csv.reader(io.StringIO(raw.decode("utf-8", errors="replace"))))[1:]
    assert [[getattr(p, f.name) for f in fields(CurvePoint)] for p in points] == [list(map(float, n)) for n in lines]


def route_in(path: Path) -> frozenset[object]:
    return frozenset(read_route(path, SPACE))


def same_route(route: frozenset[object], raw: bytes) -> None:
    assert {f"{cell}>{path}" for cell, path in route} == set(json.loads(raw)["paths"])  # type: ignore[misc]


@pytest.mark.parametrize(
    ("name", "make", "read", "accept"),
    [
        ("record.json", lambda path: path.write_bytes(to_json(sample_record(SMALL))), read_record, same_json),
        ("routes.json", lambda path: path.write_bytes(to_json(sample_routes(SMALL))), read_routes, same_json),
        ("curve.csv", lambda path: write_curve(path, sample_curve(8)), read_curve, same_curve),
        ("speed.json", lambda path: path.write_bytes(to_json(SPEED)), read_speed, same_speed),
        ("open_paths.json", lambda path: path.write_bytes(to_json(COUNTS)), read_open_paths, same_json),
        ("mine.json", lambda path: write_route(path, frozenset(SPACE.all_paths), layers=4), route_in, same_route),
    ],
)
def test_damage_is_a_named_error_or_what_stands_there(
    tmp_path: Path,
    name: str,
    make: Callable[[Path], object],
    read: Callable[[Path], object],
    accept: Callable[[object, bytes], None],
) -> None:
    path = tmp_path / name
    make(path)
    whole = path.read_bytes()
    accept(read(path), whole)
    tried, refused = bombard(read, path, damaged(whole, 350), accept=accept)
    assert tried == 350 and 100 < refused < 350  # the loop meets both outcomes


def test_damaged_notebooks_and_failures(tmp_path: Path) -> None:
    cells = [{"id": "failure", "cell_type": "markdown", "source": "**This run did not finish: X.** No.\n\n    why"}]
    raised = {"output_type": "error", "ename": "X", "evalue": "why", "traceback": ["one", "two"]}
    cells.append({"id": "run", "cell_type": "code", "source": "1 / 0", "outputs": [raised]})  # type: ignore[dict-item]
    whole = json.dumps({"cells": cells, "metadata": {"dynroute": {"stamp": "s"}}}).encode()
    path = tmp_path / "failed.ipynb"
    bombard(lambda one: read_failure(one.parent), path, damaged(whole, 200), accept=lambda *_: None)
    for content in damaged(whole, 200, seed=21):
        path.write_bytes(content)
        with bounded():
            assert isinstance(document.stamp_of(path), str)  # no stamp means: made anew
    for content in (b"[" * 10**5, b"{}", b'{"cells": []}', b'{"cells": [], "metadata": 5}', b"\xff"):
        path.write_bytes(content)
        assert document.stamp_of(path) == ""


def test_a_damaged_plan_only_loses_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dynroute_core.experiments import experiment
    from dynroute_core.runs import plan as module

    chosen, wanted = experiment("dynamic-a", profile="smoke"), {"config": {"seed": 0, "train": {"lr": 0.1}}, "data": {}}
    monkeypatch.setattr(module, "ingredients", lambda *_: wanted)
    data = RunData(None, None, "", "")  # type: ignore[arg-type]
    earlier = tmp_path / "dynamic-a" / "smoke-streets-seed0-0badc0de"
    earlier.mkdir(parents=True)
    for content in damaged(json.dumps(wanted).encode(), 150):
        (earlier / "plan.json").write_bytes(content)
        with bounded():
            reason = plan_opened(chosen, data, tmp_path).reason
        assert reason.startswith("since smoke-streets-seed0-0badc0de changed")


READERS: list[Callable[[Path], object]] = [
    *(read_record, read_routes, read_curve, read_speed, read_open_paths, route_in),
    lambda path: find_route(f"{path}#image", SPACE),
]


@pytest.mark.parametrize("read", READERS)
def test_what_is_no_file_is_not_waited_for(tmp_path: Path, read: Callable[[Path], object]) -> None:
    pipe, folder, link, zeros = (tmp_path / f"{name}.json" for name in ("pipe", "folder", "link", "zeros"))
    os.mkfifo(pipe)
    folder.mkdir()
    link.symlink_to(link)
    zeros.symlink_to("/dev/zero")
    for path in (pipe, folder, link, zeros, tmp_path / ("x" * 300 + ".json"), tmp_path / "a\0b.json"):
        with bounded(), pytest.raises(BlockedError, match="cannot read"):
            read(path)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    )
)
def test_any_json_is_read_as_it_stands_or_refused(tmp_path: Path, value: object) -> None:
    raw = json.dumps(value).encode()
    try:
        assert decode_json(raw) == json.loads(raw)
    except ValueError as error:
        assert str(error)
    for read in READERS:
        (tmp_path / "any.json").write_bytes(raw)
        with pytest.raises(DynrouteError, match=r"any\.json"):
            read(tmp_path / "any.json")


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b'{"a": 1, "a": 2}', "the key 'a' stands twice"),
        (b'{"b": [{"a": 1, "\\u0061": 1}]}', "the key 'a' stands twice"),  # escaped, it is the same
        (b"[" * (DEEPEST + 1) + b"]" * (DEEPEST + 1), f"nested more than {DEEPEST}"),
        (b"[" * 10**5, "recursion"),
        (b"[%d]" % 2**63, "more than 64 bits"),
        (b"[1e400]", "out of range"),
        (b"NaN", "malformed"),
        (b"[" + b"[]," * 10**6 + b"[]]", "more values"),
    ],
)
def test_json_that_readers_disagree_on_or_that_claims_memory(raw: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        decode_json(raw)
    assert decode_json(b"[" * DEEPEST + b"]" * DEEPEST) is not None


@pytest.mark.parametrize(
    ("place", "text"),
    [(0, "1.5"), (0, "-1"), (1, "nan"), (1, "inf"), (1, "1e999"), (1, "1_0"), (1, " 1"), (0, "9" * 400), (1, "٢")],
)
def test_curves_hold_plain_finite_numbers_in_order(tmp_path: Path, place: int, text: str) -> None:
    path = tmp_path / "curve.csv"
    write_curve(path, sample_curve(3))
    lines = [line.split(",") for line in path.read_text().splitlines()]
    path.write_text("\n".join(",".join(line) for line in [*lines, lines[-1]]) + "\n")
    with pytest.raises(BlockedError, match=r"curve\.csv, line 5: iteration 30 follows 30"):
        read_curve(path)
    lines[2][place] = text
    path.write_text("\n".join(map(",".join, lines)) + "\n")
    with pytest.raises(BlockedError, match=r"curve\.csv, line 3"):
        read_curve(path)
