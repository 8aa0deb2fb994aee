"""What the tests of notebooks share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from dynroute_suite.notebook.supervisor import Job
from support.sample_templates import write_template

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def job(tmp_path: Path) -> Callable[..., Job]:
    """Makes the job of a notebook with the given cells; `name` is a file that a cell may use as a mark."""

    def make(*sources: str, **changes: object) -> Job:
        made = Job(
            name="tiny",
            title="A tiny notebook",
            notebook=write_template(tmp_path / "template.ipynb", *sources),
            folder=tmp_path / "a {run} folder",
            root=ROOT,
            parameters={"name": str(tmp_path / "mark"), "count": 2, "progress_file": ""},
            patience_s=(60.0, 10.0),
        )
        return replace(made, **changes)  # type: ignore[arg-type]

    return make
