"""Links to definitions: the lines they have now; what is gone is named."""

from __future__ import annotations

import pytest

from dynroute_core.system.errors import UsageError
from dynroute_suite.book import code


def test_a_link_names_the_lines_of_the_definition() -> None:
    place = code.find("cell:Gate.forward")
    lines = code.source_path("cell").read_text().splitlines()
    assert lines[place.first - 1].strip().startswith("def forward(self, x: Tensor)")
    assert "return torch.tanh" in lines[place.last - 1]
    assert place.address == "/source/cell.md#gate"
    decorated = code.find("cost:CostTable")
    assert code.source_path("cost").read_text().splitlines()[decorated.first - 1].startswith("@dataclass")


@pytest.mark.parametrize(
    ("symbol", "said"),
    [("cell:Gates", "Did you mean 'Gate'"), ("cells:Gate", "no cells.py in dynroute_core or dynroute_suite")],
)
def test_a_symbol_that_is_gone_is_named(symbol: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        code.find(symbol)
