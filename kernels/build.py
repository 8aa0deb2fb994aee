"""Compiles `csrc/cpu` through torch.utils.cpp_extension on first use and keeps the library: later runs only load it.

The sources take plain pointers and include no torch header, so a build takes seconds. A library is named by a hash of
what it was made from (sources, flags, torch, compiler). It is built in a folder of its own and moved into place whole:
two processes that build at once both end with a good library, and one that is killed leaves nothing that another waits
for. Where, and what may be loaded from there: `cache.py`.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from dynroute_kernels import cache

SOURCES = Path(__file__).resolve().parent / "csrc" / "cpu"
FLAGS = ("-O3", "-std=c++17", "-fvisibility=hidden", "-Wall", "-Wextra", "-Wno-psabi")  # psabi: vectors by value
SANITIZER = ("-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-fno-omit-frame-pointer", "-g")


@dataclass(frozen=True)
class Part:
    """A library of its own. sources: what is compiled; read: what else its bytes depend on; flags: beside FLAGS."""

    name: str
    sources: tuple[Path, ...]
    read: tuple[Path, ...] = ()
    flags: tuple[str, ...] = ()

    @property
    def files(self) -> list[Path]:
        return sorted((*self.sources, *self.read))


ENGINE = Part("cpu", tuple(SOURCES.glob("*.cpp")), tuple(SOURCES.glob("*.h")))


class BuildError(RuntimeError):
    """The kernels cannot be built or loaded here; the text says what is missing and what to do."""


def compiler() -> str | None:
    """The C++ compiler that torch would use: CXX, else c++, g++ or clang++ on the path."""
    named = os.environ.get("CXX")
    return shutil.which(named) if named else next(filter(None, map(shutil.which, ("c++", "g++", "clang++"))), None)


def ninja() -> str | None:
    """ninja on the path, or beside this interpreter, where pip puts it."""
    return shutil.which("ninja") or shutil.which("ninja", path=str(Path(sys.executable).parent))


def missing() -> list[str]:
    """What a build lacks here; empty where it can start."""
    lacking = [] if compiler() else ["a C++17 compiler (install g++ or clang++, or name one in CXX)"]
    return lacking if ninja() else [*lacking, "ninja (pip install ninja)"]


def built(*, sanitized: bool = False, part: Part = ENGINE) -> Path | None:
    """The library of these sources, if it was built before. Without a compiler, whichever compiler built it."""
    flags = _flags(part, sanitized)
    if compiler() is not None:
        path = _target(part, flags)
        return path if path.is_file() else None
    return next(iter(sorted(cache.folder().glob(f"dynroute_{part.name}_{_key(part, flags)}_*.so"))), None)


def build(*, sanitized: bool = False, part: Part = ENGINE) -> Path:
    """The library, built now unless it was before. Raises BuildError."""
    path = built(sanitized=sanitized, part=part)
    if path is not None:
        return path
    lacking = missing()
    if lacking:
        raise BuildError(f"the CPU kernels need {' and '.join(lacking)}.")
    flags = _flags(part, sanitized)
    target = _target(part, flags)
    print(f"dynroute_kernels: compiling the CPU kernels into {target} (once)", file=sys.stderr)
    with cache.making(target) as made:
        _compile(target.stem, part, flags, made.parent)
    return target


def refuse(path: Path) -> None:
    """Raises BuildError for a library that somebody else may have put there."""
    if against := cache.danger(path):
        raise BuildError(
            f"{path} is not loaded, since {against}, and loading it would run it. Delete it, and name a folder of your "
            "own in TORCH_EXTENSIONS_DIR."
        )


def load(part: Part) -> ctypes.CDLL:
    """The part's library, compiled if need be. Raises BuildError."""
    path = build(sanitized=bool(os.environ.get("DYNROUTE_SANITIZE")), part=part)
    refuse(path)
    try:
        return ctypes.CDLL(str(path))
    except OSError as error:
        raise BuildError(f"{path} does not load ({error}): delete it, and it is built again.") from error


@functools.cache
def library() -> ctypes.CDLL:
    """The kernels, compiled if need be, with the types of their functions. Raises BuildError."""
    loaded = load(ENGINE)
    pointer, integer, long = ctypes.c_void_p, ctypes.c_int, ctypes.c_int64
    for name, result, arguments in (
        ("error", ctypes.c_char_p, ()),
        ("isa", ctypes.c_char_p, (ctypes.c_char_p, integer)),
        ("create", pointer, (ctypes.c_char_p, integer, pointer, pointer, pointer, integer, pointer, long)),
        ("destroy", None, (pointer,)),
        ("arena_bytes", long, (pointer,)),
        ("run", integer, (pointer, pointer, *[integer] * 3, pointer, integer, integer, *[pointer] * 4)),
        ("plan", integer, (pointer, *[integer] * 3)),
        ("map", integer, (pointer, *[integer] * 3, pointer)),
        ("stem", integer, (pointer, pointer, *[integer] * 3)),
        ("arrive", integer, (pointer, *[integer] * 3, pointer)),
        ("cell", integer, (pointer, integer, pointer)),
        ("send", integer, (pointer, integer, integer, ctypes.c_float)),
        ("predict", integer, (pointer, pointer)),
        ("enlarge", integer, (pointer, pointer, integer, integer, pointer, pointer)),
    ):
        function = getattr(loaded, f"dynroute_{name}")
        function.restype, function.argtypes = result, list(arguments)
    return loaded


def _flags(part: Part, sanitized: bool) -> tuple[str, ...]:
    flags = (*FLAGS, *part.flags)
    return (*flags, *SANITIZER) if sanitized else flags


def _compile(name: str, part: Part, flags: Sequence[str], folder: Path) -> None:
    found = ninja()
    assert found is not None
    os.environ["PATH"] = os.pathsep.join((os.environ.get("PATH", ""), str(Path(found).parent)))
    from torch.utils import cpp_extension  # only here: it imports setuptools, and takes a second

    sources = sorted(str(path) for path in part.sources)
    links = [flag for flag in flags if flag.startswith("-fsanitize")]
    try:
        cpp_extension.load(name, sources, list(flags), extra_ldflags=links, build_directory=str(folder),
                           is_python_module=False)  # fmt: skip
    except (RuntimeError, OSError, subprocess.CalledProcessError) as error:
        raise BuildError(f"the CPU kernels do not compile with {compiler()}:\n{error}") from error


@functools.cache
def _compiler_version() -> str:
    found = compiler()
    if found is None:
        return ""
    return subprocess.run([found, "--version"], capture_output=True, text=True, check=False).stdout.partition("\n")[0]


def _key(part: Part, flags: Sequence[str]) -> str:
    digest = hashlib.sha256(f"{flags} {torch.__version__} {platform.machine()}".encode())
    for path in part.files:
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def _target(part: Part, flags: Sequence[str]) -> Path:
    made_by = hashlib.sha256(_compiler_version().encode()).hexdigest()[:8]
    return cache.folder() / f"dynroute_{part.name}_{_key(part, flags)}_{made_by}.so"
