"""Every setting of a run is found, with the comment at its field, and has one."""

from __future__ import annotations

from dataclasses import dataclass

from dynroute_core.experiments import Experiment, experiment
from dynroute_core.settings import FIXED, setting_names
from dynroute_suite.book.pages.reference import settings
from dynroute_suite.book.settings import Setting, field_comments, settings_of


@dataclass(frozen=True)
class Sample:
    """No field: a docstring. none: not explained here."""

    above: int  # above and
    # first line,
    # second line
    both: tuple[int, ...] = (  # and the beginning,
        1,  # the middle
    )
    #: with a colon
    sign: str = "# no comment"
    none: int = 0

    # of the next block, not of a field

    # at a field again
    last: float = 0.5  # a share

    def method(self) -> int:  # of no field
        return self.none


def test_comments_above_and_beside_are_one_text() -> None:
    assert field_comments(Sample) == {
        "above": "above and",
        "both": "first line, second line and the beginning, the middle",
        "sign": "with a colon",
        "none": "",
        "last": "at a field again a share",
    }


SETTINGS: list[Setting] = [one for part in settings_of(Experiment).values() for one in part]


def test_they_are_those_that_the_command_line_takes() -> None:
    """Of a row with a budget; what is absent from it (weights, a forced route, a common network) has its parts too."""
    taken = {name for name in setting_names(experiment("dynamic-a")) if name != "train.budget"}
    found = {one.name for one in SETTINGS}
    absent = {name for name in found if name.startswith(("weights.", "evaluate.route.", "common."))}
    assert found - absent - set(FIXED) == taken - {"weights", "evaluate.route", "common"}


def test_the_page_has_each_with_its_default() -> None:
    shown = settings()
    assert not [one.name for one in SETTINGS if f"| `{one.name}` |" not in shown]
    assert "| `train.momentum` | `float` | `0.9` |" in shown
    assert "| `train.budget.weight` | `float` | – |" in shown


def test_every_setting_is_explained_at_its_field() -> None:
    assert [one.name for one in SETTINGS if not one.words] == []
