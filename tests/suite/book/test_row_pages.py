"""Rows' pages: what their notebook raises stops the build. What they show: test_book.py."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from dynroute_suite.book import row_pages
from dynroute_suite.report.results import Results
from support.sample_records import sample_record
from support.sample_runs import write_run


def test_a_page_whose_notebook_fails_stops_the_build(tmp_path: Path) -> None:
    write_run(tmp_path, sample_record(row="dynamic-a"))  # without its routes and curve
    main = sys.modules["__main__"]
    row_pages.engine.register()
    with pytest.raises(Exception, match=r"demo-streets-seed0 failed: BlockedError: cannot read"):
        row_pages.row_page("dynamic-a", Results(tmp_path))
    assert sys.modules["__main__"] is main  # which worker processes start from
