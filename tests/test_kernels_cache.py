"""Compiled libraries are code: kept for their owner; one that somebody else could have put there is not loaded."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dynroute_kernels import build, cache, cuda_build
from dynroute_kernels.build import BuildError

WIDE = 0o777


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A library of ours in a cache of ours."""
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path / "cache"))
    cache.make(cache.folder())
    path = cache.folder() / "one.so"
    path.write_bytes(b"no library")
    path.chmod(0o644)
    return path


def test_the_folder_and_its_libraries_are_their_owners(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under a umask that would let everybody write."""
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path / "deep" / "cache"))
    before = os.umask(0)
    try:
        cache.make(cache.folder())
        made = cache.folder() / "part"
        made.touch(mode=WIDE)
        cache.place(made, cache.folder() / "one.so")
    finally:
        os.umask(before)
    assert cache.folder().stat().st_mode & 0o777 == 0o700
    assert (cache.folder() / "one.so").stat().st_mode & 0o022 == 0
    assert cache.danger(cache.folder() / "one.so") == ""


def test_the_places(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORCH_EXTENSIONS_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert cache.folder() == Path("/x/torch_extensions")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/h")
    assert cache.folder() == Path("/h/.cache/torch_extensions")


def test_what_everybody_can_write_is_dangerous(library: Path) -> None:
    assert cache.danger(library) == ""
    library.chmod(WIDE)
    assert "can write" in cache.danger(library)
    library.chmod(0o644)
    library.parent.chmod(WIDE)
    assert "can write" in cache.danger(library)
    library.parent.chmod(0o1777)  # as /tmp: others cannot replace this file
    assert cache.danger(library) == ""


def test_somebody_elses_file_is_dangerous(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if os.getuid() == 0:
        os.chown(library, 4242, -1)
    else:
        another = os.getuid() + 1
        monkeypatch.setattr(os, "getuid", lambda: another)
    assert "belongs to user" in cache.danger(library)


@pytest.mark.parametrize("load", ["cpu", "cuda"])
def test_a_dangerous_library_is_not_loaded(load: str, library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "build", lambda *, sanitized, part: library)
    attempt = build.library.__wrapped__ if load == "cpu" else lambda: cuda_build._load(library)
    with pytest.raises((BuildError, OSError)) as ours:
        attempt()
    assert "is not loaded" not in str(ours.value)  # it is tried, and is none
    library.parent.chmod(WIDE)
    with pytest.raises((BuildError, cuda_build.BuildError), match="is not loaded, since every user"):
        attempt()
