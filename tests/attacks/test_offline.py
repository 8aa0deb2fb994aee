"""Importing us, and asking the command line something, reaches no network and reads no file of anybody else.

Python tells an audit hook of every connection, name look-up, file and process before it happens. Compiled libraries
that open files or sockets by themselves are not seen.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# Told of and refused: what would reach another machine, or wait to be reached. Not so to bind to this machine's own
# address: urllib3, which papermill imports, tries whether there is IPv6.
REACHING = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "socket.bind")
HOOK = f"""
import json, os, sys
seen = {{"reached": [], "read": [], "ran": []}}
def hook(event, arguments):
    if event in {REACHING!r} and not (event == "socket.bind" and arguments[1][:1] in (("127.0.0.1",), ("::1",))):
        seen["reached"].append(f"{{event}} {{arguments[1:]}} ")
        raise OSError("no network in this test")
    if event == "open" and isinstance(arguments[0], (str, bytes)):
        seen["read"].append(os.path.realpath(os.fsdecode(arguments[0])))
    if event in ("subprocess.Popen", "os.system", "os.posix_spawn") and "ldconfig" not in str(arguments[0]):
        seen["ran"].append(str(arguments[:2]))  # torch asks ldconfig where libraries lie
sys.addaudithook(hook)
import atexit
atexit.register(lambda: print("SEEN " + json.dumps(seen), file=sys.stderr))
"""
IMPORT_ALL = """
import importlib, pkgutil, dynroute_core, dynroute_kernels, dynroute_suite
packages = (dynroute_core, dynroute_suite, dynroute_kernels)
names = [m.name for p in packages for m in pkgutil.walk_packages(p.__path__, p.__name__ + ".")]
names = [name for name in names if not name.endswith("__main__")]
for name in names:
    importlib.import_module(name)
print(len(names))
"""
COMMAND = "import runpy; sys.argv = json.loads(sys.argv[1]); runpy.run_path(sys.argv[0], run_name='__main__')"


def watched(code: str, folder: Path, *words: str) -> tuple[subprocess.CompletedProcess[str], dict[str, list[str]]]:
    """A Python process told on by the hook, with a home of its own: (how it ended, what it did)."""
    own = {"HOME": str(folder / "home"), "MPLCONFIGDIR": str(folder / "matplotlib"), "TMPDIR": str(folder)}
    own["PYTHONDONTWRITEBYTECODE"] = "1"
    done = subprocess.run(
        [sys.executable, "-c", HOOK + code, *words], cwd=ROOT, capture_output=True, text=True, env=os.environ | own
    )
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("SEEN ")]
    return done, json.loads(line.removeprefix("SEEN "))


def foreign(read: list[str], *allowed: Path) -> list[str]:
    """What was read outside this repository's sources, Python and its packages, and the kernel's own files."""
    read = [path for path in read if not path.endswith("__path_hook__")]  # of an editable install: no file
    python = {sys.prefix, sys.base_prefix, *(sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib"))}
    packages = ("dynroute_core", "dynroute_suite", "kernels")
    ours = [ROOT / name for name in (*packages, "notebooks", "reproduce.py", "pyproject.toml")]
    installed = ROOT / "dynroute.egg-info"  # of an editable install: torch asks every installed package for plug-ins
    inside = [Path(path).resolve() for path in (*python, *ours, installed, "/proc", "/sys", "/dev", *allowed)]
    inside.append(Path("/usr/share/zoneinfo"))
    read = [path for path in read if not path.endswith((".ttf", ".otf", ".ttc", ".afm"))]  # matplotlib lists the fonts
    read = [path for path in read if Path(path) != ROOT]  # as a folder: packages are looked for there
    return sorted({path for path in read if not any(Path(path).is_relative_to(folder) for folder in inside)})


@pytest.mark.suite
def test_importing_every_module(tmp_path: Path) -> None:
    done, seen = watched(IMPORT_ALL, tmp_path)
    assert done.returncode == 0, done.stderr
    modules = [path for name in ("dynroute_core", "dynroute_suite", "kernels") for path in (ROOT / name).rglob("*.py")]
    assert int(done.stdout) >= len([path for path in modules if path.stem not in ("__init__", "__main__")])
    assert seen["reached"] == []
    assert foreign(seen["read"], tmp_path) == []


def test_importing_the_core(tmp_path: Path) -> None:
    done, seen = watched(
        "import dynroute_core.runs.pipeline, dynroute_suite.command.export, dynroute_suite.pretraining.pretrain",
        tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert seen["reached"] == [] and seen["ran"] == []
    assert foreign(seen["read"], tmp_path) == []


@pytest.mark.suite
@pytest.mark.parametrize("words", [["--help"], ["--list"]], ids=" ".join)
def test_asking_the_command(words: list[str], tmp_path: Path) -> None:
    done, seen = watched(COMMAND, tmp_path, json.dumps([str(ROOT / "reproduce.py"), *words]))
    assert done.returncode == 0, done.stderr
    assert "dynamic-c" in done.stdout or words == ["--help"]
    assert seen["reached"] == [] and seen["ran"] == []
    assert foreign(seen["read"], tmp_path) == []


@pytest.mark.suite
def test_a_dry_run(smoke_streets: Path, tmp_path: Path) -> None:
    """It reads the data that it was given, and what runs there are."""
    words = ["--row", "dynamic-c", "--profile", "smoke", "--data", f"streets={smoke_streets}", "--dry-run"]
    done, seen = watched(COMMAND, tmp_path, json.dumps([str(ROOT / "reproduce.py"), *words, "--out", str(tmp_path)]))
    assert done.returncode == 0, done.stderr
    assert "would run" in done.stdout + done.stderr
    assert seen["reached"] == []
    assert foreign(seen["read"], tmp_path, smoke_streets) == []


def test_the_watch_can_see(tmp_path: Path) -> None:
    code = (
        "import socket, subprocess\n"
        "open('/etc/hosts').close(); subprocess.run(['true'])\n"
        "try: socket.create_connection(('127.0.0.1', 9))\n"
        "except OSError as error: print(error)"
    )
    done, seen = watched(code, tmp_path)
    assert "no network in this test" in done.stdout
    assert seen["reached"] and seen["ran"] and foreign(seen["read"], tmp_path) == [os.path.realpath("/etc/hosts")]
