"""The lowest versions and the tests that run on them; the audit's verdict."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tools"))

import audit  # noqa: E402
import minimal  # noqa: E402


def test_the_first_release_from_a_bound_on() -> None:
    assert minimal.requirement("numpy", "2.0") == "numpy==2.0.0.*"
    assert minimal.requirement("pillow", "11") == "pillow==11.0.0.*"
    assert minimal.requirement("msgspec", "0.21.1") == "msgspec==0.21.1.*"


def test_every_core_dependency_has_a_bound_that_is_installed() -> None:
    bounds = minimal.core_bounds()
    assert {"torch", "numpy", "msgspec", "safetensors", "pytest"} <= bounds.keys()
    assert not {"papermill", "matplotlib", "pandas", "mypy"} & bounds.keys()


def test_the_cores_tests() -> None:
    names = {path.name for path in minimal.core_tests()}
    assert {"test_model.py", "test_train.py", "test_pipeline.py", "test_network.py"} <= names
    assert not {"test_figures.py", "test_row.py", "test_official_evaluation.py"} & names


def test_imports_are_followed(tmp_path: Path) -> None:
    """Through our modules; not into functions, nor for the type checker alone."""
    path = tmp_path / "test_one.py"
    path.write_text(
        "from typing import TYPE_CHECKING\nfrom dynroute_suite.figures.style import Picture\n"
        "if TYPE_CHECKING:\n    import pandas\ndef later():\n    import papermill\n"
    )
    assert "matplotlib" in minimal.foreign(path)
    assert not {"pandas", "papermill"} & minimal.foreign(path)


GOOD = {"name": "one", "version": "1", "vulns": []}
BAD = {"name": "two", "version": "2", "vulns": [{"id": "PYSEC-1", "fix_versions": ["3"]}]}
UNSEEN = {"name": "three", "skip_reason": "not found"}
OURS = {"name": "dynroute", "skip_reason": "editable"}


@pytest.mark.parametrize(
    ("packages", "code", "said"),
    [
        ([GOOD, OURS], audit.CLEAN, "1 of 1 packages judged, 0 vulnerable"),
        ([GOOD, BAD], audit.VULNERABLE, "two 2: PYSEC-1, fixed in: 3"),
        ([GOOD, UNSEEN], audit.UNKNOWN, "no verdict on 1"),
        ([BAD, UNSEEN], audit.VULNERABLE, "no verdict on 1"),
        ([], audit.UNKNOWN, "0 of 0"),
    ],
)
def test_the_audits_verdict(packages: list[object], code: int, said: str) -> None:
    found, lines = audit.judge(json.dumps({"dependencies": packages}), "")
    assert found == code
    assert said in "\n".join(lines)


def test_an_audit_that_reached_nobody_is_none(capsys: pytest.CaptureFixture[str]) -> None:
    code = "import sys; sys.exit('ConnectionError: no route to host')"
    assert audit.main([sys.executable, "-c", code]) == audit.UNKNOWN == 3
    shown = capsys.readouterr().out
    assert "no verdict" in shown and "no route to host" in shown
