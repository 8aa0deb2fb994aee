"""The command: `python -m dynroute_suite.book [build|serve|pdf] [options]`; `--help` names them."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from dynroute_core.system.errors import EXIT_DONE, DynrouteError
from dynroute_suite.book.build import DEFAULT_OUT, HTML, build, build_again
from dynroute_suite.report.results import ROOT


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="python -m dynroute_suite.book", description="Builds the book.")
    made.add_argument("what", nargs="?", default="build", choices=("build", "serve", "pdf"))
    made.add_argument("--results", type=Path, default=ROOT / "results", help="default: the committed results")
    made.add_argument("--out", type=Path, default=DEFAULT_OUT, help="default: book/_build")
    made.add_argument("--draft", action="store_true", help="pages that no table of contents lists go to the end")
    made.add_argument("--again", action="store_true", help="after a build, when only the text of pages changed")
    made.add_argument("--port", type=int, default=8000, help="of serve, default 8000")
    return made


def main(words: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    chosen = parser().parse_args(words)
    try:
        if chosen.what == "serve":
            from dynroute_suite.book.serve import serve

            serve(chosen.out / HTML, port=chosen.port)
            return EXIT_DONE
        began = time.monotonic()
        if chosen.again:
            pages = build_again(results=chosen.results, out=chosen.out)
        else:
            pages = build(results=chosen.results, out=chosen.out, draft=chosen.draft)
        size = sum(path.stat().st_size for path in pages.rglob("*") if path.is_file()) / 2**20
        print(f"{pages / 'index.html'}: {size:.1f} MB in {time.monotonic() - began:.0f} s")
        if chosen.what == "pdf":
            from dynroute_suite.book.pdf import write_pdf

            print(write_pdf(chosen.out))
    except DynrouteError as error:
        print(f"book: {error}", file=sys.stderr)
        return error.exit_code
    return EXIT_DONE


if __name__ == "__main__":
    sys.exit(main())
