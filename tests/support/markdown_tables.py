"""Markdown tables, taken apart again."""

from __future__ import annotations


def column(table: str, index: int) -> list[str]:
    """The cells of one column, without its head."""
    return [line.strip("|").split("|")[index].strip() for line in table.splitlines()[2:]]
