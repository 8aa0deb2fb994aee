"""Matplotlib's SVG in fewer bytes, drawn the same: numbers short, without groups and words that say nothing."""

from __future__ import annotations

import re

from dynroute_suite.figures.svg import number

_TAG = re.compile(r"<[^>]*>")
_LONG = re.compile(r"-?\d+\.\d{3,}")
_TAG_OF_GROUP = re.compile(r"(<g>|<g [^>]*[^/]>|</g>)")
_EMPTY_TURN = re.compile(r' transform="rotate\(-?0 [^)]*\)"')
_STYLE = re.compile(r' style="([^"]*)"')
_UNSEEN = re.compile(r'<path [^>]*style="fill:none"/>\n?|<defs>\s*</defs>\n?')
_COMMAND = re.compile(r"([A-Za-z])([^A-Za-z]*)")
_COURSE = re.compile(r' d="([^"]*)"')


def minified(svg: str) -> str:
    """The same picture; no coordinate moves by more than a hundredth of a unit. Text stays as it is."""
    svg = _UNSEEN.sub("", _TAG.sub(_short_tag, svg))
    return re.sub(r"(?<=>)\s*\n\s*(?=<)", "\n", _without_bare_groups(svg))


def _short_tag(found: re.Match[str]) -> str:
    tag = _LONG.sub(lambda digits: number(float(digits[0])), found[0])
    return _COURSE.sub(_short_course, _STYLE.sub(_short_style, _EMPTY_TURN.sub("", tag)))


def _short_course(found: re.Match[str]) -> str:
    """A path's course without spaces around its letters, and without those that the one before stands for."""
    course, before = "", ""
    for letter, numbers in _COMMAND.findall(found[1]):
        course += " " if letter == "L" and before in ("M", "L") else letter
        course += " ".join(numbers.split())
        before = letter
    return f' d="{course}"'


def _short_style(found: re.Match[str]) -> str:
    """A style without what is inherited anyway, and without spaces that separate nothing."""
    said = [" ".join(one.split()).replace(": ", ":") for one in found[1].split(";")]
    kept = [one for one in said if one and one != "font-family:inherit"]
    return f' style="{";".join(kept)}"' if kept else ""


def _without_bare_groups(svg: str) -> str:
    """Without `<g>` that carries no attribute: it groups nothing that anybody asks for."""
    parts: list[str] = []
    bare: list[bool] = []
    for piece in _TAG_OF_GROUP.split(svg):
        if piece == "</g>":
            parts.append("" if bare.pop() else piece)
        elif piece.startswith("<g"):
            bare.append(piece == "<g>")
            parts.append("" if bare[-1] else piece)
        else:
            parts.append(piece)
    return "".join(parts)
