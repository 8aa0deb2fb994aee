"""When a number of ours may stand beside a published one: same protocol, and the row's own network; and which of ours
are one setting's."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import msgspec

from dynroute_core.experiments import ROWS, experiment
from dynroute_core.published import (
    PROTOCOL_DATA,
    PROTOCOL_HEIGHT,
    PROTOCOL_IMAGES,
    PROTOCOL_PROFILE,
    PROTOCOL_WIDTH,
    PUBLISHED,
)
from dynroute_core.runs.finished import experiment_of
from dynroute_core.runs.marks import augmentation, forced_route
from dynroute_core.runs.record import Record
from dynroute_core.system.errors import BlockedError


def why_not_comparable(record: Record) -> str:
    """What sets a record apart from the published protocol; empty where nothing does."""
    costs = record.costs
    reason = ""
    if (record.profile, record.data.name) != (PROTOCOL_PROFILE, PROTOCOL_DATA):
        reason = f"{record.profile} profile, {record.data.name}"
    elif record.data.val_images != PROTOCOL_IMAGES:
        reason = f"{record.data.val_images} of {PROTOCOL_IMAGES} images"
    elif (costs.nominal_height, costs.nominal_width) != (PROTOCOL_HEIGHT, PROTOCOL_WIDTH):
        reason = f"costs at {costs.nominal_height}×{costs.nominal_width}"
    elif (other := augmentation(record.config)) or (other := forced_route(record.config)):
        reason = other
    elif model := [name for name in changed_settings(record) if name.split(".")[0] == "model"]:
        reason = f"another network ({', '.join(model)})"
    return f"not comparable: {reason}" if reason else ""


def is_comparable(record: Record) -> bool:
    """Whether the record follows the published protocol and its row is one of the published."""
    return record.row in PUBLISHED and not why_not_comparable(record)


def changed_settings(record: Record) -> tuple[str, ...]:
    """Settings of network and training, such as `train.batch`, that are not the row's own (same profile, same data).

    Empty for a row, profile or data set that this version does not know. A setting that the record does not name is
    newer than the record, whose run did what is now the default.
    """
    if record.row not in ROWS:
        return ()
    try:
        own = experiment(record.row, profile=record.profile, data=record.data.name, seed=record.seed)
    except ValueError:
        return ()
    # Through JSON, as the record came: lists and tuples are then one.
    ours, rows = (flat(msgspec.json.decode(msgspec.json.encode(value)), "") for value in (record.config, own))
    groups = ("model.", "train.")
    if ours.get("common.source"):  # its paths come from another run, which is how the row is meant
        ours.pop("model.paths", None)
    mine = sorted(name for name in ours if name.startswith(groups))
    return tuple(name for name in mine if name not in rows or ours[name] != rows[name])


def setting(record: Record) -> str:
    """Row, settings and images, without the seed and with what a setting newer than the record then was by nature: the
    same for runs that differ in the seed alone. Settings that this version cannot read stand as they are."""
    images = record.data.val_fingerprint
    try:
        chosen = replace(experiment_of(record), seed=0)
    except BlockedError:
        return json.dumps([record.row, record.config | {"seed": 0}, images], sort_keys=True)
    if chosen.common:  # its paths are those of its own seed's source
        chosen = replace(chosen, common=replace(chosen.common, source_key=""), model=replace(chosen.model, paths=()))
    return json.dumps([asdict(chosen), images], sort_keys=True)


def flat(value: object, prefix: str) -> dict[str, object]:
    """Nested settings as one mapping, `train.batch` → 8. prefix: what every name begins with, "" for nothing."""
    if not isinstance(value, dict):
        return {prefix: value}
    return {
        name: item for key, inner in value.items() for name, item in flat(inner, f"{prefix}.{key}".lstrip(".")).items()
    }
