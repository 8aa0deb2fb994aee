"""What built pages lose: files that nobody loads, and pictures held twice."""

from __future__ import annotations

import base64
from pathlib import Path

from dynroute_suite.book.lean import make_lean

PHOTOGRAPH = bytes(range(256)) * 8


def test_a_picture_on_two_pages_is_one_file(tmp_path: Path) -> None:
    held = f'<image href="data:image/jpeg;base64,{base64.b64encode(PHOTOGRAPH).decode()}"/>'
    (tmp_path / "rows").mkdir()
    for name in ("index.html", "rows/a.html"):
        (tmp_path / name).write_text(held)
    make_lean(tmp_path)
    (picture,) = (tmp_path / "_images").iterdir()
    assert picture.read_bytes() == PHOTOGRAPH
    assert (tmp_path / "index.html").read_text() == f'<image href="_images/{picture.name}"/>'
    assert (tmp_path / "rows" / "a.html").read_text() == f'<image href="../_images/{picture.name}"/>'


def test_a_small_picture_stays_where_it_is(tmp_path: Path) -> None:
    held = '<img src="data:image/png;base64,AAAA">'
    (tmp_path / "index.html").write_text(held)
    make_lean(tmp_path)
    assert (tmp_path / "index.html").read_text() == held


def test_what_no_browser_loads_is_left_out(tmp_path: Path) -> None:
    kept, left_out = ("a.js", "fa-solid-900.woff2"), ("a.js.map", "fa-solid-900.ttf", "fa-brands-400.woff2")
    for name in (*kept, *left_out):
        (tmp_path / name).touch()
    make_lean(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept)
