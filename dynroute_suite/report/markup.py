"""MyST Markdown written by code: code blocks, links, tables. What comes from data goes through `escape_markdown`."""

from __future__ import annotations

from dynroute_suite.report.tables import escape_markdown


def block(text: str, language: str = "text") -> str:
    """Text as it stands, in a fence that it cannot close."""
    ticks = longest = 0
    for letter in text:
        ticks = ticks + 1 if letter == "`" else 0
        longest = max(longest, ticks)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def link(text: str, address: str) -> str:
    """A link whose text comes from data."""
    return f"[{escape_markdown(text)}]({address})"


def table(header: list[str], lines: list[list[str]], *, right: int) -> str:
    """A table of cells that are Markdown already; columns from `right` on hold numbers."""
    rule = ["---:" if column >= right else ":---" for column in range(len(header))]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [header, rule, *lines])
