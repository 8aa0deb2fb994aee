"""Builds `csrc/cuda`: with nvcc for the GPU at hand, with nvcc for a check without one, with g++ for the emulator.

The sources take raw pointers and no torch headers, so a build is one compiler call of some seconds, kept under a name
that holds a hash of the sources. Raises BuildError, with what is missing, where a compiler is.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from dynroute_kernels import cache
from dynroute_kernels.cache import BuildError
from dynroute_kernels.cpu.build import compiler
from dynroute_kernels.cuda.problems import PROBLEMS

SOURCES = Path(__file__).resolve().parents[1] / "csrc" / "cuda"
ARCHITECTURES = ("80", "90")  # what is checked without a GPU
NVCC_FLAGS = ("-std=c++17", "-O3")
EMULATOR_FLAGS = ("-std=c++17", "-O2", "-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas", "-DDYNROUTE_EMULATED")


def find_nvcc() -> str | None:
    """nvcc from CUDA_HOME, the path, or the usual place."""
    home = os.environ.get("CUDA_HOME") or "/usr/local/cuda"
    candidate = Path(home) / "bin" / "nvcc"
    return str(candidate) if candidate.is_file() else shutil.which("nvcc")


def check_command(architecture: str, output: Path) -> list[str]:
    """The nvcc call that compiles every kernel for one architecture, such as "90", without a GPU."""
    return [_nvcc(), *NVCC_FLAGS, f"-arch=sm_{architecture}", "-c", str(SOURCES / "operators.cu"), "-o", str(output)]


@functools.cache
def gpu_library() -> ctypes.CDLL:
    """The kernels for the current GPU, built on first use (one line on stderr says so)."""
    import torch

    major, minor = torch.cuda.get_device_capability()
    flags = [*NVCC_FLAGS, f"-arch=sm_{major}{minor}", "-shared", "-Xcompiler", "-fPIC"]
    library = _load(_built(f"cuda_sm{major}{minor}", [_nvcc(), *flags, str(SOURCES / "operators.cu")]))
    library.dynroute_error.restype = ctypes.c_char_p
    return library


@functools.cache
def emulator_library() -> ctypes.CDLL:
    """The kernels as plain C++, run by `csrc/cuda/host/emulator.cpp`: what they compute, slowly, without a GPU."""
    command = compiler()
    if command is None:
        raise BuildError("the emulator needs a C++17 compiler: install g++ or clang++, or name one in CXX.")
    inputs = ["-x", "c++", *(str(SOURCES / name) for name in ("operators.cu", "host/emulator.cpp", "host/faults.cpp"))]
    library = _load(_built("cuda_emulator", [*command, *EMULATOR_FLAGS, "-fPIC", "-shared", *inputs]))
    library.dynroute_emulator_error.restype = ctypes.c_char_p
    return library


def _nvcc() -> str:
    nvcc = find_nvcc()
    if nvcc is None:
        raise BuildError("no nvcc: install the CUDA toolkit of torch's CUDA version, and set CUDA_HOME or PATH.")
    return nvcc


def _built(name: str, command: Sequence[str]) -> Path:
    """The shared library that `command` makes, from the cache where these sources and flags were built before."""
    digest = hashlib.sha256(" ".join(command).encode())
    for source in cache.sources(SOURCES, "**/*.*"):
        digest.update(source.read_bytes())
    target = cache.folder() / f"dynroute_{name}_{digest.hexdigest()[:16]}.so"
    if target.is_file():
        return target
    print(f"Building {target.name} with {command[0]} (once).", file=sys.stderr)
    with cache.making(target) as made:
        done = subprocess.run([*command, "-o", str(made)], capture_output=True, text=True, check=False)
        if done.returncode:
            raise BuildError(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")
    return target


def _load(path: Path) -> ctypes.CDLL:
    cache.refuse(path)
    library = ctypes.CDLL(str(path))
    for name, problem in PROBLEMS.items():
        entry = getattr(library, f"dynroute_{name}")
        entry.argtypes = [ctypes.POINTER(problem), ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_void_p]
        entry.restype = ctypes.c_int
        compiled = getattr(library, f"dynroute_sizeof_{name}")()
        if compiled != ctypes.sizeof(problem):
            raise BuildError(f"{name}: {compiled} bytes compiled, {ctypes.sizeof(problem)} in problems.py.")
    return library
