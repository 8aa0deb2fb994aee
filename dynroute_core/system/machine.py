"""What is said and asked of the machine: device, processor, packages, memory.

Imports torch only inside the functions that need it, so that `reproduce.py --help` answers at once."""

from __future__ import annotations

import ctypes
import platform
import sys
from contextlib import suppress
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from dynroute_core.system.errors import UsageError

if TYPE_CHECKING:
    import torch


def pick_device(name: str) -> torch.device:
    """The device for `"auto"` (CUDA where there is one, else the CPU) or a torch device name.

    Raises `UsageError` for a name torch does not know or a device that is not there.
    """
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"unknown device {name!r}. Give auto, cpu, cuda or cuda:N.") from error
    if device.type not in ("cpu", "cuda"):
        raise UsageError(f"device {name!r} is not supported. Give auto, cpu, cuda or cuda:N.")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(f"device {name!r} is not here: torch sees {torch.cuda.device_count()} GPUs. Give cpu or auto.")
    return device


def device_name(device: torch.device) -> str:
    """The device as a person would name it, for records: `NVIDIA H200`, or the processor's model name."""
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


OPENCV = ("opencv-python", "opencv-python-headless", "opencv-contrib-python", "opencv-contrib-python-headless")
"""The packages that bring OpenCV's Python module, each enough by itself; of several, a record names all."""


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that can change a number."""
    found = {"python": platform.python_version()}
    for name in ("torch", "torchvision", "numpy", "pillow", "papermill"):
        found[name] = _version(name) or "absent"
    opencv = {name: version for name in OPENCV if (version := _version(name))}
    return found | (opencv or {"opencv": _opencv_itself()})


def _opencv_itself() -> str:
    """What the module says of itself, where no package has it: conda's may lack the metadata."""
    try:
        import cv2
    except ImportError:
        return "absent"
    return str(cv2.__version__)


def _version(name: str) -> str:
    """An installed package's version, "" where it is not installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def processor_quota(groups: Path = Path("/proc/self/cgroup"), tree: Path = Path("/sys/fs/cgroup")) -> float | None:
    """How many processors' time this process and its like may take, as a container's limit says; None without one.

    groups: the control groups of the process. tree: where their limits lie, of either version of control groups.
    """
    found = []
    with suppress(OSError, ValueError):
        for line in groups.read_text().splitlines():
            _, controllers, group = line.split(":", 2)
            if controllers and "cpu" not in controllers.split(","):
                continue
            top = tree / "cpu" if controllers else tree
            inner = top / group.lstrip("/")
            found += [
                limit for folder in (inner, *inner.parents) if folder.is_relative_to(top) and (limit := _quota(folder))
            ]
    return min(found, default=None)


def _quota(folder: Path) -> float | None:
    """The limit of one control group; None where it has none."""
    with suppress(OSError, ValueError):
        if (whole := folder / "cpu.max").exists():
            quota, period = whole.read_text().split()
        else:
            quota, period = ((folder / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        return int(quota) / int(period) if int(quota) > 0 else None  # "max" is no number
    return None


def keep_freed_memory() -> bool:
    """Tells glibc to keep freed memory rather than return it to the system; gives whether it could be told.

    Training frees and takes the same large blocks in every step; taken from the system each time they are faulted in
    page by page, which costs about a third of a step on the CPU.
    """
    trim_threshold, mmap_threshold = -1, -3  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD of malloc.h
    largest = 2**31 - 1
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    told = [mallopt(trim_threshold, largest), mallopt(mmap_threshold, 2**30)]
    return all(told)


def is_terminal() -> bool:
    """Whether a person watches standard error."""
    return sys.stderr.isatty()


@cache
def say_once(text: str) -> None:
    """Says it on standard error, the first time that it is to be said."""
    print(text, file=sys.stderr)
