"""Terms of the glossary: a page links a term where it first uses it, and only there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

BOOK = Path(__file__).parents[3] / "book"
GLOSSARY = BOOK / "reference" / "glossary.md"
CHAPTERS = sorted(path for path in BOOK.glob("*/*.md") if not path.parent.name.startswith("_"))
PAGES = [BOOK / "index.md", *(path for path in CHAPTERS if path != GLOSSARY)]
TERMS = re.findall(r"^(\S+)\n  \S", GLOSSARY.read_text(), flags=re.MULTILINE)
LINK = re.compile(r"\{term\}`(?:([^`<]+?) <(\w+)>|(\w+))`")
# The other terms are everyday words as well (open a file, a row of a table): where they mean the term, a writer says.
ALWAYS = ("accounting", "budget", "gate", "GFLOPs", "mIoU", "profile", "route")


def prose(page: Path) -> str:
    """What a page says in sentences: no headings, code, fences, tables, formulas, or words of other links."""
    text = re.sub(r"^(`{3,}|:{3,}).*?^\1$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"^\$\$.*?^\$\$", "", text, flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"^(#|\|).*$|<p\b[^§]*?</p>", "", text, flags=re.MULTILINE)
    text = re.sub(r"\[[^\]]*\]\([^)]*\)|\*\*[^*]*\*\*", "", text)
    return re.sub(r"(\{\w+\})?`[^`]*`", lambda found: found[0] if found[1] == "{term}" else "", text)


def linked(text: str) -> list[str]:
    return [target or word for _, target, word in LINK.findall(text)]


def used_before_its_link(text: str, term: str) -> bool:
    """Whether a term stands in the text before, or without, its link."""
    place = next((found.start() for found in LINK.finditer(text) if (found[2] or found[3]) == term), len(text))
    return re.search(rf"\b{term}s?\b", text[:place]) is not None


def test_the_glossary_is_read() -> None:
    assert len(TERMS) == GLOSSARY.read_text().count("\n  ")
    assert set(ALWAYS) < set(TERMS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(BOOK).as_posix())
def test_a_page_links_terms_at_their_first_use(page: Path) -> None:
    text = prose(page)
    links = linked(text)
    assert set(links) <= set(TERMS)
    assert sorted(links) == sorted(set(links)), "a term is linked once"
    assert [term for term in ALWAYS if used_before_its_link(text, term)] == []


def test_a_term_without_its_link_is_seen() -> None:
    assert used_before_its_link("A gate, then a {term}`gate`.", "gate")
    assert used_before_its_link("Two gates.", "gate")
    assert not used_before_its_link("A {term}`gate`, then {term}`routes <route>` and gates.", "gate")
    assert linked("A {term}`gate` and {term}`routes <route>`.") == ["gate", "route"]


def test_every_term_is_linked_from_somewhere() -> None:
    assert {term for page in PAGES for term in linked(page.read_text())} == set(TERMS)
