"""Markdown written by code."""

from __future__ import annotations

from dynroute_suite.report import markup


def test_no_text_closes_its_own_fence() -> None:
    assert markup.block("a ```` b").startswith("`````text\n")
    assert markup.block("a") == "```text\na\n```"
