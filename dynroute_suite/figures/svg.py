"""A small SVG writer: elements as text, numbers short, text escaped."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Literal

Value = str | float
Anchor = Literal["start", "middle", "end"]


# Widths of the letters that are far from the mean 0.61 em, in DejaVu Sans.
_EM = dict.fromkeys("fijlrt,.:;'|!()/ -", 0.35) | dict.fromkeys("mwMW", 0.92) | dict.fromkeys("ABCDGHKNOQRUVX", 0.72)


def number(value: float) -> str:
    """At most two decimals, none where they are zero: figures stay small and the same on every machine."""
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def element(name: str, attributes: Mapping[str, Value], content: str = "") -> str:
    """One element; attributes are escaped, `content` is SVG already."""
    words = "".join(
        f' {key}="{escape(value) if isinstance(value, str) else number(value)}"' for key, value in attributes.items()
    )
    return f"<{name}{words}>{content}</{name}>" if content else f"<{name}{words}/>"


def group(attributes: Mapping[str, Value], parts: list[str]) -> str:
    """Parts that share attributes; nothing where there are no parts."""
    return element("g", attributes, "\n".join(parts)) if parts else ""


def tooltip(text: str) -> str:
    """What a pointer shows over the element that holds it."""
    return f"<title>{escape(_printable(text))}</title>"


def _printable(content: str) -> str:
    """Control characters, which no XML can hold, as replacement characters."""
    return "".join(letter if letter.isprintable() else "�" for letter in content)


def text(x: float, y: float, content: str, *, size: float = 14, anchor: Anchor = "start", weight: str = "") -> str:
    """A line of text whose baseline begins, ends or is centred at (x, y)."""
    attributes: dict[str, Value] = {"x": x, "y": y, "font-size": size}
    if anchor != "start":
        attributes["text-anchor"] = anchor
    if weight:
        attributes["font-weight"] = weight
    return element("text", attributes, escape(_printable(content)))


def text_width(content: str, size: float) -> float:
    """About how wide a line gets in DejaVu Sans; other fonts of the stack are narrower."""
    return size * sum(_EM.get(letter, 0.61) for letter in content)


def shorten(content: str, width: float, size: float) -> str:
    """The text, its middle left out where it would be wider than `width`."""
    if text_width(content, size) <= width:
        return content
    most = max(int(width / (0.66 * size)), 5)
    head = (most - 1) // 2
    return f"{content[:head]}…{content[len(content) - (most - 1 - head) :]}"
