"""A row's notebook and the record it stands on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from dynroute_core.runs.plan import RunPlan
from dynroute_core.runs.record import RECORD, write_record
from dynroute_core.system.errors import (
    EXIT_FAILED,
    DynrouteError,
)
from dynroute_suite.notebook import row
from support.sample_records import sample_record


def test_an_editors_lock_beside_the_reports_sources_changes_no_stamp(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / RECORD).write_text("{}")
    sources = tmp_path / "dynroute_suite" / "report"
    sources.mkdir(parents=True)
    monkeypatch.setattr(row, "ROOT", tmp_path)
    before = row.stamp(tmp_path)
    (sources / ".#tables.py").symlink_to("somebody@somewhere.1234")
    assert row.stamp(tmp_path) == before
    (sources / "tables.py").touch()
    assert row.stamp(tmp_path) != before


def test_a_record_of_another_key_is_no_success(tmp_path: Path) -> None:
    planned = RunPlan(tmp_path, "a" * 64, False, "there is no record yet")
    with pytest.raises(DynrouteError, match="is missing, planned was") as raised:
        row.checked_record(planned)
    assert raised.value.exit_code == EXIT_FAILED
    write_record(tmp_path / RECORD, replace(sample_record(), key="b" * 64))
    with pytest.raises(DynrouteError, match=r"has the key bbbbbbbb, planned was .* aaaaaaaa"):
        row.checked_record(planned)
    assert not row.is_fresh(replace(planned, finished=True))
    assert row.checked_record(replace(planned, key="b" * 64)).key == "b" * 64
