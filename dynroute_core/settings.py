"""Settings by name, as `--set` gives them: `train.lr=0.02` for a field of a nested dataclass.

Takes text, and plain dicts of the dataclass; what a value means, and whether it can be, its own class checks.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from dynroute_core.system.errors import UsageError, suggest
from dynroute_core.system.strict_json import decode_json

FIXED = ("row", "title", "profile")
# null takes a budget away, {"weight": ..., "target": ...} gives one; the others likewise.
WHOLE = ("budget", "common", "route", "weights")


def setting_names(value: object, prefix: str = "") -> list[str]:
    """The name of every setting of an experiment, sorted."""
    found = []
    for part in dataclasses.fields(value):  # type: ignore[arg-type]
        inner = getattr(value, part.name)
        if part.name in FIXED:
            continue
        nested = dataclasses.is_dataclass(inner)
        if not nested or part.name in WHOLE:
            found.append(prefix + part.name)
        if nested:
            found += setting_names(inner, f"{prefix}{part.name}.")
    return sorted(found)


def put(plain: dict[str, object], names: Sequence[str], settings: Mapping[str, str]) -> None:
    """Puts settings into the plain dicts of an experiment. Raises UsageError for a name that is not among `names`
    (nearest suggested), and for a part of something that another setting took away."""
    for key, text in settings.items():
        if key not in names:
            raise suggest("setting", key, names)
        try:
            raw = text.encode()
        except UnicodeEncodeError as error:  # bytes of the command line that are no text
            raise UsageError(f"--set {key}={text[:60]!a} is no text. Give UTF-8.") from error
        *parents, last = key.split(".")
        place = plain
        for parent in parents:
            inner = place[parent]
            if not isinstance(inner, dict):
                raise UsageError(
                    f"--set {key}={text[:60]}: {parent} was set to something without {last}. Leave one out."
                )
            place = inner
        place[last] = _value(raw, text)


def _value(raw: bytes, text: str) -> object:
    """Strict JSON, or the text itself."""
    try:
        return decode_json(raw)
    except ValueError:
        return text
