"""The command before its environment is made, with another Python, on another system, and with nobody who reads it."""

from __future__ import annotations

import ast
import os
import subprocess
import sys

import pytest

from dynroute_core.system.errors import EXIT_DONE, EXIT_USAGE
from dynroute_suite.command.set_up import caution, way_in
from support.commands import ROOT


def test_without_packages_the_command_says_what_to_do() -> None:
    """`-S`: without what is installed."""
    bare = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    words = [sys.executable, "-S", str(ROOT / "reproduce.py"), "--help"]
    done = subprocess.run(words, capture_output=True, text=True, env=bare)
    assert (done.returncode, done.stdout) == (EXIT_USAGE, "")
    assert "No module named" in done.stderr and "`make` makes an environment" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_half_made_environment_is_told_too() -> None:
    program = "import sys, reproduce\nsys.modules['pandas'] = None\nsys.exit(reproduce.main(['--list']))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == EXIT_USAGE
    assert "pandas" in done.stderr and "`make` makes an environment" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("name", ["reproduce.py", "dynroute_suite/command/set_up.py"])
def test_older_pythons_can_read_what_they_are_told(name: str) -> None:
    ast.parse((ROOT / name).read_text(), feature_version=(3, 8))


def test_other_systems_are_told_at_once() -> None:
    missing = ModuleNotFoundError("No module named 'fcntl'")
    assert "WSL 2" in way_in(missing, "win32") and "fcntl" not in way_in(missing, "win32")
    assert "need Linux" in caution("darwin")
    assert caution("linux") == ""


@pytest.mark.parametrize("words", [["reproduce.py", "--help"], ["-m", "dynroute_suite.pretraining", "--help"]])
def test_a_command_ends_quietly_where_its_reader_left(words: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([sys.executable, *words], cwd=ROOT, stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    assert (done.returncode, done.stderr) == (EXIT_DONE, b"")
