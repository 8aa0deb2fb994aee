"""Formulas become MathML, or say that they are none."""

from __future__ import annotations

import pytest
from sphinx.errors import ExtensionError

from dynroute_suite.book.mathml import mathml


def test_a_formula_is_mathml_with_its_latex_as_alternative() -> None:
    made = mathml(r"a < \frac{1}{2}", block=True)
    assert made.startswith('<math alttext="a &lt; \\frac{1}{2}"')
    assert 'display="block"' in made
    assert "<mfrac>" in made


@pytest.mark.parametrize("latex", [r"\nosuch{x}", r"\left( a", r"\frac"])
def test_a_formula_that_is_none_is_named(latex: str) -> None:
    with pytest.raises(ExtensionError, match="cannot write"):
        mathml(latex, block=False)
