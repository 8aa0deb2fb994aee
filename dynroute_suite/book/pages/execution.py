"""Fragments of the execution page: what every committed run took, on what, and from which code."""

from __future__ import annotations

from dynroute_suite.report import markup
from dynroute_suite.report.committed import Committed
from dynroute_suite.report.numbers import significant
from dynroute_suite.report.results import Results
from dynroute_suite.report.tables import escape_markdown

SHORT = 8  # letters of a hash that tell it apart here


def times(results: Results) -> str:
    """A line per run: how long each stage took, on which device, in how many attempts."""
    lines = []
    for one in results.committed:
        record, spent = one.record, one.record.durations
        names = [record.row, f"{record.profile}, {record.data.name}, seed {record.seed}", record.machine.device_name]
        numbers = [str(record.machine.threads), significant(spent.train_s / 60), significant(spent.precise_bn_s)]
        numbers += [significant(spent.evaluate_s), str(len(record.training.resumed_at) + 1)]
        lines.append([*(escape_markdown(name) for name in names), *(markup.link(n, one.address) for n in numbers)])
    if not lines:
        return "No run is committed yet."
    header = ["row", "run", "device", "threads", "training, min", "precise BN, s", "evaluation, s", "attempts"]
    total = significant(sum(one.record.durations.minutes for one in results.committed))
    note = (
        f"Together {total} minutes. Every line is one run from its first iteration to its record: none was taken from "
        "a cache. Peak memory is not recorded."
    )
    return f"{markup.table(header, lines, right=3)}\n\n<p class='dr-caption'>{note}</p>"


def origins(results: Results) -> str:
    """A line per run: when, from which commit and sources, with which versions."""
    lines = []
    for one in results.committed:
        record, versions = one.record, one.record.machine.versions
        told = ", ".join(
            f"{name} {version}" for name, version in versions.items() if name in ("python", "torch", "numpy")
        )
        source = f"{record.source.commit[:SHORT]}{', changed' if record.source.dirty else ''}"
        names = [
            record.label,
            record.started[:10],
            source,
            record.source.hash[:SHORT],
            record.data.val_fingerprint[:SHORT],
        ]
        lines.append([markup.link(names[0], one.address), *(escape_markdown(name) for name in [*names[1:], told])])
    header = ["run", "started", "commit", "sources", "val data", "versions"]
    return markup.table(header, lines, right=6) if lines else "No run is committed yet."


def _minutes(one: Committed) -> float:
    spent = one.record.durations
    return (spent.train_s + spent.precise_bn_s + spent.evaluate_s) / 60
