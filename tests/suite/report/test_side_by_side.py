"""Runs side by side: unlike ones are refused. The tables: tests/suite/notebooks."""

from __future__ import annotations

from pathlib import Path

import pytest

from dynroute_core.system.errors import UsageError
from dynroute_suite.report.committed import Committed
from dynroute_suite.report.side_by_side import runs_table
from support.sample_records import sample_record


def test_unlike_runs_are_refused(tmp_path: Path) -> None:
    runs = [Committed(tmp_path, sample_record(profile=profile)) for profile in ("demo", "smoke")]
    with pytest.raises(UsageError, match="demo on streets and smoke on streets"):
        runs_table(runs)
