"""Takes from built pages what no reader loads, and keeps each photograph once: pages name it in place of holding it."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import shutil
from pathlib import Path

PICTURES = "_images"
_HELD = re.compile(r'"data:image/(jpeg|png|webp);base64,([A-Za-z0-9+/=]{2000,})"')  # smaller ones cost a page less
# Of the theme: sources of its scripts and styles, what it was translated with, fonts that browsers of today have as
# woff2, and the signs of companies, which no page shows.
_UNREAD = ("*.map", "*.ttf", "fa-brands-*.woff2")
_UNREAD_FOLDERS = ("_static/locales",)


def make_lean(pages: Path) -> None:
    """Shrinks a folder of built pages in place; they look as before."""
    for pattern in _UNREAD:
        for path in pages.rglob(pattern):
            path.unlink()
    for folder in _UNREAD_FOLDERS:
        shutil.rmtree(pages / folder, ignore_errors=True)
    for path in pages.rglob("*.html"):
        _let_go(path, pages)


def _let_go(path: Path, pages: Path) -> None:
    """Puts the pictures that a page holds into files."""
    page = path.read_text(encoding="utf-8")
    changed = _HELD.sub(lambda found: f'"{_kept(found, pages, path.parent)}"', page)
    if changed != page:
        path.write_text(changed, encoding="utf-8")


def _kept(found: re.Match[str], pages: Path, home: Path) -> str:
    """Writes a picture that a page holds to a file named by its content; gives its address from the page."""
    content = base64.b64decode(found[2])
    target = pages / PICTURES / f"{hashlib.sha256(content).hexdigest()[:16]}.{found[1]}"
    target.parent.mkdir(exist_ok=True)
    target.write_bytes(content)
    return Path(os.path.relpath(target, home)).as_posix()
