"""The tables: their numbers are the record's, and no demo number passes for a comparison with a published one."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from dynroute_core.evaluate import TTA_SCALES
from dynroute_core.experiments import ROWS, experiment
from dynroute_core.published import PUBLISHED
from dynroute_core.runs.record import Record
from dynroute_suite.book.row_head import protocol
from dynroute_suite.figures.pareto import pareto_figure
from dynroute_suite.report.comparable import changed_settings, is_comparable, why_not_comparable
from dynroute_suite.report.tables import (
    class_table,
    comparison_markdown,
    comparison_table,
    escape_markdown,
    settings_table,
    terminal_table,
)
from support.sample_records import plain_settings, published_protocol, sample_record

DIFFERENCE = re.compile(r"[+−±]\d")


@pytest.fixture(scope="module")
def record() -> Record:
    return sample_record()


@pytest.mark.parametrize("profile", ["smoke", "demo", "full"])
@pytest.mark.parametrize("data", ["streets", "camvid", "cityscapes"])
@pytest.mark.parametrize("row", ["dynamic-a", "network-fix"])
def test_a_difference_needs_the_published_protocol(record: Record, row: str, profile: str, data: str) -> None:
    run = replace(record, row=row, profile=profile, data=replace(record.data, name=data))
    assert not is_comparable(run)
    table, markdown = comparison_table(run), comparison_markdown(run)
    assert not DIFFERENCE.search(table.to_string())
    assert not DIFFERENCE.search(markdown)
    if row != "network-fix":
        assert "not comparable" in table.to_string()
    assert "Not comparable" in markdown


def test_the_published_protocol_gives_differences(record: Record) -> None:
    run = published_protocol(record)
    assert is_comparable(run)
    table = comparison_table(run)
    published = PUBLISHED["dynamic-a"]
    assert list(table["paper"]) == ["72.8", "44.9", "–"]
    assert list(table["release"]) == ["73.9", "–", "52.5"]
    assert published.paper_miou_percent == 72.8
    ours = table[next(name for name in table.columns if name.startswith("ours:"))]
    assert ours.iloc[0] == f"{run.metrics.miou_percent:.1f}"
    assert table.loc["mIoU (%)", "ours − paper"] == "−31.6"  # 41.234 - 72.8
    assert table.loc["mIoU (%)", "ours − release"] == "−32.7"
    assert table.loc["GFLOPs, released code's accounting", "ours − paper"] == "–", "accountings never meet"
    assert "Not comparable" not in comparison_markdown(run)


def test_a_row_named_after_weights_that_it_did_not_start_from_says_so(record: Record) -> None:
    alone = replace(record, row="dynamic-raw-imagenet", config=record.config | {"row": "dynamic-raw-imagenet"})
    begun = replace(alone, config=alone.config | {"weights": {"file": "backbone.safetensors", "use": "start"}})
    for run, marked in ((record, False), (alone, True), (begun, False)):
        assert ("from scratch" in protocol(run, "streets")) is marked
        assert ("(from scratch)" in pareto_figure([run]).alt) is marked


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"data": {"val_images": 100}}, "100 of 500 images"),
        ({"costs": {"nominal_height": 512}}, "costs at 512×2048"),
    ],
)
def test_part_of_the_protocol_is_not_the_protocol(
    record: Record, change: dict[str, dict[str, int]], reason: str
) -> None:
    run = published_protocol(record)
    [(part, values)] = change.items()
    run = replace(run, **{part: replace(getattr(run, part), **values)})
    assert why_not_comparable(run) == f"not comparable: {reason}"


def test_another_network_is_not_the_row(record: Record) -> None:
    own = experiment("dynamic-a", profile="full", data="cityscapes")
    narrow = replace(own, model=replace(own.model, channels=8))
    run = replace(published_protocol(record), config=plain_settings(narrow))
    assert why_not_comparable(run) == "not comparable: another network (model.channels)"
    assert not DIFFERENCE.search(comparison_markdown(run))


def test_another_recipe_is_said(record: Record) -> None:
    own = experiment("dynamic-a", profile="full", data="cityscapes")
    assert changed_settings(published_protocol(record)) == ()
    fewer = replace(own, train=replace(own.train, batch=3))
    run = replace(published_protocol(record), config=plain_settings(fewer))
    assert changed_settings(run) == ("train.batch",)
    assert "not the row's own: train.batch" in comparison_markdown(run)
    assert changed_settings(replace(run, row="my-row")) == ()
    free = replace(run, config=plain_settings(replace(own, train=replace(own.train, budget=None))))
    assert changed_settings(free) == ("train.budget",)


def test_a_setting_newer_than_the_record_is_not_a_change(record: Record) -> None:
    config = plain_settings(experiment("dynamic-a", profile="full", data="cityscapes"))
    config["train"] = {name: value for name, value in config["train"].items() if name != "accumulate"}
    assert changed_settings(replace(published_protocol(record), config=config)) == ()


@pytest.mark.parametrize("changes", [{"flip": True}, {"scales": (0.5, 1.0)}, {"scales": TTA_SCALES, "flip": True}])
def test_test_time_augmentation_is_never_single_scale(record: Record, changes: dict[str, object]) -> None:
    """Another protocol: no difference from a published number, and a mark wherever the run is named."""
    single = published_protocol(record)
    own = experiment("dynamic-a", profile="full", data="cityscapes")
    run = replace(single, config=plain_settings(replace(own, evaluate=replace(own.evaluate, **changes))))
    assert single.marks == () and is_comparable(single)
    assert not is_comparable(run)
    assert not DIFFERENCE.search(comparison_markdown(run))
    for text in (run.label, comparison_markdown(run), why_not_comparable(run)):
        assert "test-time augmentation: scales" in text
    assert "dynamic-a *" in terminal_table([single, run])
    assert "*" not in terminal_table([single])


def test_ours_is_always_marked(record: Record) -> None:
    header = comparison_markdown(record).splitlines()[0]
    for mark in ("demo profile", "streets", "seed 0", "256×512"):
        assert mark in header
    assert "one multiply-accumulate counts one" in comparison_markdown(record)
    assert "6a88d01" in comparison_markdown(record)
    assert "77.28" in comparison_markdown(replace(record, row="network-fix"))


def test_an_unknown_row_has_no_published_numbers(record: Record) -> None:
    run = replace(published_protocol(record), row="my-row")
    assert set(comparison_table(run)["paper"]) == {"–"}
    assert not DIFFERENCE.search(comparison_markdown(run))


def test_markdown_is_one_table_whatever_the_names_are(record: Record) -> None:
    nasty = "<script>|`*_[x](y)$a$\n\nb"
    text = comparison_markdown(replace(record, profile=nasty, row=nasty))
    assert "<script" not in text
    table = text.split("\n\n")[0].splitlines()
    assert len(table) == 5
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in table} == {7}
    assert escape_markdown("a|b") == "a\\|b"


def test_terminal_table_is_aligned_and_true(record: Record) -> None:
    other = replace(record, row="dynamic-raw-l33-imagenet", seed=12)
    lines = terminal_table([record, other]).splitlines()
    assert len({line.index("demo") for line in lines[2:4]}) == 1
    assert lines[2].split()[:5] == ["dynamic-a", "demo", "streets", "0", "41.2"]
    assert lines[2].split()[-3:] == ["256×512", "6", "4.50"]  # 270 seconds
    assert len(terminal_table([]).splitlines()) == 3


def test_settings_of_every_row_fit_a_table() -> None:
    for row in ROWS:
        text = settings_table(experiment(row, profile="full", data="cityscapes"))
        assert "| train |" in text
        assert "lr 0.0" in text
    text = settings_table(experiment("dynamic-a", profile="full", data="cityscapes"))
    assert "budget.target 0.1" in text
    assert settings_table({"a|b": {"<i>": None, "flag": True}, "row": "x"}).splitlines()[2:] == [
        "| run | row x |",
        "| a\\|b | &lt;i&gt; – · flag yes |",
    ]
    fixed = settings_table(experiment("static-unet"))
    assert "paths init&gt;keep, 0.0&gt;keep, … (41 in all)" in fixed
    assert " · paths – |" in text
    with pytest.raises(TypeError, match="give a dataclass or a mapping"):
        settings_table(3)


def test_class_table_keeps_order_and_gaps(record: Record) -> None:
    table = class_table(record)
    assert list(table.index) == list(record.data.class_names)
    assert table.loc["road", "IoU (%)"] == 91.7
    assert table["IoU (%)"].isna().sum() == 1
