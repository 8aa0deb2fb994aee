"""Fragments of the front page and of the results chapter: every number opens the record it was read from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

from dynroute_suite.book.row_head import group_title, row_label, row_link, seeds_address
from dynroute_suite.figures.pareto import pareto_figure
from dynroute_suite.figures.run import class_iou_figure
from dynroute_suite.figures.style import figure_block
from dynroute_suite.figures.verdicts import Asked, verdict_figure
from dynroute_suite.report import markup
from dynroute_suite.report.claims import BUDGET_SLACK, Check, Claim, claims, common_checks
from dynroute_suite.report.comparable import is_comparable
from dynroute_suite.report.numbers import NOTHING, percent
from dynroute_suite.report.results import Results
from dynroute_suite.report.row_state import KINDS, MEANINGS, SIGNS, RowState, row_states
from dynroute_suite.report.seeds import Seeds, by_setting, comparison_table, comparisons, seeds_table
from dynroute_suite.report.tables import escape_markdown
from dynroute_suite.report.told_apart import recipe_of, told_apart
from dynroute_suite.report.trial import Judged, Trial, trials

CLAIMED_ON, CLAIMED_BY = ("demo", "camvid"), "published"
ASKED = (  # of each claim's picture, in the claims' order
    Asked("cost above the budget's target (%)", (-100 * BUDGET_SLACK, 100 * BUDGET_SLACK)),
    Asked("mIoU above the rival's (points, first seeds)", (0.0,)),
    Asked("rank correlation of cost with small things", (0.0,), decimals=2),
)
VERDICTS: Mapping[bool | None, str] = {True: "held", False: "did not hold", None: "open"}


def state_strip(results: Results) -> str:
    """The state of all rows at a glance: a sign, a name and a link each; the signs are told below."""
    items = [f"- {state.sign} {row_link(state.row, row_label(state.row))}" for state in row_states(results)]
    listed = ":::{div} dr-strip\n" + "\n".join(items) + "\n:::"
    return f"{listed}\n\n{_legend(results)}"


def _legend(results: Results) -> str:
    """What the signs mean, with how many rows have each."""
    kinds = [state.kind for state in row_states(results)]
    words = [f"{SIGNS[kind]} {MEANINGS[kind]} ({kinds.count(kind)})" for kind in KINDS]
    return f"<p class='dr-caption'>{' · '.join(words)}</p>"


def state_table(results: Results) -> str:
    """Every row with its state and why."""
    lines = [[row_link(state.row), f"{state.sign} {state.meaning}", _detail(state)] for state in row_states(results)]
    return markup.table(["row", "state", "runs, or what is missing"], lines, right=3)


def _detail(state: RowState) -> str:
    return escape_markdown(state.detail)


def per_class(results: Results) -> str:
    """Every class's IoU, the settings of one profile and data set side by side, each the mean over its seeds."""
    parts = []
    for (profile, data), runs in results.groups.items():
        settings = by_setting(runs)
        apart = told_apart([same.runs[0].record for same in settings])
        heads = [_column(same, words) for same, words in zip(settings, apart, strict=True)]
        names = list(runs[0].record.metrics.class_iou_percent)
        lines = [[escape_markdown(name), *(_class_number(same, name) for same in settings)] for name in names]
        mean = ["**mIoU**", *(markup.link(percent(same.mean_percent), seeds_address(same.runs)) for same in settings)]
        table = markup.table(["IoU %", *heads], [*lines, mean], right=1)
        parts.append(f"## {group_title(profile, data)}\n\n{table}")
        best = max(settings, key=lambda same: same.mean_percent)
        parts.append(figure_block(class_iou_figure(*(one.record for one in best.runs))))
    return "\n\n".join(parts) or "There is no run yet."


def _column(same: Seeds, words: str) -> str:
    """A setting over its column: its row, what sets it apart, and n where that is not 1."""
    several = f"n = {same.n}" if same.n > 1 else ""
    return escape_markdown(", ".join(filter(None, (row_label(same.row), words, several))))


def _class_number(same: Seeds, name: str) -> str:
    values = [one.record.metrics.class_iou_percent.get(name) for one in same.runs]
    known = [value for value in values if value is not None]
    return markup.link(percent(fmean(known)), seeds_address(same.runs)) if known else NOTHING


def pareto(results: Results) -> str:
    """The plane of accuracy and cost; the numbers of the figure stand in its text alternative and in the tables."""
    return figure_block(pareto_figure([one.record for one in results.committed]))


def published_pareto(results: Results) -> str:
    """The same with the runs that stand beside published numbers alone: the front page's figure."""
    return figure_block(pareto_figure([one.record for one in results.committed if is_comparable(one.record)]))


def verdicts(results: Results) -> str:
    """The paper's claims, judged by the rules that stand below them on their page: a verdict and a picture each, the
    checks folded."""
    runs = [one for one in results.groups.get(CLAIMED_ON, []) if recipe_of(one.record) == CLAIMED_BY]
    parts = [_verdict(number, claim) for number, claim in enumerate(claims(runs), 1)]
    return "\n\n".join([*parts, f"### Beside them: common networks\n\n{_beside(common_checks(runs))}"])


def _verdict(number: int, claim: Claim) -> str:
    parts = [f"### {number}. {claim.name}: {VERDICTS[claim.held]}", claim.verdict]
    if any(check.marks for check in claim.checks):
        parts.append(figure_block(verdict_figure(claim.checks, ASKED[number - 1])))
    return "\n\n".join([*parts, _folded(claim.checks)])


def _beside(common: Sequence[Check]) -> str:
    if not common:
        return "No common network has been run yet."
    held = sum(check.held is True for check in common)
    words = f"{held} of {len(common)} dynamic rows beat the network that their own images mostly open."
    return f"{words}\n\n{_folded(common)}"


def _folded(checks: Sequence[Check]) -> str:
    return f":::{{dropdown}} Every check\n{_checks(checks)}\n:::"


def mixed_verdicts(results: Results) -> str:
    """The claims on near and far streets: a sentence each, what was measured folded beneath."""
    found = trials(results.committed)
    parts = [_trial(trial, headed=len(found) > 1) for trial in found]
    return "\n\n".join(parts) or "No run is committed yet, so there is no verdict."


def _trial(trial: Trial, *, headed: bool) -> str:
    judged = trial.judged()
    sentences = [f"{number}. {_sentence(claim)}" for number, claim in enumerate(judged, 1)]
    lines = [
        [str(number), escape_markdown(line.what), escape_markdown(line.measured), line.why or line.answer]
        for number, claim in enumerate(judged, 1)
        for line in claim.lines
    ]
    table = markup.table(["claim", "what", "measured", ""], lines, right=4)
    head = [f"### {trial.iterations} iterations, {trial.train_images} training images"] if headed else []
    return "\n\n".join([*head, "\n".join(sentences), f":::{{dropdown}} What was measured\n{table}\n:::"])


def _sentence(claim: Judged) -> str:
    """The claim's answer, and what it rests on where that is not all."""
    deciding = [line for line in claim.lines if line.counts and line.answer == claim.answer]
    reasons = dict.fromkeys(line.why or line.what for line in deciding)
    told = f" ({escape_markdown('; '.join(reasons))})" if claim.answer != "yes" else ""
    return f"**{claim.name}: {claim.answer}**{told}."


def seeds(results: Results) -> str:
    """Every setting's runs, their mean and their spread."""
    return seeds_table(results.committed)


def significance(results: Results) -> str:
    """The differences between rows that met the same images."""
    return comparison_table(comparisons(results.committed))


def _checks(checks: Sequence[Check]) -> str:
    lines = [[escape_markdown(one.what), escape_markdown(one.measured), VERDICTS[one.held]] for one in checks]
    return markup.table(["check", "measured", ""], lines, right=3)
