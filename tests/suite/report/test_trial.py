"""The claims on near and far streets: each can say yes, not here, and nothing; one seed never decides."""

from __future__ import annotations

from pathlib import Path

import pytest

from dynroute_suite.book.pages.results import mixed_verdicts, verdicts
from dynroute_suite.report.results import Results
from dynroute_suite.report.trial import Line, Trial, trials
from support.trial_runs import write_trial_run

SEEDS = (0, 1, 2)
COSTS = {"dynamic-a": 2e6, "dynamic-c": 3e6, "dynamic-raw": 9e6, "static-unet": 2.1e6, "common-a": 2e6, "common-c": 3e6}
HITS = {"dynamic-a": 12, "dynamic-c": 13, "dynamic-raw": 15, "static-unet": 9, "common-a": 10, "common-c": 11}


def write_all(folder: Path, *, seeds: tuple[int, ...] = SEEDS, without: tuple[str, ...] = ()) -> None:
    """Runs in which all four claims hold, but for rows left out."""
    for row in sorted(set(COSTS) - set(without)):
        for seed in seeds:
            write_trial_run(folder, row, seed=seed, cost=COSTS[row], hits=HITS[row] + seed % 2)


def judged(folder: Path) -> Trial:
    (trial,) = trials(Results(folder).committed)
    return trial


def answers(folder: Path) -> list[str]:
    return [claim.answer for claim in judged(folder).judged()]


def line(folder: Path, what: str) -> Line:
    found = [line for claim in judged(folder).judged() for line in claim.lines]
    (only,) = [line for line in found if line.what.startswith(what)]
    return only


def test_all_four_can_say_yes(tmp_path: Path) -> None:
    write_all(tmp_path)
    assert answers(tmp_path) == ["yes"] * 4
    said = mixed_verdicts(Results(tmp_path))
    assert said.startswith("1. **Cost follows the budget: yes**.\n2. **Better than")
    assert said.index("4. **Cost tells near from far: yes**.") < said.index(":::{dropdown}")


@pytest.mark.parametrize(("seeds", "said"), [((0,), "one seed is no evidence"), ((0, 1), "2 seeds are no evidence")])
def test_fewer_than_three_seeds_are_no_evidence(tmp_path: Path, seeds: tuple[int, ...], said: str) -> None:
    write_all(tmp_path, seeds=seeds)
    assert answers(tmp_path) == ["no answer"] * 4
    text = mixed_verdicts(Results(tmp_path))
    assert text.count(f": no answer** ({said}).") == 4
    assert "1.00 (0.0" in text  # what was measured is told all the same


def test_without_runs_there_is_no_verdict(tmp_path: Path) -> None:
    assert trials([]) == []
    assert mixed_verdicts(Results(tmp_path)) == "No run is committed yet, so there is no verdict."


def test_without_dynamic_c_there_is_no_answer(tmp_path: Path) -> None:
    write_all(tmp_path, without=("dynamic-c", "common-c"))
    assert answers(tmp_path) == ["no answer"] * 4
    assert line(tmp_path, "dynamic-c against").why == "no run"


def test_one_seed_of_costs_out_of_order_decides(tmp_path: Path) -> None:
    write_all(tmp_path, without=("dynamic-raw",))
    for seed in SEEDS:
        write_trial_run(tmp_path, "dynamic-raw", seed=seed, cost=2.9e6 if seed == 1 else 9e6)
    assert answers(tmp_path)[0] == "not here"
    assert "**Cost follows the budget: not here** (mean cost of" in mixed_verdicts(Results(tmp_path))


@pytest.mark.parametrize(("reached", "answer"), [(0.94, "not here"), (0.96, "yes"), (1.04, "yes"), (1.06, "not here")])
def test_a_budget_is_reached_within_five_percent(tmp_path: Path, reached: float, answer: str) -> None:
    for seed in SEEDS:
        write_trial_run(tmp_path, "dynamic-a", seed=seed, reached=reached if seed == 2 else 1.0)
    assert line(tmp_path, "dynamic-a: expected cost").answer == answer


def test_the_best_static_route_of_its_cost_is_the_rival(tmp_path: Path) -> None:
    for seed in SEEDS:
        write_trial_run(tmp_path, "dynamic-a", seed=seed, cost=1e6, hits=12)
        write_trial_run(tmp_path, "static-fcn32s", seed=seed, cost=1.0e6, hits=9)
        write_trial_run(tmp_path, "static-unet", seed=seed, cost=1.09e6, hits=11)
        write_trial_run(tmp_path, "static-hrnetv2", seed=seed, cost=1.11e6, hits=19)
    write_trial_run(tmp_path, "static-deeplabv3", cost=1.0e6, hits=12)  # better in its one seed
    assert line(tmp_path, "dynamic-a against static").what == "dynamic-a against static-unet"


@pytest.mark.parametrize(
    ("leads", "answer"),
    [
        ((2, 2, 3), "yes"),  # points: +10, +10, +15
        ((0, 0, 0), "equal"),
        ((-2, -2, -3), "not here"),
        ((4, -1, 2), "not here"),  # ahead in the mean, and seeds disagree
    ],
)
def test_a_rival_is_beaten_equalled_or_not(tmp_path: Path, leads: tuple[int, ...], answer: str) -> None:
    for seed, ahead in enumerate(leads):
        write_trial_run(tmp_path, "dynamic-a", seed=seed, hits=10 + ahead)
        write_trial_run(tmp_path, "common-a", seed=seed, hits=10)
    assert line(tmp_path, "dynamic-a against common-a").answer == answer


def test_a_dearer_common_network_cannot_win(tmp_path: Path) -> None:
    for seed in SEEDS:
        write_trial_run(tmp_path, "dynamic-a", seed=seed, hits=10)
        write_trial_run(tmp_path, "common-a", seed=seed, cost=1.2e6, hits=13)
    found = line(tmp_path, "dynamic-a against common-a")
    assert (found.answer, found.why) == ("no answer", "the rival costs more")


def test_shared_routes_and_costs_that_do_not_differ_tell_nothing(tmp_path: Path) -> None:
    write_all(tmp_path, without=("dynamic-a",))
    for seed in SEEDS:
        write_trial_run(tmp_path, "dynamic-a", seed=seed, cost=2e6, hits=12, own_ways=False, far_costs=0.997)
    assert answers(tmp_path)[2:] == ["not here", "not here"]


def test_cheaper_far_scenes_are_an_answer_where_all_seeds_agree(tmp_path: Path) -> None:
    for seed in SEEDS:
        write_trial_run(tmp_path, "dynamic-a", seed=seed, far_costs=0.5)
        write_trial_run(tmp_path, "dynamic-c", seed=seed, far_costs=0.5 if seed else 1.5)
    *_, costs = judged(tmp_path).judged()
    assert {line.what: line.answer for line in costs.lines} == {"dynamic-a": "yes", "dynamic-c": "not here"}


def test_rows_without_a_budget_are_told_and_decide_nothing(tmp_path: Path) -> None:
    write_all(tmp_path, without=("dynamic-raw",))
    for seed in SEEDS:
        write_trial_run(tmp_path, "dynamic-raw", seed=seed, cost=9e6, hits=9, own_ways=False, far_costs=1.001)
        write_trial_run(tmp_path, "network-fix", seed=seed, cost=9e6, hits=11, far_costs=1.0)
    assert answers(tmp_path) == ["yes"] * 4
    assert line(tmp_path, "dynamic-raw against network-fix").answer == "not here"


def test_runs_of_another_recipe_or_length_do_not_mix(tmp_path: Path) -> None:
    write_all(tmp_path)
    write_trial_run(tmp_path, "dynamic-a", seed=3, recipe="published", reached=2)
    assert answers(tmp_path)[0] == "yes"
    write_trial_run(tmp_path, "dynamic-a", seed=3, iterations=900, reached=2)
    assert [trial.iterations for trial in trials(Results(tmp_path).committed)] == [600, 900]
    assert "### 900 iterations, 200 training images" in mixed_verdicts(Results(tmp_path))


def test_the_earlier_verdicts_are_on_camvid_by_the_published_recipe(tmp_path: Path) -> None:
    nothing = verdicts(Results(tmp_path))
    write_all(tmp_path)
    write_trial_run(tmp_path, "static-unet", data="camvid")
    write_trial_run(tmp_path, "dynamic-a", data="camvid")
    assert verdicts(Results(tmp_path)) == nothing
    write_trial_run(tmp_path, "dynamic-a", data="camvid", recipe="published")
    assert verdicts(Results(tmp_path)) != nothing
    assert len(trials(Results(tmp_path).committed)) == 1
