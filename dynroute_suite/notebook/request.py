"""The request for the run of one notebook: what the supervisor hands to the child, and the files that come back."""

from __future__ import annotations

import math
from dataclasses import dataclass

from dynroute_core.system.errors import UsageError

EXECUTED, KERNEL = "executed.ipynb", "kernel"  # the notebook as papermill saved it; the kernel's process id
Parameter = None | bool | int | float | str | list["Parameter"] | dict[str, "Parameter"]


@dataclass(frozen=True, kw_only=True)
class NotebookRequest:
    """What to run. parameters: every parameter of the notebook. start_timeout_s: limit of the kernel's start.
    cell_timeout_s: limit per cell, None for none."""

    notebook: str
    root: str
    parameters: dict[str, object]
    kernel: str
    start_timeout_s: int
    cell_timeout_s: int | None


def plain_parameter(value: object, name: str, levels: int = 32) -> Parameter:
    """The value, if it means the same after JSON and as Python text in a cell.

    Raises UsageError for paths, tuples, NumPy numbers, NaN and the like: papermill would turn some into strings; and
    for what JSON cannot hold: text that is no Unicode, integers of more than 64 bits, more than 32 levels.
    """
    if not levels:
        raise UsageError(f"notebook parameter {name[:60]}: it is nested too deep.")
    if value is None or type(value) is bool or (type(value) is int and abs(value) < 2**63):
        return value
    if type(value) is str and _is_unicode(value):
        return value
    if type(value) is float and math.isfinite(value):
        return value
    if type(value) is list:
        return [plain_parameter(item, f"{name}[{index}]", levels - 1) for index, item in enumerate(value)]
    if type(value) is dict and all(type(key) is str and _is_unicode(key) for key in value):
        return {key: plain_parameter(item, f"{name}.{key}", levels - 1) for key, item in value.items()}
    raise UsageError(
        f"notebook parameter {name} is {value!r} ({type(value).__name__}). "
        "Allowed: None, bool, int of 64 bits, finite float, Unicode str, and lists and dicts of these."
    )


def _is_unicode(text: str) -> bool:
    """Whether it can be written: names of files may hold bytes that are no text."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
