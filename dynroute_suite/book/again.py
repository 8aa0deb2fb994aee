"""Whether only the text of pages changed since the last build, and that text put where jupyter-book reads it.

A build leaves a stamp of everything that generated parts are made of: sources, records, the repository's texts, and the
names of the pages. While the stamp holds, they are as a new build would make them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from dynroute_core.system.errors import UsageError
from dynroute_core.system.files import visible
from dynroute_suite.report.results import ROOT

STAMP = "stamp.txt"
PROSE = (".md", ".css", ".bib")
_SOURCES = ("dynroute_core/**/*.py", "dynroute_suite/**/*.py", "notebooks/*.ipynb", "*.md", "kernels/*.md", "*.py")
_GENERATED = "_generated"


def write_stamp(out: Path, book: Path, results: Path) -> None:
    """Notes what the build in OUT was made of."""
    (out / STAMP).write_text(_stamp(book, results), encoding="utf-8")


def require_only_prose_changed(out: Path, book: Path, results: Path) -> None:
    """Raises UsageError where OUT holds no build, or one of other sources, records or pages."""
    stamp = out / STAMP
    if not stamp.is_file():
        raise UsageError(f"{out} holds no finished build: build once without --again.")
    if stamp.read_text(encoding="utf-8") != _stamp(book, results):
        raise UsageError(
            "more than the text of pages changed since the last build (sources, records, or which pages there are): "
            "build without --again."
        )


def renew_prose(book: Path, source: Path) -> list[str]:
    """Copies the pages' texts that differ; gives their names."""
    changed = []
    for path in _prose(book):
        there, text = source / path.relative_to(book), path.read_bytes()
        if there.read_bytes() != text:
            there.write_bytes(text)
            changed.append(path.relative_to(book).as_posix())
    return changed


def _prose(book: Path) -> Iterator[Path]:
    for path in visible(book, "**/*"):
        if path.suffix in PROSE and _of_book(path, book):
            yield path


def _stamp(book: Path, results: Path) -> str:
    """A hash of everything that a build is made of, of the pages' texts only their names."""
    inputs = [(ROOT, path) for pattern in _SOURCES for path in visible(ROOT, pattern)]
    inputs += [(results, path) for path in visible(results, "**/*") if path.is_file()]
    inputs += [(book, path) for path in visible(book, "**/*") if path.is_file() and _of_book(path, book)]
    prose = set(_prose(book))
    digest = hashlib.sha256()
    for base, path in inputs:
        content = b"" if path in prose else path.read_bytes()
        digest.update(f"{path.relative_to(base)}\n".encode() + hashlib.sha256(content).digest())
    return digest.hexdigest()


def _of_book(path: Path, book: Path) -> bool:
    """Whether a file is written by hand, not by a build."""
    return path.relative_to(book).parts[0] not in ("_build", _GENERATED)
