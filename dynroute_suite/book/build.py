"""From results and sources to HTML, every time from an empty folder.

Stages the book in OUT/source (prose, fragments, row pages, the sources that pages point to, the records), then runs
jupyter-book on it with warnings as errors, and leaves OUT/html. Reads the network nowhere: an extension writes the
formulas, and the theme's files are local. `build_again` is for who writes prose: it takes over what prose does not
change.
"""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from dynroute_core.system.errors import DynrouteError, UsageError
from dynroute_core.system.files import make_folder, write_whole
from dynroute_suite.book.again import STAMP, renew_prose, require_only_prose_changed, write_stamp
from dynroute_suite.book.explorer.pictures import PICTURES, write_pictures
from dynroute_suite.book.fragments import GENERATED, fragments, write_fragments
from dynroute_suite.book.lean import make_lean
from dynroute_suite.book.row_head import PACKED
from dynroute_suite.book.row_pages import write_row_pages
from dynroute_suite.book.sources import write_source_pages
from dynroute_suite.book.toc import check_toc
from dynroute_suite.report.failures import plain
from dynroute_suite.report.measured import CSV, measured_csv
from dynroute_suite.report.results import ROOT, Results

BOOK = ROOT / "book"
DEFAULT_OUT = BOOK / "_build"
SOURCE, HTML, RECORDS = "source", "html", "records"
WORK = "sphinx"  # jupyter-book's own folder
OURS = (SOURCE, HTML, WORK, STAMP)  # what a build makes in its folder, and a new one removes
SHIPPED = ("record.json", "routes.json", "curve.csv", "failed.ipynb", "log.txt")

Say = Callable[[str], None]


def build(*, results: Path, out: Path, draft: bool = False, say: Say = print) -> Path:
    """Builds the book; gives the folder of its pages.

    Raises UsageError where contents and pages disagree, BlockedError for a record that cannot be read, DynrouteError
    where jupyter-book warns.
    """
    source = stage(results=results, out=out, draft=draft, say=say)
    say("jupyter-book writes the pages")
    made = _sphinx(source, out, builder="html")
    write_stamp(out, BOOK, results)
    return made


def build_again(*, results: Path, out: Path, say: Say = print) -> Path:
    """Builds anew the pages whose prose changed since the build in OUT; gives the folder of pages.

    Raises UsageError where more than prose changed, or nothing was built there; else as `build` does.
    """
    require_only_prose_changed(out, BOOK, results)
    changed = renew_prose(BOOK, out / SOURCE)
    write_source_pages(out / SOURCE)
    check_toc(out / SOURCE)
    say(f"jupyter-book writes anew: {', '.join(changed) or 'nothing'}")
    return _sphinx(out / SOURCE, out, builder="html", whole=False)


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
    (source / "_assets" / "results").mkdir(exist_ok=True)
    write_whole(source / "_assets" / "results" / CSV, measured_csv(shown.committed).encode())
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
            if path.name in PACKED:
                there.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes(), mtime=0))
            else:
                shutil.copyfile(path, there)


def single_page(out: Path) -> Path:
    """The book staged in OUT as one page, for printing; gives its folder."""
    return _sphinx(out / SOURCE, out, builder="singlehtml")


def _sphinx(source: Path, out: Path, *, builder: str, whole: bool = True) -> Path:
    """Runs jupyter-book; its pages end in OUT/html. whole: every page, not only what changed. Raises DynrouteError with
    its warnings."""
    work = out / WORK
    jupyter_book = "from jupyter_book.cli.main import main; main()"
    command = [sys.executable, "-c", jupyter_book, "build", str(source), "--path-output", str(work)]
    command += ["-W", "-n", "--keep-going", "--quiet", "--builder", builder, *["--all"] * whole]
    path = os.pathsep.join(part for part in (str(ROOT), os.environ.get("PYTHONPATH", "")) if part)
    done = subprocess.run(
        command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": path, "PYTHONHASHSEED": "0"}
    )
    made = work / "_build" / builder
    if done.returncode:
        told = [plain(line) for line in done.stderr.splitlines() if line.strip()]
        raise DynrouteError("jupyter-book failed; what it warned of:\n" + "\n".join(told[-40:]))
    make_lean(made)
    target = out / (HTML if builder == "html" else "pdf")
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(made, target)
    return target
