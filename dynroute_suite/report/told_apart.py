"""What sets the settings of one row's runs apart, in words: pages fold the seeds of a setting, and name the setting
where a row has several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict

from dynroute_core.runs.finished import experiment_of
from dynroute_core.runs.record import Record
from dynroute_core.system.errors import BlockedError
from dynroute_suite.report.comparable import flat
from dynroute_suite.report.numbers import NOTHING

RECIPE = "train.recipe"
MOST_NAMED = 3  # of the settings that differ; a recipe changes a dozen at once
IMAGES = "images"  # which they were validated on


def told_apart(records: Sequence[Record]) -> tuple[str, ...]:
    """For each record the settings that differ among those of its row, profile and data set, with its own values:
    `batch 8, lr 0.05`.

    Empty where there is one setting. The recipe is named wherever records of one profile and data set differ in it. The
    seed is no setting; a common network's paths, which come from another run, are none of its own.
    """
    settings = [_settings(record) for record in records]
    found = []
    for record, own in zip(records, settings, strict=True):
        beside = [
            (other.row, its)
            for other, its in zip(records, settings, strict=True)
            if (other.profile, other.data.name) == (record.profile, record.data.name)
        ]
        alike = [its for row, its in beside if row == record.row]
        names = [name for name in dict.fromkeys(name for its in alike for name in its) if _differs(name, alike)]
        if _differs(RECIPE, [its for _, its in beside]):
            names = [RECIPE]  # what it consists of stands with the recipe
        found.append(_words(names, own))
    return tuple(found)


def recipe_of(record: Record) -> str:
    """The recipe that a run was trained by; runs of two recipes do not compare."""
    return str(_settings(record).get(RECIPE, ""))


def _settings(record: Record) -> Mapping[str, object]:
    found = flat(record.config, "")
    with suppress(BlockedError):  # settings that this version cannot read stand as they are
        found |= flat(asdict(experiment_of(record)), "")
    found.pop("seed", None)
    if record.config.get("common"):
        found.pop("common.source_key", None)
        found.pop("model.paths", None)
    return found | {IMAGES: record.data.val_fingerprint[:8]}


def _differs(name: str, settings: Sequence[Mapping[str, object]]) -> bool:
    first = settings[0].get(name)
    return any(one.get(name) != first for one in settings)


def _words(names: Sequence[str], own: Mapping[str, object]) -> str:
    said = [f"{name.removeprefix('train.')} {_value(own.get(name))}" for name in names[:MOST_NAMED]]
    left = len(names) - MOST_NAMED
    return ", ".join([*said, *([f"{left} more"] if left > 0 else [])])


def _value(value: object) -> str:
    if value is None:
        return NOTHING
    return " ".join(map(str, value)) if isinstance(value, tuple | list) else str(value)
