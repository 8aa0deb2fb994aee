"""The claims on near and far streets, judged by rules that were written down before the runs.

Takes finished runs by the short recipe; gives an answer per claim, with the lines it was read from. The page
`results/claims` states the rules in words. Rows count from three seeds on; fewer are told and decide nothing.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from dynroute_core.runs.finished import experiment_of
from dynroute_core.runs.marks import augmentation, forced_route, given_weights
from dynroute_core.runs.record import Record
from dynroute_suite.report.committed import Committed
from dynroute_suite.report.comparable import flat
from dynroute_suite.report.leads import Interval, Lead, lead
from dynroute_suite.report.numbers import NOTHING, gmacs, percent, share_text, signed
from dynroute_suite.report.routed_runs import RoutedRun
from dynroute_suite.report.seeds import by_setting
from dynroute_suite.report.told_apart import recipe_of
from dynroute_suite.report.told_by_kind import Separation, by_cost, by_route, enough_of_each

Answer = Literal["yes", "equal", "not here", "no answer"]

PROFILE, RECIPE, SCENES = "demo", "short", "mixed"
BUDGETED = ("dynamic-a", "dynamic-b", "dynamic-c")
ASKED = ("dynamic-a", "dynamic-c")  # the claims have no answer without them
BY_COST = ("dynamic-a", "dynamic-c", "dynamic-raw")  # the cheapest first, says the paper
FREE = ("dynamic-raw", "network-fix")  # without a budget, and the network it is without gates
LEAST_SEEDS = 3
BUDGET_SLACK = 0.05  # of the target
RIVAL_COST = 1.1  # a rival that wins costs at most this times the row's cost
EQUAL = 2.0  # points of mIoU to either side
APART = 0.75  # AUC
CHANCE = 0.01  # of random orders may give as much

Rows = Mapping[str, Sequence[Committed]]


@dataclass(frozen=True)
class Line:
    """What was asked of a row and measured. why: of no answer. counts: whether the claim's answer depends on it."""

    what: str
    measured: str
    answer: Answer
    why: str = ""
    counts: bool = True


@dataclass(frozen=True)
class Judged:
    """A claim and the lines that its answer was read from."""

    name: str
    lines: tuple[Line, ...]

    @property
    def answer(self) -> Answer:
        """The worst of the lines that count; one that says not here decides even where others are open."""
        given = {line.answer for line in self.lines if line.counts}
        order: tuple[Answer, ...] = ("not here", "no answer", "equal", "yes")
        return next((answer for answer in order if answer in given), "no answer")


@dataclass(frozen=True)
class Trial:
    """Runs that compare: the same images, recipe and iterations. rows: of each row the setting with most seeds."""

    iterations: int
    train_images: int
    rows: Rows

    def judged(self) -> tuple[Judged, ...]:
        """The four claims, in their page's order."""
        return (
            Judged("Cost follows the budget", (_order(self.rows), *_budgets(self.rows))),
            Judged("Better than a fixed network of equal cost", tuple(_rivals(self.rows))),
            Judged("Routes tell near from far", tuple(_separations(self.rows, by_route, either_way=False))),
            Judged("Cost tells near from far", tuple(_separations(self.rows, by_cost, either_way=True))),
        )


def trials(runs: Iterable[Committed]) -> list[Trial]:
    """The runs on mixed streets by the short recipe, those that compare together; the one with most runs first."""
    found: dict[tuple[str, str, int], list[Committed]] = {}
    for one in runs:
        if _on_trial(one.record):
            data = one.record.data
            key = (data.train_fingerprint, data.val_fingerprint, one.record.training.iterations)
            found.setdefault(key, []).append(one)
    ordered = sorted(found.items(), key=lambda item: -len(item[1]))
    return [Trial(key[2], same[0].record.data.train_images, _rows(same)) for key, same in ordered]


def _on_trial(record: Record) -> bool:
    marked = any(mark(record.config) for mark in (augmentation, forced_route, given_weights))
    scenes = flat(record.config, "").get("data.scenes")
    ours = (record.profile, scenes, recipe_of(record)) == (PROFILE, SCENES, RECIPE)
    return ours and not marked and enough_of_each(image.name for image in record.images)


def _rows(runs: Sequence[Committed]) -> Rows:
    names = dict.fromkeys(one.record.row for one in runs)
    return {
        name: max(by_setting([one for one in runs if one.record.row == name]), key=lambda same: same.n).runs
        for name in names
    }


def _line(what: str, measured: str, n: int, answer: Answer, *, asked: bool) -> Line:
    """A line judged over n seeds. asked: whether the claim has no answer without it."""
    if n >= LEAST_SEEDS:
        return Line(what, measured, answer)
    why = {0: "no run", 1: "one seed is no evidence"}.get(n, f"{n} seeds are no evidence")
    return Line(what, measured or NOTHING, "no answer", why, counts=asked)


def _held(held: bool) -> Answer:
    return "yes" if held else "not here"


def _cost(runs: Sequence[Committed]) -> float:
    return statistics.fmean(one.record.costs.paper.mean_macs for one in runs)


def _order(rows: Rows) -> Line:
    found = [{one.record.seed: one.record.costs.paper.mean_macs for one in rows.get(row, ())} for row in BY_COST]
    shared = sorted(set.intersection(*map(set, found)))
    costs = [[by_seed[seed] for by_seed in found] for seed in shared]
    held = all(a < b for own in costs for a, b in itertools.pairwise(own))
    told = "; ".join(
        f"seed {seed}: {' < '.join(map(gmacs, own)) if own == sorted(own) else ', '.join(map(gmacs, own))}"
        for seed, own in zip(shared, costs, strict=True)
    )
    measured = f"{told} GFLOPs" if told else ""
    return _line(f"mean cost of {' < '.join(BY_COST)}", measured, len(shared), _held(held), asked=True)


def _budgets(rows: Rows) -> Iterable[Line]:
    for row in BUDGETED:
        runs = rows.get(row, ())
        if not runs and row not in ASKED:
            continue
        shares = [_of_target(one.record) for one in runs]
        told = ", ".join(f"{100 * share:.1f} %" for share in shares)
        measured = f"{told} of the target" if told else ""
        held = all(abs(share - 1) <= BUDGET_SLACK for share in shares)
        what = f"{row}: expected cost within {share_text(BUDGET_SLACK)} of the target"
        yield _line(what, measured, len(runs), _held(held), asked=row in ASKED)


def _of_target(record: Record) -> float:
    """The expected cost at the end of training over the target."""
    train, expected = experiment_of(record).train, record.training.final_expected_macs
    assert train.budget and train.budget_macs and expected is not None, "the row has a budget, and is trained"
    return expected / (train.budget_macs * train.budget.target)


def _rivals(rows: Rows) -> Iterable[Line]:
    for row in BUDGETED:
        own, asked = rows.get(row, ()), row in ASKED
        if not own:
            if asked:
                yield _line(f"{row} against its rivals", "", 0, "no answer", asked=True)
            continue
        yield _against(own, _best_static(rows, _cost(own)), "a static route of its cost", asked=asked)
        common = row.replace("dynamic", "common")
        yield _against(own, rows.get(common, ()), common, asked=asked)
    free, fixed = (rows.get(row, ()) for row in FREE)
    if free and fixed:
        yield replace(_against(free, fixed, FREE[1], asked=False), counts=False)


def _best_static(rows: Rows, cost: float) -> Sequence[Committed]:
    """The static route with the highest mean mIoU, of those that cost no more than a rival may; those with seeds enough
    first."""
    rivals = [runs for row, runs in rows.items() if row.startswith("static-") and _cost(runs) <= RIVAL_COST * cost]
    known = [runs for runs in rivals if len(runs) >= LEAST_SEEDS]
    return max(known or rivals, key=_miou, default=())


def _miou(runs: Sequence[Committed]) -> float:
    return statistics.fmean(one.record.metrics.miou_percent for one in runs)


def _against(own: Sequence[Committed], rival: Sequence[Committed], name: str, *, asked: bool) -> Line:
    """The line of a row against a rival. name: of the rival, where it has no run."""
    found = lead(own, rival)
    if found is None:
        return _line(f"{own[0].record.row} against {name}", "", 0, "no answer", asked=asked)
    what, answer, told = f"{own[0].record.row} against {rival[0].record.row}", _answer(found), _told(found, own, rival)
    line = _line(what, told, len(found.by_seed), answer, asked=asked)
    if line.answer == "not here" and _cost(rival) > RIVAL_COST * _cost(own):
        return replace(line, answer="no answer", why="the rival costs more")
    return line


def _answer(found: Lead) -> Answer:
    seeds, images = found.over_seeds, found.over_images
    if seeds is not None and seeds[0] > 0 and images[0] > 0:
        return "yes"
    return "equal" if seeds is not None and seeds[0] >= -EQUAL and seeds[1] <= EQUAL else "not here"


def _told(found: Lead, own: Sequence[Committed], rival: Sequence[Committed]) -> str:
    seeds = f"{_interval(found.over_seeds)} over {len(found.by_seed)} seeds" if found.over_seeds else "one seed"
    paired = [[one for one in runs if one.record.seed in found.by_seed] for runs in (own, rival)]
    sides = [f"{percent(_miou(runs))} mIoU at {gmacs(_cost(runs))} GFLOPs" for runs in paired]
    images = f"{_interval(found.over_images)} over {found.images} images"
    return f"{signed(found.points)} ({seeds}; {images}): {' against '.join(sides)}"


def _interval(ends: Interval) -> str:
    return f"[{signed(ends[0])}, {signed(ends[1])}]"


def _separations(rows: Rows, judge: Callable[[RoutedRun], Separation], *, either_way: bool) -> Iterable[Line]:
    """A line per row, over its seeds. either_way: whether an AUC near 0 is as good, where all seeds agree."""
    for row in (*BUDGETED, FREE[0]):
        runs, asked = rows.get(row, ()), row in ASKED
        if not runs and not asked:
            continue
        found = [judge(RoutedRun.of(run)) for run in runs]
        told = ", ".join(f"{one.auc:.2f} ({one.by_chance:.3f})" for one in found)
        above = all(one.auc >= APART for one in found)
        below = either_way and all(one.auc <= 1 - APART for one in found)
        held = (above or below) and all(one.by_chance <= CHANCE for one in found)
        line = _line(row, f"AUC (by chance) {told}" if told else "", len(found), _held(held), asked=asked)
        yield line if row in BUDGETED else replace(line, counts=False)
