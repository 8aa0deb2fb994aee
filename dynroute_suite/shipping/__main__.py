"""The command: `python -m dynroute_suite.shipping RUN`; `--help` says the rest."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from dynroute_core.system.errors import EXIT_DONE, DynrouteError

ROOT = Path(__file__).resolve().parents[2]


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog="python -m dynroute_suite.shipping",
        description="Writes a finished run's weights, in half precision, beside its record in the results.",
    )
    made.add_argument("run", type=Path, metavar="RUN", help="the run's folder, such as runs/dynamic-c/demo-...")
    made.add_argument("--results", type=Path, default=ROOT / "results", help="default: the committed results")
    made.add_argument("--data", type=Path, default=None, metavar="FOLDER", help="of its images; default: generated")
    return made


def main(words: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    chosen = parser().parse_args(words)
    from dynroute_core.runs.shipping import ship  # needs torch, which takes seconds

    run, results, data = (path and path.resolve() for path in (chosen.run, chosen.results, chosen.data))
    os.chdir(ROOT)  # generated data lie there
    try:
        shipped = ship(run, results, data_root=data)
    except DynrouteError as error:
        print(f"shipping: {error}", file=sys.stderr)
        return error.exit_code
    facts = shipped.facts
    print(f"{shipped.path}: {facts.size_bytes / 2**20:.2f} MB, {facts.licence}")
    print(f"mIoU {facts.stored_miou_percent:.2f} % as stored, {facts.miou_percent:.2f} % in float32")
    return EXIT_DONE


if __name__ == "__main__":
    sys.exit(main())
