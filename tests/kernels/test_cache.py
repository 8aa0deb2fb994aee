"""Compiled libraries are code: kept for their owner; one that somebody else could have put there is not loaded."""

from __future__ import annotations

import ctypes
import os
import shutil
from pathlib import Path

import pytest

from dynroute_kernels import cache
from dynroute_kernels.cache import BuildError
from dynroute_kernels.cpu import build
from dynroute_kernels.cuda import build as cuda_build

WIDE = 0o777
EXPORTED = 'extern "C" __attribute__((visibility("default"))) int two() { return 2; }'


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
    with pytest.raises(BuildError, match="is not loaded, since every user"):
        attempt()


@pytest.fixture
def nobodys_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container: no HOME, and a user without a line in passwd."""
    for name in ("TORCH_EXTENSIONS_DIR", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)

    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", no_home)


def test_without_a_home_the_variable_is_named(nobodys_home: None) -> None:
    with pytest.raises(BuildError, match="TORCH_EXTENSIONS_DIR"):
        build.build()


@pytest.mark.parametrize("broken", ["mkdir", "mkdtemp"])
def test_a_home_that_cannot_be_written_is_told(broken: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path / "cache"))

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(*((Path, "mkdir", refuse) if broken == "mkdir" else (cache.tempfile, "mkdtemp", refuse)))
    with pytest.raises(BuildError, match=r"Permission denied.*TORCH_EXTENSIONS_DIR"):
        build.build()


def test_a_tilde_is_the_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/h")
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", "~/one")
    assert cache.folder() == Path("/h/one")
    monkeypatch.delenv("TORCH_EXTENSIONS_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", "~/two")
    assert cache.folder() == Path("/h/two/torch_extensions")


@pytest.mark.parametrize("name", ["a folder", "it's", 'a "quoted" one', "straße", "$HOME", "%j"])
def test_kernels_are_built_wherever_the_checkout_and_the_cache_lie(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if build.compiler() is None:
        pytest.skip("no C++ compiler")
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path / name / "cache"))
    monkeypatch.setattr(build, "SOURCES", tmp_path / name / "sources")
    (build.SOURCES / "deeper").mkdir(parents=True)
    (build.SOURCES / "one.cpp").write_text("int one() { return 1; }")
    (build.SOURCES / "deeper" / "one.cpp").write_text(EXPORTED)
    (build.SOURCES / ".#one.cpp").symlink_to("nobody@nowhere.1")
    part = build.Part("two", ("*.cpp", "deeper/*.cpp"), ())
    assert ctypes.CDLL(str(build.build(part=part))).two() == 2


def test_a_compiler_may_have_words_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`ccache g++`; and a compiler in a folder whose name has a space."""
    real = shutil.which("g++") or shutil.which("c++")
    if real is None:
        pytest.skip("no C++ compiler")
    monkeypatch.setenv("CXX", f"env {real}")
    assert build.compiler() == ["env", real]
    spaced = tmp_path / "my tools" / "g++"
    spaced.parent.mkdir()
    spaced.symlink_to(real)
    monkeypatch.setenv("CXX", str(spaced))
    assert build.compiler() == [str(spaced)]
    monkeypatch.setenv("CXX", "no-such-compiler -O3")
    assert build.compiler() is None


@pytest.mark.parametrize(
    ("said", "remedy"),
    [
        ("/lib/libstdc++.so.6: version `GLIBCXX_3.4.32' not found", "libstdc"),
        ("failed to map segment from shared object", "noexec"),
        ("file too short", "Delete it"),
    ],
)
def test_what_helps_is_said(said: str, remedy: str) -> None:
    assert remedy in build._remedy(said)
