"""What one call of the command is to do."""

from __future__ import annotations

from support.commands import session_of
from support.handed_runs import SMOKE


def test_seeds_are_runs_of_their_own_and_a_common_network_follows_its_own_seed() -> None:
    words = ["--row", "common-a", "--row", "dynamic-a", "--seed", "2", "--seeds", "2", *SMOKE]
    session = session_of(*words)
    made = [(each.row, each.seed) for each in session.experiments]
    assert made == [("dynamic-a", 2), ("common-a", 2), ("dynamic-a", 3), ("common-a", 3)]
    assert [session.source(each) for each in session.experiments] == [
        source for first in (0, 2) for source in (None, session.experiments[first])
    ]
    assert session.name(session.experiments[3]) == "common-a seed 3"
