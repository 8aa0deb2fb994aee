"""The picture that a finished run leaves: drawn once, anew for a new record, and no reason to lose a row."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest
from PIL import Image

from dynroute_core.runs.plan import RunPlan
from dynroute_core.runs.record import EXAMPLES, RECORD, ROUTES, Record, write_record
from dynroute_core.system.errors import EXIT_DONE
from dynroute_core.system.strict_json import to_json
from dynroute_suite.command import run
from dynroute_suite.command.picture import SUMMARY, WIDTH_PX, keep_summary
from dynroute_suite.command.tables import as_text
from dynroute_suite.notebook.supervisor import Outcome
from support.commands import SMOKE, session_of
from support.sample_examples import write_examples
from support.sample_records import sample_record, sample_routes
from support.sample_runs import SMALL


@pytest.fixture
def record(tmp_path: Path) -> Record:
    """A finished run in `tmp_path`."""
    made = sample_record(SMALL)
    write_record(tmp_path / RECORD, made)
    (tmp_path / ROUTES).write_bytes(to_json(sample_routes(SMALL)))
    write_examples(tmp_path, made)
    return made


def test_it_is_drawn_once_and_anew_for_a_new_record(record: Record, tmp_path: Path) -> None:
    path = keep_summary(tmp_path, record)
    assert path == tmp_path / SUMMARY
    drawn = path.read_bytes()
    assert Image.open(io.BytesIO(drawn)).width == WIDTH_PX
    path.write_bytes(b"kept")
    assert keep_summary(tmp_path, record).read_bytes() == b"kept"
    after = path.stat().st_mtime_ns + 1
    os.utime(tmp_path / RECORD, ns=(after, after))
    assert keep_summary(tmp_path, record).read_bytes() == drawn


def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record: Record) -> list[run.RowResult]:
    """What the command makes of the finished run."""
    done = Outcome(
        state="done", exit_code=EXIT_DONE, error="", message="", notebook=None, interrupted=False, seconds=0.0
    )
    monkeypatch.setattr(run, "plan", lambda experiment, **options: RunPlan(tmp_path, record.key, True, "it is there"))
    monkeypatch.setattr(run, "run_row", lambda experiment, plan, options: done)
    return run.run_rows(session_of("--row", record.row, *SMOKE))


def test_the_command_ends_with_the_picture(record: Record, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (result,) = results(tmp_path, monkeypatch, record)
    assert (result.state, Path(result.picture)) == ("reused", tmp_path / SUMMARY)
    assert as_text([result], [record], tmp_path).splitlines()[-1].split() == ["picture", SUMMARY]


def test_a_run_without_its_pictures_says_so_and_stays_done(
    record: Record, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / EXAMPLES / "cheapest" / "image.png").unlink()
    (result,) = results(tmp_path, monkeypatch, record)
    assert (result.state, result.exit_code, result.picture) == ("reused", EXIT_DONE, "")
    assert "no picture: cannot read" in capsys.readouterr().out
    assert "picture " not in as_text([result], [record], tmp_path)
