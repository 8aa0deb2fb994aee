"""Settings of one row are told apart by what differs, and by nothing else."""

from __future__ import annotations

from dataclasses import replace

from dynroute_core.runs.record import Record
from dynroute_suite.report.told_apart import MOST_NAMED, told_apart
from support.sample_records import sample_record


def trained(record: Record, **changes: object) -> Record:
    """The record with other settings of training."""
    train = record.config["train"]
    assert isinstance(train, dict)
    return replace(record, config=record.config | {"train": train | changes})


FIRST = sample_record(row="dynamic-a")


def test_the_seed_is_no_setting() -> None:
    assert told_apart([FIRST, replace(FIRST, seed=1, config=FIRST.config | {"seed": 1})]) == ("", "")


def test_what_differs_is_named_with_each_ones_own_value() -> None:
    assert told_apart([trained(FIRST, batch=3), trained(FIRST, batch=5)]) == ("batch 3", "batch 5")


def test_another_row_profile_or_data_set_is_told_apart_already() -> None:
    others = [
        sample_record(row="dynamic-c"),
        replace(trained(FIRST, batch=3), profile="smoke"),
        replace(trained(FIRST, batch=3), data=replace(FIRST.data, name="camvid")),
    ]
    assert set(told_apart([FIRST, *others])) == {""}


def test_other_images_are_another_setting() -> None:
    other = replace(FIRST, data=replace(FIRST.data, val_fingerprint="e" * 64))
    assert told_apart([FIRST, other]) == ("images bbbbbbbb", "images eeeeeeee")


def test_only_the_first_differences_are_named() -> None:
    changes = {"batch": 3, "lr": 0.5, "clip_norm": 2.0, "momentum": 0.5, "weight_decay": 0.5}
    words = told_apart([FIRST, trained(FIRST, **changes)])[1]
    assert words.count(",") == MOST_NAMED
    assert words.endswith(f"{len(changes) - MOST_NAMED} more")


def test_a_recipe_stands_for_what_it_consists_of_and_is_named_beside_other_rows() -> None:
    short = trained(FIRST, recipe="short", lr=0.5)
    known = trained(FIRST, recipe="published")
    other_row = replace(known, row="dynamic-c")
    assert told_apart([short, known, other_row]) == ("recipe short", "recipe published", "recipe published")
