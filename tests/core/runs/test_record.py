"""Records, routes and curves as files: round trips, and every kind of wrong file ends in one kind of error."""

from __future__ import annotations

import json
import math
import os
import random
from dataclasses import fields, replace

import pytest

from dynroute_core.runs.record import (
    SCHEMA,
    CurvePoint,
    Record,
    example_names,
    read_curve,
    read_record,
    read_routes,
    write_curve,
    write_record,
)
from dynroute_core.space import ModelConfig
from dynroute_core.system.errors import BlockedError
from dynroute_core.system.files import MAX_FILE_MB, read_file
from dynroute_core.system.strict_json import parse, to_json
from support.sample_records import sample_curve, sample_record, sample_routes

ROUTES_CONFIG = ModelConfig(layers=4, channels=4, gate="small")


@pytest.fixture(scope="module")
def record():
    return sample_record()


@pytest.fixture(scope="module")
def plain(record):
    return json.loads(to_json(record))


def damaged(plain, place, value):
    """The record's JSON with one value replaced; `place` is a path of keys, the last one may be new."""
    changed = json.loads(json.dumps(plain))
    *parents, last = place
    spot = changed
    for parent in parents:
        spot = spot[parent]
    spot[last] = value
    return json.dumps(changed).encode()


# --- records ---------------------------------------------------------------------------------------------------------


def test_round_trip(tmp_path, record):
    write_record(tmp_path / "record.json", record)
    assert read_record(tmp_path / "record.json") == record
    text = (tmp_path / "record.json").read_text()
    assert text.endswith("}\n")
    assert list(json.loads(text)) == [field.name for field in fields(Record)]  # in the order they are declared


def test_the_label_names_profile_and_data(record):
    assert record.label == "dynamic-a (demo profile, streets, seed 0)"


@pytest.mark.parametrize(
    ("row", "weights", "marks"),
    [
        ("dynamic-a", None, ()),
        ("dynamic-raw-imagenet", None, ("from scratch",)),
        ("dynamic-raw-imagenet", {"file": "backbone.pth", "use": "start"}, ("started from backbone.pth",)),
        ("a row of another version", None, ()),
    ],
)
def test_a_row_that_starts_from_weights_is_marked_where_it_did_not(record, row, weights, marks):
    run = replace(record, config=record.config | {"row": row, "weights": weights})
    assert run.marks == marks
    assert all(mark in run.label for mark in marks)


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("row",), 5, r"Expected `str`, got `int` - at `\$\.row`"),
        (("seed",), "0", r"\$\.seed"),
        (("seed",), True, r"\$\.seed"),
        (("seed",), 0.5, r"\$\.seed"),
        (("metrics", "miou_percent"), None, r"\$\.metrics\.miou_percent"),
        (("images", 2, "paper_macs"), "many", r"\$\.images\[2\]\.paper_macs"),
        (("data",), [], r"\$\.data"),
        (("images",), {}, r"\$\.images"),
        (("extra",), 1, r"unknown fields \(\$\.extra\)"),
        (("metrics", "extra"), 1, r"unknown fields \(\$\.metrics\.extra\)"),
        (("images", 3, "extra"), 1, r"unknown fields \(\$\.images\[\]\.extra\)"),
    ],
)
def test_wrong_types_and_unknown_fields_are_named(tmp_path, plain, place, value, message):
    path = tmp_path / "record.json"
    path.write_bytes(damaged(plain, place, value))
    with pytest.raises(BlockedError, match=message) as error:
        read_record(path)
    assert str(path) in str(error.value)


def test_every_missing_field_is_named(tmp_path, plain):
    path = tmp_path / "record.json"
    places = [(name,) for name in plain]
    places += [(part, name) for part in ("data", "metrics", "costs", "machine") for name in plain[part]]
    places.remove(("machine", "processes"))  # 1 in records that do not name it
    for place in places:
        changed = json.loads(json.dumps(plain))
        spot = changed
        for parent in place[:-1]:
            spot = spot[parent]
        del spot[place[-1]]
        path.write_text(json.dumps(changed))
        with pytest.raises(BlockedError, match=f"missing required field `{place[-1]}`"):
            read_record(path)


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("schema",), SCHEMA + 1, f"schema {SCHEMA + 1}, this version reads {SCHEMA}"),
        (("metrics", "miou_percent"), 101.0, r"miou_percent is 101"),
        (("metrics", "pixel_accuracy_percent"), -0.1, "pixel_accuracy_percent is -0.1"),
        (("metrics", "class_iou_percent", "road"), 200.0, "IoU of road is 200"),
        (("images", 1, "miou_percent"), 101.0, "mIoU of street_000001 is 101"),
        (("images", 1, "pixel_accuracy_percent"), -1.0, "accuracy of street_000001 is -1"),
        (("images", 1, "paper_macs"), 1e15, "paper cost of street_000001 is 1000000000000000"),
        (("images", 1, "expected_macs"), -1e9, "expected cost of street_000001 is -1"),
        (("costs", "paper", "mean_macs"), 1e15, "paper costs are out of order"),
        (("costs", "repo", "min_macs"), 1.0, "repo costs are out of order"),
        (("costs", "expected", "all_open_macs"), 1, "expected costs are out of order"),
        (("costs", "expected", "all_closed_macs"), -1_000_000, "expected costs are out of order"),
        (("row",), "../dynamic-a", "row is '../dynamic-a'"),
        (("profile",), "<b>", "profile is '<b>'"),
        (("data", "name"), "", "data is ''"),
        (("key",), "0" * 63 + "G", "key is '0"),
        (("images", 1, "name"), "street_000000", "two images are 'street_000000'"),
        (("data", "class_names", 0), "rode", "its classes are not those"),
        (("costs", "nominal_width"), 1 << 40, "costs are counted at 256×1099511627776"),
        (("costs", "nominal_height"), 0, "costs are counted at 0×"),
        (("durations", "train_s"), -1, "a duration is negative"),
        (("training", "resumed_at"), [3, -1], "a duration is negative"),
        (("data", "val_images"), 7, "6 images listed, 7 evaluated"),
    ],
)
def test_impossible_numbers_are_refused(tmp_path, plain, place, value, message):
    path = tmp_path / "record.json"
    path.write_bytes(damaged(plain, place, value))
    with pytest.raises(BlockedError, match=f"cannot be true: .*{message}"):
        read_record(path)


def test_a_class_that_never_occurs_has_no_iou(tmp_path, plain):
    path = tmp_path / "record.json"
    path.write_bytes(damaged(plain, ("metrics", "class_iou_percent", "road"), None))
    assert read_record(path).metrics.class_iou_percent["road"] is None


@pytest.mark.parametrize("word", [b"NaN", b"Infinity", b"-Infinity", b"1e999"])
def test_json_beyond_finite_numbers_is_refused(tmp_path, plain, word):
    path = tmp_path / "record.json"
    path.write_bytes(damaged(plain, ("metrics", "miou_percent"), 77.125).replace(b"77.125", word))
    with pytest.raises(BlockedError):
        read_record(path)


@pytest.mark.parametrize("value", [math.nan, math.inf, 101.0])
def test_impossible_records_are_not_written(tmp_path, record, value):
    path = tmp_path / "record.json"
    write_record(path, record)
    with pytest.raises(ValueError, match="cannot be true"):
        write_record(path, replace(record, metrics=replace(record.metrics, miou_percent=value)))
    with pytest.raises(ValueError, match=r"\$\.durations\.train_s is nan"):
        write_record(path, replace(record, durations=replace(record.durations, train_s=math.nan)))
    with pytest.raises(ValueError, match=r"\$\.config\.lr\[\] is inf"):
        write_record(path, replace(record, config={"lr": [math.inf]}))
    assert read_record(path) == record


@pytest.mark.parametrize(
    "raw",
    [b"", b"null", b"[]", b"5", b"\xff\xfe", b'{"schema": 1', b'{"schema":' * 100_000, b"[" * 100_000, b"\0" * 64],
)
def test_what_is_no_record_is_refused(tmp_path, raw):
    path = tmp_path / "record.json"
    path.write_bytes(raw)
    with pytest.raises(BlockedError, match="not a readable record"):
        read_record(path)


def test_a_record_cut_off_anywhere_is_refused(tmp_path, record):
    path, whole = tmp_path / "record.json", to_json(record)
    for length in [*range(0, len(whole) - 2, 41), len(whole) - 2]:
        path.write_bytes(whole[:length])
        with pytest.raises(BlockedError):
            read_record(path)


def flips(whole, count, seed):
    dice = random.Random(seed)
    for _ in range(count):
        broken = bytearray(whole)
        for _ in range(dice.choice((1, 1, 1, 4))):
            broken[dice.randrange(len(whole))] ^= 1 << dice.randrange(8)
        yield bytes(broken)


@pytest.mark.parametrize(
    ("make", "read"),
    [
        (lambda folder: write_record(folder / "file", sample_record()), read_record),
        (lambda folder: (folder / "file").write_bytes(to_json(sample_routes(ROUTES_CONFIG))), read_routes),
        (lambda folder: write_curve(folder / "file", sample_curve()), read_curve),
    ],
)
def test_flipped_bits_never_end_in_another_error(tmp_path, make, read):
    make(tmp_path)
    path = tmp_path / "file"
    whole, refused = path.read_bytes(), 0
    for broken in flips(whole, 200, seed=11):
        path.write_bytes(broken)
        try:
            read(path)  # a flipped digit may well be a number that can be
        except BlockedError:
            refused += 1
    assert refused > 50


# --- files -----------------------------------------------------------------------------------------------------------


def test_absurdly_large_files_are_refused(tmp_path):
    path = tmp_path / "record.json"
    with path.open("wb") as file:
        os.truncate(file.fileno(), 300 * 2**20)  # sparse: takes no room
    with pytest.raises(BlockedError, match=r"record\.json: it has 300 MB, at most 64 MB are read"):
        read_record(path)


def test_missing_files_and_folders_are_refused(tmp_path):
    for path in (tmp_path / "none.json", tmp_path):
        with pytest.raises(BlockedError, match="Run the row first"):
            read_file(path)


def test_parse_names_what_it_read():
    with pytest.raises(BlockedError, match=r"some file is not a readable curvepoint"):
        parse(CurvePoint, b"{}", "some file")


# --- routes ----------------------------------------------------------------------------------------------------------


def test_routes_round_trip(tmp_path):
    routes = sample_routes(ROUTES_CONFIG)
    (tmp_path / "routes.json").write_bytes(to_json(routes))
    assert read_routes(tmp_path / "routes.json") == routes


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": SCHEMA + 1}, "schema"),
        ({"states": "o"}, "does not fit"),
        ({"states": "x" * 14}, "does not fit"),
        ({"factors": (1.0,)}, "does not fit"),
        ({"cells": ("init",)}, "does not fit the 1 cells"),
    ],
)
def test_routes_that_do_not_fit_their_network_are_refused(tmp_path, change, message):
    routes = sample_routes(ROUTES_CONFIG)
    assert len(routes.cells) == 14
    own = {name: value for name, value in change.items() if name in ("schema", "cells")}
    image = {name: value for name, value in change.items() if name not in own}
    routes = replace(routes, **own, images=(*routes.images[1:], replace(routes.images[0], **image)))
    (tmp_path / "routes.json").write_bytes(to_json(routes))
    with pytest.raises(BlockedError, match=message):
        read_routes(tmp_path / "routes.json")


# --- curves ----------------------------------------------------------------------------------------------------------


def test_curve_round_trip_to_the_last_bit(tmp_path):
    """A resumed run reads its curve back, and its final loss must be that of an uninterrupted one."""
    points = [*sample_curve(), replace(sample_curve()[0], iteration=559_999, loss=1 / 3, expected_macs=1e11 / 3)]
    write_curve(tmp_path / "curve.csv", points)
    assert read_curve(tmp_path / "curve.csv") == points
    write_curve(tmp_path / "curve.csv", [])
    assert read_curve(tmp_path / "curve.csv") == []


GOOD = "10,1,1,0,0.1,5,50,2"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("10,1,1,0,0.1,5,50", "line 3: 7 values, 8 expected"),
        (GOOD + ",3", "line 3: 9 values, 8 expected"),
        ("ten,1,1,0,0.1,5,50,2", "line 3: could not convert"),
        ("nan,1,1,0,0.1,5,50,2", "line 3"),
        ("inf,1,1,0,0.1,5,50,2", "line 3"),
        ("", "line 3"),
        ("10,1,1,0,0.1,\r5,50,2", "no training curve: new-line character"),
        ('10,"' + "1" * 200_000, "no training curve: field larger"),
        ("10,1,1,0,\0,5,50,2", "line 3|NUL"),  # Python 3.11 reads on, older ones say NUL
    ],
)
def test_malformed_lines_are_named(tmp_path, line, message):
    path = tmp_path / "curve.csv"
    header = ",".join(field.name for field in fields(CurvePoint))
    path.write_bytes("\n".join([header, GOOD, line, GOOD]).encode())
    with pytest.raises(BlockedError, match=message):
        read_curve(path)


@pytest.mark.parametrize("text", ["", "iteration,loss\n1,2\n", "\n", '{"a": 1}', "\xff"])
def test_what_is_no_curve_is_refused(tmp_path, text):
    (tmp_path / "curve.csv").write_text(text)
    with pytest.raises(BlockedError, match="it is no training curve"):
        read_curve(tmp_path / "curve.csv")


# --- examples --------------------------------------------------------------------------------------------------------


def test_examples_are_the_cheapest_median_and_dearest(record):
    images = tuple(replace(record.images[0], name=n, paper_macs=m) for n, m in (("d", 4), ("b", 1), ("a", 1), ("c", 2)))

    def roles(count):
        return example_names(replace(record, images=images[:count]))

    assert roles(4) == {"cheapest": "a", "median": "c", "dearest": "d"}  # ties by name
    assert roles(3) == {"cheapest": "a", "median": "b", "dearest": "d"}
    assert roles(2) == {"cheapest": "b", "dearest": "d"}
    assert roles(1) == {"cheapest": "d"}
    assert roles(0) == {}


def test_the_size_limit_is_generous():
    # 500 images of Layer33 with 319 factors of 8 characters each: a megabyte or two.
    assert MAX_FILE_MB * 2**20 > 50 * 500 * 319 * 8
