"""A claim's picture says every number of its checks, and which of them failed."""

from __future__ import annotations

import pytest

from dynroute_suite.figures.verdicts import Asked, verdict_figure
from dynroute_suite.report.claims import Check, Mark
from support.pictures import NASTY, words

HELD = Check("what", "measured", True, (Mark(NASTY, 1.0, 0.5, 1.5), Mark("second", 2.0, 2.0, 2.0)))
FAILED = Check("what", "measured", False, (Mark("third", -1.0, -2.0, 0.5),))
ASKED = Asked("points", (0.0,))


def test_every_number_is_said_with_its_interval() -> None:
    shown = verdict_figure([HELD, FAILED], ASKED)
    assert f"{NASTY} +1.0 [+0.5, +1.5]; second +2.0; third −1.0 [−2.0, +0.5], not held." in shown.alt
    assert NASTY in words(shown)


def test_a_claim_without_numbers_has_no_picture() -> None:
    with pytest.raises(ValueError, match="no check has a number"):
        verdict_figure([Check("what", "open", None)], ASKED)
