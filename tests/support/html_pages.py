"""What the book's tests read from built pages: tables, attributes, visible text. The standard library's parser."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

SILENT = ("script", "style")


@dataclass
class Cell:
    """A cell of a table: its text, and where its links lead."""

    text: str = ""
    links: list[str] = field(default_factory=list)


Table = list[list[Cell]]


@dataclass
class Page(HTMLParser):
    """A page read whole. tags: every element with its attributes, in order."""

    path: Path
    tables: list[Table] = field(default_factory=list)
    tags: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)
    text: str = ""

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.silent = 0
        self.cell: Cell | None = None
        self.feed(self.path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        found = dict(attributes)
        self.tags.append((tag, found))
        self.silent += tag in SILENT
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.cell = Cell()
            self.tables[-1][-1].append(self.cell)
        elif tag == "a" and self.cell is not None:
            self.cell.links.append(found.get("href") or "")

    def handle_endtag(self, tag: str) -> None:
        self.silent -= tag in SILENT
        if tag in ("td", "th"):
            self.cell = None

    def handle_data(self, data: str) -> None:
        if self.silent:
            return
        self.text += data
        if self.cell is not None:
            self.cell.text += data.strip("\n")

    def table(self, corner: str) -> Table:
        """The table whose first header cell says `corner`."""
        (found,) = [table for table in self.tables if table[0][0].text == corner]
        return found
