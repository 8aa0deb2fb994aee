"""Compiles `csrc/cpu` on first use and keeps the library: later runs only load it.

The sources take plain pointers and include no torch header, so a build takes seconds. A library is named by a hash of
what it was made from (sources, flags, compiler). It is built in a folder of its own and moved into place whole:
two processes that build at once both end with a good library, and one that is killed leaves nothing that another waits
for. Where, and what may be loaded from there: `cache.py`.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from dynroute_kernels import cache
from dynroute_kernels.cache import BuildError

SOURCES = Path(__file__).resolve().parents[1] / "csrc" / "cpu"
FLAGS = ("-O3", "-std=c++17", "-fvisibility=hidden", "-Wall", "-Wextra", "-Wno-psabi")  # psabi: vectors by value
SANITIZER = ("-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-fno-omit-frame-pointer", "-g")


@dataclass(frozen=True)
class Part:
    """A library of its own, by patterns below SOURCES. compiled, included: its files; flags: beside FLAGS."""

    name: str
    compiled: tuple[str, ...]
    included: tuple[str, ...]
    flags: tuple[str, ...] = ()


ENGINE = Part("cpu", ("*.cpp",), ("*.h",))


def compiler() -> list[str] | None:
    """The command of the C++ compiler: CXX, which may hold words such as `ccache g++`, else the first on the path."""
    named = os.environ.get("CXX", "")
    if not named:
        found = next(filter(None, map(shutil.which, ("c++", "g++", "clang++"))), None)
        return [found] if found else None
    words = [named] if shutil.which(named) else shlex.split(named)  # a path may hold spaces
    return words if words and shutil.which(words[0]) else None


def missing() -> list[str]:
    """What a build lacks here; empty where it can start."""
    return [] if compiler() else ["a C++17 compiler (install g++ or clang++, or name one in CXX)"]


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
        _compile(made, part, flags)
    return target


def load(part: Part) -> ctypes.CDLL:
    """The part's library, compiled if need be. Raises BuildError."""
    sanitized = bool(os.environ.get("DYNROUTE_SANITIZE"))
    if sanitized and not hasattr(ctypes.CDLL(None), "__asan_init"):  # it would end the process
        raise BuildError("DYNROUTE_SANITIZE is set, and AddressSanitizer was not loaded before Python: make sanitize.")
    path = build(sanitized=sanitized, part=part)
    cache.refuse(path)
    try:
        return ctypes.CDLL(str(path))
    except OSError as error:
        raise BuildError(f"{path} does not load: {error}. {_remedy(str(error))}") from error


@functools.cache
def library() -> ctypes.CDLL:
    """The engine's kernels, compiled if need be, with the types of their functions. Raises BuildError."""
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


def _remedy(said: str) -> str:
    """What helps where a library does not load, by the loader's words."""
    if "GLIBCXX" in said or "CXXABI" in said:
        return (
            "The environment's libstdc++ is older than the compiler's: update it (conda: libstdcxx-ng), or name the "
            "environment's own compiler in CXX."
        )
    if "failed to map" in said or "Operation not permitted" in said:
        return "Its folder allows no programs (noexec): name another one in TORCH_EXTENSIONS_DIR."
    return "Delete it, and it is built again."


def _flags(part: Part, sanitized: bool) -> tuple[str, ...]:
    return (*FLAGS, *part.flags, *(SANITIZER if sanitized else ()))


def _files(patterns: Sequence[str]) -> list[Path]:
    return [path for pattern in patterns for path in cache.sources(SOURCES, pattern)]


def _compile(library: Path, part: Part, flags: Sequence[str]) -> None:
    """Every source by itself, as many at once as there are cores; then the library of them."""
    command = compiler()
    assert command is not None
    sources = _files(part.compiled)
    objects = [library.with_name("_".join(path.relative_to(SOURCES).with_suffix(".o").parts)) for path in sources]

    def call(*words: str | Path) -> None:
        done = subprocess.run([*command, *flags, *map(str, words)], capture_output=True, text=True, check=False)
        if done.returncode:
            raise BuildError(f"the CPU kernels do not compile with {shlex.join(command)}:\n{done.stdout}{done.stderr}")

    try:
        with ThreadPoolExecutor(os.cpu_count()) as together:
            list(together.map(lambda source, made: call("-fPIC", "-c", source, "-o", made), sources, objects))
        call("-shared", "-pthread", *objects, "-o", library)
    except OSError as error:
        raise BuildError(f"{shlex.join(command)} cannot be started: {error}") from error


@functools.cache
def _compiler_version() -> str:
    found = compiler()
    if found is None:
        return ""
    said = subprocess.run([*found, "--version"], capture_output=True, text=True, check=False).stdout
    return said.partition("\n")[0]


def _key(part: Part, flags: Sequence[str]) -> str:
    digest = hashlib.sha256(f"{flags} {platform.machine()}".encode())
    for path in _files((*part.compiled, *part.included)):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def _target(part: Part, flags: Sequence[str]) -> Path:
    made_by = hashlib.sha256(_compiler_version().encode()).hexdigest()[:8]
    return cache.folder() / f"dynroute_{part.name}_{_key(part, flags)}_{made_by}.so"
