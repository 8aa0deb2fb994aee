"""Strict JSON as dataclasses.

Takes paths or bytes that anybody may have written; gives checked values, or an error that names file and reason. Memory
is not given to a few bytes that claim much. What a value means is its reader's business."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import msgspec

from dynroute_core.system.errors import BlockedError
from dynroute_core.system.files import read_file, write_whole

DEEPEST = 32  # levels of nesting; a record has 5
MOST_PARTS = 1_000_000  # texts, lists and objects: 3 bytes of JSON can ask for 60 of memory
MOST_VALUES = 8_000_000
LARGEST_INTEGER = 2**63 - 1
T = TypeVar("T")


def decode_json(raw: bytes) -> object:
    """Strict JSON as plain values: each key once in its object, finite numbers, integers of 64 bits.

    Raises ValueError for anything else, and for more values or levels than any file of ours has.
    """
    if sum(map(raw.count, (b"[", b"{", b'"'))) > MOST_PARTS or raw.count(b",") > MOST_VALUES:
        raise ValueError("it holds more values than any file of a run")
    try:
        value = msgspec.json.decode(raw)
        _check_values(value, DEEPEST)
        json.loads(raw.decode(), object_pairs_hook=_refuse_twins)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise ValueError(str(error)) from error
    return value


def _check_values(value: object, levels: int) -> None:
    if isinstance(value, int) and abs(value) > LARGEST_INTEGER:
        raise ValueError("an integer has more than 64 bits")
    if isinstance(value, dict | list):
        if not levels:
            raise ValueError(f"it is nested more than {DEEPEST} levels deep")
        for item in value.values() if isinstance(value, dict) else value:
            _check_values(item, levels - 1)


def _refuse_twins(pairs: list[tuple[str, object]]) -> None:
    """Of two values under one key every reader takes another one."""
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            raise ValueError(f"the key {key[:60]!r} stands twice in one object")
        seen.add(key)


def parse(kind: type[T], raw: bytes, path: Path | str) -> T:
    """Strict JSON as a dataclass: types, required and unknown fields are checked.

    Raises BlockedError naming file and field.
    """
    try:
        data = decode_json(raw)
        value = msgspec.convert(data, kind)
    except ValueError as error:  # msgspec's are among them
        raise BlockedError(
            f"{path} is not a readable {kind.__name__.lower()}: {error}. Delete it and run the row again."
        ) from error
    if unknown := _unknown_fields(data, msgspec.to_builtins(value), "$"):
        raise BlockedError(f"{path} has unknown fields ({', '.join(unknown[:5])}): was it written by another version?")
    return value


def read_checked(kind: type[T], path: Path, problems: Callable[[T], list[str]], *, again: str) -> T:
    """A JSON file as a dataclass that can be true. problems: what speaks against a value; again: what to do then.

    Raises BlockedError naming file and reason.
    """
    value = parse(kind, read_file(path), path)
    if found := problems(value):
        raise BlockedError(f"{path} cannot be true: {'; '.join(found[:3])}. {again}")
    return value


def write_checked(path: Path, value: T, problems: Callable[[T], list[str]], *, what: str) -> None:
    """Writes a dataclass as JSON, whole or not at all. Raises ValueError for one that `read_checked` would refuse."""
    if found := problems(value):
        raise ValueError(f"refusing to write {what} that cannot be true: {'; '.join(found)}")
    write_whole(path, to_json(value))


def _unknown_fields(given: object, known: object, where: str) -> list[str]:
    if isinstance(given, dict) and isinstance(known, dict):
        found = [f"{where}.{key[:60]}" for key in given if key not in known]
        return found + [
            u for key in given if key in known for u in _unknown_fields(given[key], known[key], f"{where}.{key}")
        ]
    if isinstance(given, list) and isinstance(known, list | tuple):
        return [u for a, b in zip(given, known, strict=False) for u in _unknown_fields(a, b, f"{where}[]")]
    return []


def to_json(value: object) -> bytes:
    """A dataclass as JSON, keys in declaration order, ending in a newline. Raises ValueError for NaN and infinities."""
    plain = msgspec.to_builtins(value)
    _refuse_non_finite(plain, "$")
    return msgspec.json.format(msgspec.json.encode(plain), indent=1) + b"\n"


def _refuse_non_finite(value: object, where: str) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{where} is {value}: records hold finite numbers only.")
    if isinstance(value, dict):
        for key, item in value.items():
            _refuse_non_finite(item, f"{where}.{key}")
    if isinstance(value, list | tuple):
        for item in value:
            _refuse_non_finite(item, f"{where}[]")
