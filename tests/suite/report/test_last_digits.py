"""A run's page says whether its digits depend on the number of threads."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from dynroute_suite.notebook.row import TEMPLATE
from dynroute_suite.report.last_digits import last_digits
from support.sample_records import sample_record


def test_each_step_has_its_sentence() -> None:
    training = replace(sample_record().training, iterations=3)
    assert "other last digits" in last_digits(replace(training, step="eager"))
    assert "the same bits" in last_digits(replace(training, step="compiled"))


def test_nothing_is_said_where_the_record_does_not_know() -> None:
    training = sample_record().training
    assert last_digits(replace(training, iterations=3, step=None)) == ""
    assert last_digits(replace(training, iterations=0, step="eager")) == ""


def test_a_rows_notebook_says_it_beside_the_result() -> None:
    cells = json.loads(Path(TEMPLATE).read_text())["cells"]
    (result,) = ("".join(cell["source"]) for cell in cells if cell.get("id") == "result")
    assert "last_digits(record.training)" in result
