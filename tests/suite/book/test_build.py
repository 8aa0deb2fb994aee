"""The builder refuses what it must not overwrite."""

from __future__ import annotations

from pathlib import Path

import pytest

from dynroute_core.system.errors import UsageError
from dynroute_suite.book import build


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(UsageError, match=r"holds thesis\.tex"):
        build.stage(results=tmp_path, out=tmp_path, say=lambda text: None)
    assert (tmp_path / "thesis.tex").exists()
