"""Image and annotation find each other by name; and where a folder is that was looked for in vain."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from dynroute_core.data.dataset import DataError
from dynroute_core.system.files import visible

PICTURES = (".png", ".jpg", ".jpeg")


def by_name(dataset: str, folder: Path, pattern: str, endings: tuple[str, ...]) -> dict[str, Path]:
    """The files that `pattern` names below `folder`, by what stands before the ending, in Unicode's composed form.

    endings: in small letters; capitals count as the same, since cameras and systems differ. Composed, since macOS
    takes names apart: a letter with its accent is two characters there. Raises `DataError` where two files share one
    name.
    """
    found: dict[str, Path] = {}
    for path in visible(folder, pattern):
        ending = next((one for one in endings if path.name.lower().endswith(one)), None)
        if ending is None:
            continue
        name = unicodedata.normalize("NFC", path.relative_to(folder).as_posix()[: -len(ending)])
        if name in found:
            raise DataError(f"{dataset}: {found[name]} and {path} share one name. Keep one of the two.")
        found[name] = path
    return found


@dataclass(frozen=True)
class Expected:
    """Where a partner is looked for, by its name, and what to do where it is not there."""

    place: Callable[[str], str]
    next_step: str


def require_partners(
    dataset: str, images: Mapping[str, Path], labels: Mapping[str, Path], *, image: Expected, label: Expected
) -> None:
    """Raises `DataError` where an image has no annotation, or an annotation no image; it names the first."""
    if bare := sorted(images.keys() - labels.keys()):
        raise DataError(
            f"{dataset}: {len(bare)} of {len(images)} images have no annotation, the first is {images[bare[0]]}: "
            f"expected {label.place(bare[0])}. {label.next_step}"
        )
    if stray := sorted(labels.keys() - images.keys()):
        raise DataError(
            f"{dataset}: {len(stray)} annotations have no image, the first is {labels[stray[0]]}: "
            f"expected {image.place(stray[0])}. {image.next_step}"
        )


def misplaced(root: Path, inner: str) -> str:
    """A sentence on where `inner`, not there below `root`, lies instead: a level deeper, or higher; "" for nowhere."""
    if found := [path for path in visible(root, f"*/{inner}") if path.is_dir()]:
        return f"There is {found[0]}, one level deeper: move it to {root / inner}."
    first, *rest = Path(inner).parts
    if root.name == first and root.joinpath(*rest).is_dir():
        return f"{root} is the {first} folder itself: give the folder that it lies in, {root.parent}."
    return ""
