"""From results and sources to HTML, every time from an empty folder.

Stages the book in OUT/source (prose, fragments, row pages, the sources that pages point to, the records), then runs
jupyter-book on it with warnings as errors, and leaves OUT/html. Reads the network nowhere: an extension writes the
formulas, and the theme's files are local.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from dynroute_core.system.errors import DynrouteError, UsageError
from dynroute_core.system.files import make_folder
from dynroute_suite.book.explorer.pictures import PICTURES, write_pictures
from dynroute_suite.book.fragments import GENERATED, fragments, write_fragments
from dynroute_suite.book.row_pages import write_row_pages
from dynroute_suite.book.sources import write_source_pages
from dynroute_suite.book.toc import check_toc
from dynroute_suite.report.failures import plain
from dynroute_suite.report.results import ROOT, Results

BOOK = ROOT / "book"
DEFAULT_OUT = BOOK / "_build"
SOURCE, HTML, RECORDS = "source", "html", "records"
OURS = (SOURCE, HTML, "sphinx")  # what a build makes in its folder, and a new one removes
SHIPPED = ("record.json", "routes.json", "curve.csv", "failed.ipynb", "log.txt")

Say = Callable[[str], None]


def build(*, results: Path, out: Path, draft: bool = False, say: Say = print) -> Path:
    """Builds the book; gives the folder of its pages.

    Raises UsageError where contents and pages disagree, BlockedError for a record that cannot be read, DynrouteError
    where jupyter-book warns.
    """
    source = stage(results=results, out=out, draft=draft, say=say)
    say("jupyter-book writes the pages")
    return _sphinx(source, out, builder="html")


def stage(*, results: Path, out: Path, draft: bool = False, say: Say = print) -> Path:
    """Everything that jupyter-book reads, in OUT/source."""
    _empty(out)
    source = out / SOURCE
    shutil.copytree(BOOK, source, ignore=shutil.ignore_patterns("_build", GENERATED, ".ipynb_checkpoints"))
    shown = Results(results.resolve())
    _copy_records(shown, source / RECORDS)
    write_pictures(source / PICTURES, shown.routed)
    chosen = fragments()
    say(f"{len(chosen)} fragments")
    write_fragments(source / GENERATED, chosen, shown)
    say("row pages")
    write_row_pages(source / "rows", shown)
    write_source_pages(source)
    check_toc(source, draft=draft)
    return source


def _empty(out: Path) -> None:
    """Makes OUT a folder without an earlier book in it. Raises UsageError for a folder that holds something else."""
    make_folder(out)
    foreign = sorted(path.name for path in out.iterdir() if path.name not in (*OURS, "pdf", "dynroute.pdf"))
    if foreign:
        raise UsageError(f"{out} holds {', '.join(foreign[:3])}, which no build made: give an empty folder with --out.")
    for name in OURS:
        shutil.rmtree(out / name, ignore_errors=True)


def _copy_records(results: Results, target: Path) -> None:
    """The files that pages offer for download."""
    for path in sorted(results.folder.glob("*/*/*")):
        if path.name in SHIPPED:
            results.require_inside(path)
            there = target / path.relative_to(results.folder)
            there.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, there)


def single_page(out: Path) -> Path:
    """The book staged in OUT as one page, for printing; gives its folder."""
    return _sphinx(out / SOURCE, out, builder="singlehtml")


def _sphinx(source: Path, out: Path, *, builder: str) -> Path:
    """Runs jupyter-book; its pages end in OUT/html. Raises DynrouteError with its warnings."""
    work = out / "sphinx"
    jupyter_book = "from jupyter_book.cli.main import main; main()"
    command = [sys.executable, "-c", jupyter_book, "build", str(source), "--path-output", str(work)]
    command += ["-W", "-n", "--keep-going", "--all", "--quiet", "--builder", builder]
    path = os.pathsep.join(part for part in (str(ROOT), os.environ.get("PYTHONPATH", "")) if part)
    done = subprocess.run(
        command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": path, "PYTHONHASHSEED": "0"}
    )
    made = work / "_build" / builder
    if done.returncode:
        told = [plain(line) for line in done.stderr.splitlines() if line.strip()]
        raise DynrouteError("jupyter-book failed; what it warned of:\n" + "\n".join(told[-40:]))
    for unread in made.rglob("*.map"):  # of the theme's scripts and styles: megabytes that no reader loads
        unread.unlink()
    target = out / (HTML if builder == "html" else "pdf")
    shutil.rmtree(target, ignore_errors=True)
    shutil.move(made, target)
    shutil.rmtree(work)
    return target
