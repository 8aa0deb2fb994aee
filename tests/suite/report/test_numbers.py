"""Numbers have one form."""

from __future__ import annotations

import pytest

from dynroute_suite.report.numbers import gmacs, macs_of, macs_text, signed, significant


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.01316, "0.0132"),
        (4.2, "4.20"),
        (9.994, "9.99"),
        (9.996, "10.0"),
        (119.49, "119.5"),
        (-3.2, "-3.20"),
    ],
)
def test_numbers_have_one_form(value: float, text: str) -> None:
    assert significant(value) == text
    assert gmacs(value * 1e9) == text


def test_units_and_signs() -> None:
    assert macs_text(4.2e9) == "4.20 GMACs"
    assert macs_text(13.2e6) == "13.2 MMACs"
    assert macs_of(0.5e9, 9.7e9) == "0.500 of 9.70 GMACs"
    assert [signed(value) for value in (0.44, -1.25, 0.01)] == ["+0.4", "−1.2", "±0.0"]
