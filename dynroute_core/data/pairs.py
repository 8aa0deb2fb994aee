"""Image and annotation find each other by name; and where a folder is that was looked for in vain."""

from __future__ import annotations

import unicodedata
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


def misplaced(root: Path, inner: str) -> str:
    """A sentence on where `inner`, not there below `root`, lies instead: a level deeper, or higher; "" for nowhere."""
    if found := [path for path in visible(root, f"*/{inner}") if path.is_dir()]:
        return f"There is {found[0]}, one level deeper: move it to {root / inner}."
    first, *rest = Path(inner).parts
    if root.name == first and root.joinpath(*rest).is_dir():
        return f"{root} is the {first} folder itself: give the folder that it lies in, {root.parent}."
    return ""
