"""The picture that a finished run leaves to be opened: `summary.png`, drawn from its record, routes and examples."""

from __future__ import annotations

from pathlib import Path

from dynroute_core.runs.record import RECORD, ROUTES, Record, read_routes
from dynroute_core.system.files import remove_stale, write_whole

SUMMARY = "summary.png"
WIDTH_PX = 1300


def keep_summary(folder: Path, record: Record) -> Path:
    """The picture of a finished run, drawn where it is missing or older than the record.

    Raises BlockedError naming a file of the run that is missing or broken, and where the picture cannot be written.
    """
    path = folder / SUMMARY
    if not path.exists() or path.stat().st_mtime_ns < (folder / RECORD).stat().st_mtime_ns:
        from dynroute_suite.figures.raster import png  # with matplotlib, which no other part of the command needs
        from dynroute_suite.figures.summary import summary_figure

        remove_stale(folder, (SUMMARY,))
        write_whole(path, png(summary_figure(folder, record, read_routes(folder / ROUTES)), width_px=WIDTH_PX))
    return path
