"""What a reader cites: CITATION.cff and the BibTeX entries tell the same facts, and the version is the package's."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

yaml = pytest.importorskip("yaml", reason="PyYAML, which reads CITATION.cff, is not installed")
bibtex = pytest.importorskip("pybtex.database", reason="pybtex, which reads BibTeX, is not installed")

ROOT = Path(__file__).resolve().parents[1]
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text())
ENTRIES = bibtex.parse_file(str(ROOT / "book" / "references.bib")).entries
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_version_and_licence_are_the_packages() -> None:
    assert CITATION["version"] == PROJECT["version"]
    assert CITATION["license"] == PROJECT["license"]
    assert ENTRIES["dynroute"].fields["note"] == f"Software, version {PROJECT['version']}"


def test_the_software_has_one_title_and_one_author() -> None:
    assert ENTRIES["dynroute"].fields["title"] == CITATION["title"]
    assert [str(person) for person in ENTRIES["dynroute"].persons["author"]] == [
        f"{{{author['name']}}}" for author in CITATION["authors"]
    ]


def test_the_paper_is_the_same_in_both() -> None:
    (paper,) = CITATION["references"]
    entry = ENTRIES["li2020dynamic"]
    assert entry.fields["title"] == paper["title"]
    assert entry.fields["booktitle"] == paper["collection-title"]
    assert entry.fields["year"] == str(paper["year"])
    authors = [f"{author['family-names']}, {author['given-names']}" for author in paper["authors"]]
    assert [str(person) for person in entry.persons["author"]] == authors
