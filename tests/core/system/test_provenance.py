"""Which code made a run: its commit, and the hash of everything that can change a number."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

import dynroute_core
from dynroute_core.system import provenance
from dynroute_core.system.provenance import commit, source_hash


@pytest.fixture
def copied_sources(tmp_path, monkeypatch):
    """The core's sources elsewhere, outside any checkout; `provenance` takes them for its own."""
    core = Path(dynroute_core.__file__).parent
    shutil.copytree(core, tmp_path / core.name, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / core.name / "system" / "provenance.py"))
    return tmp_path / core.name


def test_the_sources_hash_changes_with_every_source_of_the_core(copied_sources):
    first = source_hash()
    assert first == source_hash()
    for path in sorted(copied_sources.rglob("*.py")):
        before = path.read_bytes()
        path.write_bytes(before + b"# changed\n")
        assert source_hash() != first, path
        path.write_bytes(before)
    assert source_hash() == first


def test_an_edit_in_the_suite_changes_no_hash(copied_sources):
    first = source_hash()
    suite = copied_sources.parent / "dynroute_suite" / "report" / "tables.py"
    suite.parent.mkdir(parents=True)
    suite.write_text("# changed")
    assert source_hash() == first


def test_the_sources_hash_sees_the_kernels(copied_sources):
    first = source_hash()
    kernel = copied_sources.parent / "kernels" / "csrc" / "cpu" / "cell.cpp"
    kernel.parent.mkdir(parents=True)
    kernel.write_text("// a kernel")
    assert source_hash() != first
    (kernel.parent / "README.md").write_text("no source")
    (kernel.parent / "cell.cpp").unlink()
    assert source_hash() == first


def test_hidden_files_are_no_sources(copied_sources):
    """An editor's lock is a link to nowhere; other systems leave `._x.py` beside x.py."""
    first = source_hash()
    (copied_sources / ".#model.py").symlink_to("somebody@somewhere.1234")
    (copied_sources / "._cell.py").write_bytes(b"\0")
    (copied_sources / ".ipynb_checkpoints").mkdir()
    (copied_sources / ".ipynb_checkpoints" / "cost-checkpoint.py").write_text("x = 1")
    assert source_hash() == first


def test_the_sources_hash_sees_names_new_files_and_nothing_but_python(copied_sources):
    first = source_hash()
    (copied_sources / "notes.txt").write_text("no source")
    (copied_sources / "__pycache__").mkdir(exist_ok=True)
    (copied_sources / "__pycache__" / "model.cpython-311.pyc").write_bytes(b"\0")
    assert source_hash() == first
    (copied_sources / "metrics.py").rename(copied_sources / "metrics_2.py")
    assert source_hash() != first
    (copied_sources / "metrics_2.py").rename(copied_sources / "metrics.py")
    (copied_sources / "new.py").touch()
    assert source_hash() != first


def test_commit_outside_a_checkout_is_unknown(copied_sources):
    assert commit() == ("unknown", False)


def test_commit_and_whether_tracked_files_differ(copied_sources):
    root = copied_sources.parent

    def git(*words):
        identity = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
        done = subprocess.run(["git", "-C", str(root), *identity, *words], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    git("init", "--quiet")
    assert commit() == ("unknown", False)  # no commit yet
    git("add", "--all")
    git("commit", "--quiet", "--message", "first")
    head = git("rev-parse", "HEAD")
    assert commit() == (head, False)
    (root / "untracked.txt").touch()
    assert commit() == (head, False)
    (copied_sources / "model.py").write_text("")
    assert commit() == (head, True)


def test_another_repository_in_gits_variables_is_not_named(copied_sources, monkeypatch, tmp_path_factory):
    """A hook, or `git rebase --exec`, sets GIT_DIR."""
    other = tmp_path_factory.mktemp("other")
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", "-C", str(other), "init", "--quiet"], check=True)
    command = ["git", "-C", str(other), *identity, "commit", "--quiet", "--allow-empty", "--message", "x"]
    subprocess.run(command, check=True)
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(copied_sources.parent))
    assert commit() == ("unknown", False)


def test_commit_without_git_is_unknown(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert commit() == ("unknown", False)
