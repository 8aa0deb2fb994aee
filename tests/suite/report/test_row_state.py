"""How far each row is: the files say it."""

from __future__ import annotations

from pathlib import Path

from dynroute_core.experiments import ROWS
from dynroute_suite.report.failures import FAILED
from dynroute_suite.report.results import Results
from dynroute_suite.report.row_state import row_state, row_states
from support.sample_notebooks import failed_notebook
from support.sample_records import published_protocol, sample_record
from support.sample_runs import write_run


def test_states_follow_the_files(tmp_path: Path) -> None:
    write_run(tmp_path, sample_record(row="dynamic-a"))
    write_run(tmp_path, published_protocol(sample_record(ROWS["dynamic-b"].model, row="dynamic-b", images=1)))
    results = Results(tmp_path)
    states = {state.row: state for state in row_states(results)}
    assert (states["dynamic-a"].kind, states["dynamic-a"].detail) == ("smaller", "demo profile on streets")
    assert states["dynamic-b"].kind == "published"
    assert states["dynamic-c"].kind == "waiting"
    assert "Cityscapes" in states["dynamic-c"].detail
    assert list(results.groups) == [("demo", "streets"), ("full", "cityscapes")]


def test_a_failure_counts_until_the_run_has_finished(tmp_path: Path) -> None:
    folder = tmp_path / "dynamic-a" / "demo-streets-seed0"
    folder.mkdir(parents=True)
    (folder / FAILED).write_bytes(failed_notebook("ValueError", "no"))
    assert row_state("dynamic-a", Results(tmp_path)).kind == "failed"
    write_run(tmp_path, sample_record(row="dynamic-a"))
    assert Results(tmp_path).failures_of("dynamic-a") == ()
    assert row_state("dynamic-a", Results(tmp_path)).kind == "smaller"
