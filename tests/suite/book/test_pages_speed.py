"""What the page on speed includes says what the records say, and nothing where there are none."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dynroute_suite.book.fragments import fragments
from dynroute_suite.report.results import Results
from dynroute_suite.report.speed_record import write_speed
from dynroute_suite.report.speed_tables import NOT_YET, curves, where
from support.sample_speed import MACHINE, RECORD, TIME

FRAGMENTS = {name: fragment for name, fragment in fragments().items() if name.startswith("speed/")}
FAST = replace(TIME, subject="native float32", median_ms=1.0, low_ms=0.9, high_ms=1.5)


@pytest.fixture
def results(tmp_path):
    measurements = [
        replace(one, part=part, peak_mb=12.0, items=4)
        for part in ("open", "batch", "memory", "published", "demo", "loading")
        for one in (TIME, FAST)
    ]
    measurements += [
        replace(one, part="routes", share=share, median_ms=one.high_ms * share, low_ms=1e-3)
        for share in (0.25, 1.0)
        for one in (TIME, FAST)
    ]
    write_speed(tmp_path / "speed" / "one.json", replace(RECORD, measurements=tuple(measurements)))
    operation = (replace(TIME, part="cell", subject=f"{way} float32") for way in ("eager", "torch", "native"))
    write_speed(tmp_path / "speed" / "two.json", replace(RECORD, kind="operations", measurements=tuple(operation)))
    return Results(tmp_path)


@pytest.mark.parametrize("name", FRAGMENTS)
def test_without_records_a_page_says_so(tmp_path, name):
    assert FRAGMENTS[name](Results(tmp_path)) == NOT_YET


@pytest.mark.parametrize("name", FRAGMENTS)
def test_no_figure_without_its_machine_or_mark(results, name):
    text = FRAGMENTS[name](results)
    assert "short form" in text
    assert name == "speed/goals" or (MACHINE.device_name in text and MACHINE.instruction_set in text)


def test_a_record_without_its_instruction_set_says_so():
    older = replace(RECORD, machine=replace(MACHINE, instruction_set=None))
    assert "cpu (instruction set not recorded)" in where(older)
    assert "instruction set" not in where(replace(RECORD, machine=replace(older.machine, device="cuda")))


def test_ratios_and_goals(results):
    assert "| native float32 | 64×128 | 4 | 100 | 1.00 | 0.900 – 1.50 | 2.00 |" in FRAGMENTS["speed/all_open"](results)
    assert "| speed | ≥ 2 | 2.50 | met |" in FRAGMENTS["speed/goals"](results)
    assert "| model | 64×128 | 12 |" in FRAGMENTS["speed/memory"](results)


def test_the_figure_says_its_numbers(results):
    assert "native float32: 25 % of its time at 25 % of the MACs" in FRAGMENTS["speed/routes"](results)


def test_a_subject_without_an_all_open_time_has_no_curve():
    assert curves([replace(TIME, share=0.5)]) == {}
