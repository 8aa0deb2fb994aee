"""The claims are judged by their rules: each can hold, fail, and stay open for want of runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from dynroute_core.experiments import experiment
from dynroute_core.runs.record import RECORD, ROUTES, CostRange, read_routes, write_record
from dynroute_core.space import OPEN_THRESHOLD, ModelConfig
from dynroute_core.system.strict_json import to_json
from dynroute_suite.report.claims import Check, Claim, claims, common_checks
from dynroute_suite.report.flow import open_names
from dynroute_suite.report.results import Results
from support.sample_records import plain_settings, sample_record, sample_routes

IMAGES = 12
GATED = ModelConfig(layers=4, channels=4, gate="small")
FIXED = ModelConfig(layers=4, channels=4, gate="none")


def write(
    folder: Path, row: str, *, seed: int = 0, cost: float = 1e6, hits: int = 10, reached: float = 1.0, sign: int = 1
) -> None:
    """A run of which every image has `hits` right pixels of 20 in each class; its cost is about `cost` (MACs), a little
    more (sign 1) or less (−1) for images with more of the small class; it reached `reached` times its target."""
    config = GATED if row.startswith("dynamic") else FIXED
    base, routes = sample_record(config, images=IMAGES), sample_routes(config, row=row, images=IMAGES)
    own = experiment(row, data="camvid", seed=seed)
    budget, denominator = own.train.budget, own.train.budget_macs or 1.0
    costs = [cost * (1 + 0.01 * sign * k) for k in range(IMAGES)]
    images = [replace(image, paper_macs=macs) for image, macs in zip(base.images, costs, strict=True)]
    big = len(base.data.class_names) - 1
    seen = [
        replace(
            route,
            true_positive=(1 + k, *(100 * hits,) * big),
            false_positive=(0, *(100 * (20 - hits),) * big),
            false_negative=(0,) * (big + 1),
        )
        for k, route in enumerate(routes.images)
    ]
    record = replace(
        base,
        row=row,
        seed=seed,
        config=plain_settings(replace(own, model=config)),
        data=replace(base.data, name="camvid"),
        costs=replace(
            base.costs,
            paper=CostRange(
                mean_macs=sum(costs) / IMAGES,
                min_macs=min(costs),
                max_macs=max(costs),
                all_closed_macs=0,
                all_open_macs=10**9,
            ),
        ),
        images=tuple(images),
        metrics=replace(base.metrics, miou_percent=5.0 * hits),
        training=replace(
            base.training, final_expected_macs=reached * denominator * budget.target if budget else denominator
        ),
    )
    place = folder / row / f"demo-camvid-seed{seed}"
    place.mkdir(parents=True)
    (place / ROUTES).write_bytes(to_json(replace(routes, images=tuple(seen))))
    write_record(place / RECORD, record)


def judged(folder: Path) -> tuple[Claim, ...]:
    return claims(Results(folder).committed)


def held(claim: Claim) -> dict[str, bool | None]:
    return {check.what: check.held for check in claim.checks}


def write_all(folder: Path) -> None:
    """Runs in which all three claims hold."""
    for seed in (0, 1):
        write(folder, "dynamic-a", seed=seed, cost=2e6, hits=10)
        write(folder, "dynamic-c", seed=seed, cost=3e6, hits=12)
        write(folder, "dynamic-raw", seed=seed, cost=9e6, hits=18)
    write(folder, "dynamic-b", cost=2.5e6, hits=11)
    write(folder, "static-unet", cost=2.1e6, hits=6)


def test_all_three_can_hold(tmp_path: Path) -> None:
    write_all(tmp_path)
    for claim in judged(tmp_path):
        assert claim.held is True, claim


def test_without_runs_nothing_is_said() -> None:
    for claim in claims([]):
        assert claim.held is None
        assert all(check.held is None for check in claim.checks)
    assert common_checks([]) == ()


def test_costs_out_of_order_and_a_missed_budget_are_told(tmp_path: Path) -> None:
    write(tmp_path, "dynamic-a", cost=4e6, reached=1.09)
    write(tmp_path, "dynamic-b", reached=0.89)
    write(tmp_path, "dynamic-c", cost=3e6, reached=1.11)
    write(tmp_path, "dynamic-raw", cost=9e6)
    cost = judged(tmp_path)[0]
    assert cost.held is False
    assert list(held(cost).values()) == [False, True, False, False]
    assert "(+9.0 %)" in cost.checks[1].measured


def test_a_better_rival_a_close_one_and_a_dear_one(tmp_path: Path) -> None:
    write(tmp_path, "dynamic-c", cost=3e6, hits=12)
    write(tmp_path, "static-unet", cost=1e6, hits=13)  # cheaper and better
    write(tmp_path, "static-fcn32s", cost=3.2e6, hits=12)  # dearer by less than a tenth, and as good
    write(tmp_path, "static-hrnetv2", cost=3.4e6, hits=19)  # too dear to be a rival
    found = held(judged(tmp_path)[1])
    told = {what: answer for what, answer in found.items() if what.startswith("dynamic-c")}
    assert told == {
        "dynamic-c (n = 1) above static-fcn32s (n = 1)": False,
        "dynamic-c (n = 1) above static-unet (n = 1)": False,
    }


def test_a_common_network_is_no_rival_but_told(tmp_path: Path) -> None:
    write(tmp_path, "dynamic-c", cost=3e6, hits=12)
    write(tmp_path, "common-c", cost=1e6, hits=13)
    assert all("common" not in what for what in held(judged(tmp_path)[1]))
    (check,) = common_checks(Results(tmp_path).committed)
    assert (check.what, check.held) == ("dynamic-c (n = 1) above common-c (n = 1)", False)


def test_routes_that_are_all_alike_or_seeds_that_disagree_do_not_follow(tmp_path: Path) -> None:
    write(tmp_path, "dynamic-a", seed=0)
    write(tmp_path, "dynamic-a", seed=1, sign=-1)
    place = tmp_path / "dynamic-a" / "demo-camvid-seed0" / ROUTES
    routes = read_routes(place)
    first = routes.images[0]
    alike = tuple(replace(image, states=first.states, factors=first.factors) for image in routes.images)
    place.write_bytes(to_json(replace(routes, images=alike)))
    found = held(judged(tmp_path)[2])
    own = [answer for what, answer in found.items() if what.startswith("dynamic-a")]
    assert own == [False, True, False]


def test_a_route_is_the_open_paths_of_open_cells() -> None:
    routes = sample_routes(GATED, images=6, bias=-0.6)
    for image in routes.images:
        state = dict(zip(routes.cells, image.states, strict=True))
        names = open_names(routes, image)
        for name, factor in zip(routes.paths, image.factors, strict=True):
            assert (name in names) == (factor > OPEN_THRESHOLD and state[name.split(">")[0]] == "o")
    assert len({open_names(routes, image) for image in routes.images}) > 1


def test_a_verdict_counts_what_held_and_what_is_open() -> None:
    checks = (Check("a", "", True), Check("b", "", None), Check("c", "", False))
    assert Claim("name", checks).verdict == "1 of 3 checks held, 1 open for want of runs."
    assert Claim("name", checks[:1]).verdict == "1 of 1 checks held."


def test_pictures_have_the_numbers_that_the_checks_say(tmp_path: Path) -> None:
    write_all(tmp_path)
    for claim in judged(tmp_path):
        marks = [mark for check in claim.checks for mark in check.marks]
        assert marks, claim.name
        assert all(mark.low <= mark.value <= mark.high for mark in marks)
