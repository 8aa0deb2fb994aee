"""Does the paper's claim hold in a set of runs? Three claims, judged by rules that were written down before the runs.

Takes finished runs of one profile and data set; gives checks: what is asked, what was measured, and whether it held. A
check without the runs it needs is left open, never passed. The page `results/claims` states the rules in words.
"""

from __future__ import annotations

import collections
import itertools
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dynroute_core.runs.finished import experiment_of
from dynroute_core.runs.record import Record
from dynroute_suite.report.bootstrap import paired
from dynroute_suite.report.committed import Committed
from dynroute_suite.report.flow import open_names
from dynroute_suite.report.numbers import gmacs, percent, share_text, signed
from dynroute_suite.report.relations import Relation, small_things_relation
from dynroute_suite.report.routed_runs import RoutedRun

BUDGETED = ("dynamic-a", "dynamic-b", "dynamic-c")
BY_COST = ("dynamic-a", "dynamic-c", "dynamic-raw")  # the cheapest first, says the paper
BUDGET_SLACK = 0.1  # of the target
RIVAL_COST = 1.1  # a rival costs at most this times the row's cost
APART = 0.1  # of the images: on another route than the most frequent


@dataclass(frozen=True)
class Mark:
    """A check's number in its claim's picture. low, high: its interval, the value itself where it has none."""

    label: str
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Check:
    """One line of a claim. held: None where the runs to judge by are missing. marks: what its claim's picture shows of
    it; a claim whose checks measure two things shows one of them."""

    what: str
    measured: str
    held: bool | None
    marks: tuple[Mark, ...] = ()


@dataclass(frozen=True)
class Claim:
    name: str
    checks: tuple[Check, ...]

    @property
    def held(self) -> bool | None:
        """False where one check failed; None where none did and one is open."""
        answers = [check.held for check in self.checks]
        if False in answers:
            return False
        return None if None in answers or not answers else True

    @property
    def verdict(self) -> str:
        """How many of its checks came out how, in a sentence."""
        answers = [check.held for check in self.checks]
        counts = [f"{answers.count(True)} of {len(answers)} checks held"]
        counts += [f"{answers.count(None)} open for want of runs"] if None in answers else []
        return ", ".join(counts) + "."


def claims(runs: Sequence[Committed]) -> tuple[Claim, ...]:
    """The three claims over the finished runs of one profile and data set."""
    return (
        Claim("Cost follows the budget", (*_order_checks(runs), *_budget_checks(runs))),
        Claim("Better than a fixed network of equal cost", tuple(_rival_checks(runs))),
        Claim("Routes follow the picture", tuple(_route_checks(runs))),
    )


def common_checks(runs: Sequence[Committed]) -> tuple[Check, ...]:
    """Each dynamic row against its common network, judged as a rival is; no part of the claims."""
    found = []
    for row in BUDGETED:
        own, common = _runs_of(runs, row), _runs_of(runs, row.replace("dynamic", "common"))
        if own and common:
            found.append(_rival_check(own, common))
    return tuple(found)


def _runs_of(runs: Iterable[Committed], row: str) -> list[Committed]:
    return sorted((one for one in runs if one.record.row == row), key=lambda one: one.record.seed)


def _cost(record: Record) -> float:
    return record.costs.paper.mean_macs


def _order_checks(runs: Sequence[Committed]) -> Iterable[Check]:
    found = {row: {one.record.seed: one.record for one in _runs_of(runs, row)} for row in BY_COST}
    shared = set.intersection(*(set(by_seed) for by_seed in found.values()))
    if not shared:
        yield Check(f"mean cost of {' < '.join(BY_COST)}", "a row has no run", None)
    for seed in sorted(shared):
        costs = [_cost(found[row][seed]) for row in BY_COST]
        told = ", ".join(gmacs(cost) for cost in costs)
        ordered = all(a < b for a, b in itertools.pairwise(costs))
        yield Check(f"seed {seed}: mean cost of {' < '.join(BY_COST)}", f"{told} GFLOPs", ordered)


def _budget_checks(runs: Sequence[Committed]) -> Iterable[Check]:
    for row in BUDGETED:
        found = _runs_of(runs, row)
        if not found:
            yield Check(f"{row}: the budget is reached", "no run", None)
        for one in found:
            train, expected = experiment_of(one.record).train, one.record.training.final_expected_macs
            what = f"{row}, seed {one.record.seed}: the budget is reached within {share_text(BUDGET_SLACK)}"
            if train.budget is None or not train.budget_macs or expected is None:
                yield Check(what, "trained without a budget", None)
                continue
            share = expected / train.budget_macs
            off = share / train.budget.target - 1
            told = f"{100 * share:.1f} % for {share_text(train.budget.target)} ({signed(100 * off)} %)"
            mark = Mark(f"{row}, seed {one.record.seed}", 100 * off, 100 * off, 100 * off)
            yield Check(what, told, abs(off) <= BUDGET_SLACK, (mark,))


def _rival_checks(runs: Sequence[Committed]) -> Iterable[Check]:
    fixed = sorted({one.record.row for one in runs if one.record.row.startswith("static-")})
    for row in (*BUDGETED, "dynamic-raw"):
        own = _runs_of(runs, row)
        if not own:
            yield Check(f"{row} against static routes", "no run", None)
            continue
        cost = statistics.fmean(_cost(one.record) for one in own)
        rivals = [_runs_of(runs, name) for name in fixed]
        beatable = [rival for rival in rivals if _cost(rival[0].record) <= RIVAL_COST * cost]
        if not beatable:
            told = f"none costs as little ({gmacs(cost)} GFLOPs)" if rivals else "none has been run"
            yield Check(f"{row} against static routes", told, None)
        for rival in beatable:
            yield _rival_check(own, rival)


def _rival_check(own: Sequence[Committed], rival: Sequence[Committed]) -> Check:
    mean, other = (statistics.fmean(one.record.metrics.miou_percent for one in runs) for runs in (own, rival))
    costs = [gmacs(statistics.fmean(_cost(one.record) for one in runs)) for runs in (own, rival)]
    difference = paired(own[0], rival[0])
    told = (
        f"{percent(mean)} against {percent(other)} mIoU at {costs[0]} and {costs[1]} GFLOPs; first seeds "
        f"{signed(difference.points)} [{signed(difference.low)}, {signed(difference.high)}]"
    )
    what = f"{own[0].record.row} (n = {len(own)}) above {rival[0].record.row} (n = {len(rival)})"
    mark = Mark(f"{own[0].record.row} − {rival[0].record.row}", difference.points, difference.low, difference.high)
    return Check(what, told, mean > other and difference.low > 0, (mark,))


def _route_checks(runs: Sequence[Committed]) -> Iterable[Check]:
    for row in BUDGETED:
        found = [RoutedRun.of(one) for one in _runs_of(runs, row)]
        if not found:
            yield Check(f"{row}: routes differ, cost follows the picture", "no run", None)
        for run in found:
            yield _routes_check(run)
        if found:
            yield _picture_check(row, [(run.record.seed, small_things_relation(run)) for run in found])


def _routes_check(run: RoutedRun) -> Check:
    taken = collections.Counter(open_names(run.routes, image) for image in run.routes.images)
    share = 1 - taken.most_common(1)[0][1] / len(run.routes.images)
    what = f"{run.record.row}, seed {run.record.seed}: at least {share_text(APART)} of images off the commonest route"
    return Check(what, f"{share_text(share)}; {len(taken)} routes for {len(run.routes.images)} images", share >= APART)


def _picture_check(row: str, relations: Sequence[tuple[int, Relation]]) -> Check:
    told = "; ".join(
        f"seed {seed} " + ("alike in all" if one.rho is None else f"{signed(one.rho, 2)} [{_interval(one)}]")
        for seed, one in relations
    )
    signs = {one.rho is not None and one.rho > 0 for _, one in relations}
    held = len(signs) == 1 and all(one.clear for _, one in relations)
    marks = tuple(
        Mark(f"{row}, seed {seed}", one.rho, one.low, one.high) for seed, one in relations if one.rho is not None
    )
    return Check(f"{row}: cost against the share of small things, rank correlation", told, held, marks)


def _interval(one: Relation) -> str:
    return f"{signed(one.low, 2)}, {signed(one.high, 2)}"
