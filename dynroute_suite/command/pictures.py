"""`--predict`: which pictures are meant, and where what becomes of them goes, whole or not at all."""

from __future__ import annotations

import os
import shutil
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dynroute_core.data.dataset import PHOTOGRAPH_ENDINGS
from dynroute_core.system.errors import BlockedError, UsageError
from dynroute_core.system.files import make_folder, sync_folder, visible
from dynroute_core.system.locks import locked
from dynroute_suite.command.options import RUNS, expanded

LABELS, OVERLAYS, ROUTES, TABLE = "labels", "overlays", "routes", "predictions.csv"
FOLDERS = (LABELS, OVERLAYS, ROUTES)
COLUMNS = ("file", "name", "height", "width", "shown_height", "shown_width", "macs", "milliseconds", "route")
BEGUN = ".predictions.tmp"  # in the output folder, while it is made
DEFAULT_OUT = Path("predictions")


@dataclass(frozen=True)
class Picture:
    """A picture to segment. shown: its path as it was given; name: of its output files, without their endings."""

    path: Path
    shown: str
    name: str


def find_pictures(given: Sequence[str]) -> list[Picture]:
    """The files that were given, and those of folders by name, each once. A folder's hidden files are no pictures, and
    those of folders in it are not meant.

    Raises BlockedError for what is not there, and for a folder without pictures.
    """
    paths: dict[Path, Path] = {}
    for path in (expanded(word) for word in given):
        if not os.path.exists(path):  # Path.exists raises where a folder above may not be entered
            raise BlockedError(f"--predict {path}: there is no such file or folder.")
        found = [path]
        if path.is_dir():
            found = [one for one in visible(path, "*") if one.suffix.lower() in PHOTOGRAPH_ENDINGS and not one.is_dir()]
            if not found:
                raise BlockedError(
                    f"--predict {path} holds no pictures ({', '.join(PHOTOGRAPH_ENDINGS)}). Name the folder that does, "
                    "not one above it."
                )
        for one in found:
            paths.setdefault(one.resolve(), one)
    names = _names(list(paths.values()))
    return [Picture(path, _as_text(path), name) for path, name in zip(paths.values(), names, strict=True)]


def _as_text(path: Path) -> str:
    """A path that can be written, also where its bytes are no text."""
    return str(path).encode(errors="backslashreplace").decode()


def _names(paths: Sequence[Path]) -> list[str]:
    """A name for each picture's output: its own without the ending, with a number where another has it already."""
    taken: set[str] = set()
    names = []
    for path in paths:
        stem = "".join(letter if letter.isprintable() else "_" for letter in path.stem)
        name, number = stem, 2
        while name.casefold() in taken:  # some file systems know no difference between a and A
            name, number = f"{stem}-{number}", number + 1
        taken.add(name.casefold())
        names.append(name)
    return names


def out_folder(arguments: Namespace) -> Path:
    """Where predictions go. Raises UsageError where there are some, or anything else by their names."""
    folder = DEFAULT_OUT if arguments.out == RUNS else expanded(arguments.out)
    there = [name for name in (*FOLDERS, TABLE) if os.path.lexists(folder / name)]
    ours = _is_ours(folder / TABLE)
    if ours and not arguments.force:
        raise UsageError(f"{folder} holds predictions already. Give another --out folder, or --force to replace them.")
    begun = (folder / BEGUN).exists()  # and killed while it published: what is there is ours
    if there and not (ours or begun):
        raise UsageError(f"{folder} holds {there[0]} of something else. Give another --out folder.")
    return folder.resolve()


def _is_ours(table: Path) -> bool:
    """Whether a table is one of predictions: a file of that name may be anybody's."""
    if not table.is_file():
        return False
    with table.open("rb") as file:
        return file.readline(1000).startswith(",".join(COLUMNS).encode())


@contextmanager
def appearing(folder: Path) -> Iterator[Path]:
    """A folder to write `FOLDERS` and `TABLE` into, which go to their place when the block ends well and has written
    the table; else nothing is left.

    What is in that place is replaced. Raises BlockedError where the folder cannot be written, or another process writes
    to it.
    """
    step = "Choose another --out folder."
    made = [one for one in (folder, *folder.parents) if not one.exists()]
    make_folder(folder, step)
    begun = folder / BEGUN
    try:
        make_folder(begun, step)
        with locked(begun):
            try:
                for name in FOLDERS:
                    shutil.rmtree(begun / name, ignore_errors=True)  # left by a process that was killed
                    make_folder(begun / name, step)
                yield begun
                if (begun / TABLE).exists():
                    _publish(begun, folder)
            finally:
                shutil.rmtree(begun, ignore_errors=True)
    finally:
        for one in made:
            if one.is_dir() and not any(one.iterdir()):
                one.rmdir()


def _publish(begun: Path, folder: Path) -> None:
    """Puts what was begun in its place, the table last: a folder without it holds nothing whole."""
    try:
        for name in FOLDERS:
            sync_folder(begun / name)
        (folder / TABLE).unlink(missing_ok=True)
        for name in FOLDERS:
            if (folder / name).exists():
                os.rename(folder / name, begun / f"old-{name}")
            os.rename(begun / name, folder / name)
        os.rename(begun / TABLE, folder / TABLE)
    except OSError as error:
        raise BlockedError(f"cannot write {folder}: {error.strerror or error}. Choose another --out folder.") from error
    sync_folder(folder)
