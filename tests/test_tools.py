"""How make makes the environment; what the core's tests need, and that this is enough to load them; the audit."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import audit
import core_requirements
import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
@pytest.mark.parametrize("has_pip", [True, False], ids=["whole", "half made"])
def test_make_makes_a_half_made_environment_anew(has_pip: bool, tmp_path: Path) -> None:
    """Its Python stands in for one with or without pip; the one that makes it writes down what it is called with."""
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    inner, outer, log = tmp_path / ".venv/bin/python", tmp_path / "python", tmp_path / "log"
    inner.parent.mkdir(parents=True)
    inner.write_text("#!/bin/sh\n" + ("" if has_pip else "exit 1\n"))
    whole = "printf '#!/bin/sh\\n' > .venv/bin/python"
    outer.write_text(f'#!/bin/sh\necho "$@" >> {log.name}\ncase "$2" in venv) {whole};; esac\n')
    for program in (inner, outer):
        program.chmod(0o755)
    words = ["make", ".venv/.ready", f"PYTHON={outer}"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert ("-m venv --clear .venv" in log.read_text()) is not has_pip


def test_installing_does_not_warn_of_folders_named_like_packages() -> None:
    """Every installation takes the variable that says so."""
    lines = [line.strip() for line in (ROOT / "Makefile").read_text().splitlines() if "pip install" in line]
    assert [line.partition(" ")[0] for line in lines] == ["INSTALL"]
    quiet = re.search("PYTHONWARNINGS='(.*?)'", lines[0])
    assert quiet is not None
    program = "import warnings\nwarnings.warn('Editable installation.\\n!!', UserWarning)\nwarnings.warn('another')"
    environment = os.environ | {"PYTHONWARNINGS": quiet[1]}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
    assert "Editable" not in done.stderr and "another" in done.stderr


def test_the_first_release_from_a_bound_on() -> None:
    assert core_requirements.lowest("numpy", "2.0") == "numpy==2.0.0.*"
    assert core_requirements.lowest("pillow", "11") == "pillow==11.0.0.*"
    assert core_requirements.lowest("msgspec", "0.21.1") == "msgspec==0.21.1.*"


def test_every_core_dependency_has_a_bound_that_is_installed() -> None:
    bounds = core_requirements.core_bounds()
    assert {"torch", "numpy", "msgspec", "safetensors", "pytest"} <= bounds.keys()
    assert not {"papermill", "matplotlib", "pandas", "mypy"} & bounds.keys()


def test_requirements_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert core_requirements.main(["newest"]) == 0
    assert "torch>=" in capsys.readouterr().out
    assert core_requirements.main(["lowest"]) == 0
    assert "torch==" in capsys.readouterr().out
    assert core_requirements.main([]) == 2


def load_without(packages: set[str], *tests: str) -> subprocess.CompletedProcess[str]:
    """Collects tests in a process where these packages cannot be imported."""
    code = (
        "import sys, pytest\n"
        f"sys.modules.update(dict.fromkeys({sorted(packages)}))\n"  # None in their place: importing them fails
        f"sys.exit(pytest.main(['--collect-only', '-m', 'not suite', *{list(tests)}]))"
    )
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)


def beside_the_core() -> set[str]:
    """The modules of the packages that the suite and its tests need on top of the core."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = {re.split("[<>=]", entry)[0] for extra in project["optional-dependencies"].values() for entry in extra}
    apart = {name.lower() for name in wanted - core_requirements.core_bounds().keys()}
    return {module for module, homes in packages_distributions().items() if apart & {home.lower() for home in homes}}


def test_the_cores_tests_load_without_the_suites_packages() -> None:
    assert {"matplotlib", "pandas", "papermill"} <= beside_the_core()
    done = load_without(beside_the_core(), "tests/core", "tests/kernels")
    assert done.returncode == 0, done.stdout[-3000:]


def test_a_test_that_needs_more_would_be_found() -> None:
    done = load_without(beside_the_core(), "tests/suite/figures/test_style.py")
    assert done.returncode != 0 and "matplotlib" in done.stdout


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
