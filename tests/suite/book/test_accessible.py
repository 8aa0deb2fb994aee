"""The sidebar's toggles get names; everything else stays as it was."""

from __future__ import annotations

from dynroute_suite.book.accessible import named

TOGGLE = '<summary><span class="toctree-toggle" role="presentation"><i class="fa"></i></span></summary>'


def test_a_toggle_is_named_after_its_chapter() -> None:
    page = f'<li><a href="x.html">One <code>page</code>\n per "row"</a><details>{TOGGLE}<ul></ul></details></li>'
    wanted = TOGGLE.replace("<summary>", '<summary aria-label="Pages of One page per &quot;row&quot;">')
    assert named(page) == page.replace(TOGGLE, wanted)
    assert named(named(page)) == named(page)


def test_each_toggle_has_the_link_right_before_it() -> None:
    page = "".join(f'<a href="{k}.html">{k}</a> <details open>{TOGGLE}</details><a href="y">other</a>' for k in "ab")
    assert named(page).count('aria-label="Pages of a"') == named(page).count('aria-label="Pages of b"') == 1


def test_other_summaries_stay() -> None:
    page = '<a href="x">x</a><details><summary>Read more</summary></details>'
    assert named(page) == page
