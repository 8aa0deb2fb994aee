"""Fragments of the front page and of the results chapter: every number opens the record it was read from."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence

from dynroute_core.experiments import ROWS
from dynroute_core.published import PAPER, PROTOCOL, PUBLISHED, RELEASE
from dynroute_core.runs.record import Record
from dynroute_suite.book.row_head import NO_NUMBERS
from dynroute_suite.figures.pareto import pareto_figure
from dynroute_suite.figures.run import class_iou_figure
from dynroute_suite.figures.style import ROW_LABELS, figure_block
from dynroute_suite.report import markup
from dynroute_suite.report.claims import Check, claims, common_checks
from dynroute_suite.report.committed import Committed
from dynroute_suite.report.comparable import is_comparable, why_not_comparable
from dynroute_suite.report.numbers import NOTHING, gmacs, percent, signed
from dynroute_suite.report.results import Results
from dynroute_suite.report.row_state import KINDS, MEANINGS, SIGNS, RowState, row_states
from dynroute_suite.report.seeds import comparison_table, comparisons, seeds_table
from dynroute_suite.report.tables import escape_markdown

Number = Callable[[Record], float]

CLAIMED_ON = ("demo", "camvid")
VERDICTS: Mapping[bool | None, str] = {True: "held", False: "did not hold", None: "open"}


def _row_link(row: str, text: str = "") -> str:
    """A link to a row's page."""
    return markup.link(text or ROWS[row].title, f"/rows/{row}.ipynb")


def _label(row: str) -> str:
    """A row's short name, as figures have it."""
    return ROW_LABELS.get(row, row)


def state_strip(results: Results) -> str:
    """The state of all rows at a glance: a sign, a name and a link each; the signs are told below."""
    items = [f"- {state.sign} {_row_link(state.row, _label(state.row))}" for state in row_states(results)]
    listed = ":::{div} dr-strip\n" + "\n".join(items) + "\n:::"
    return f"{listed}\n\n{_legend(results)}"


def _legend(results: Results) -> str:
    """What the signs mean, with how many rows have each."""
    kinds = [state.kind for state in row_states(results)]
    words = [f"{SIGNS[kind]} {MEANINGS[kind]} ({kinds.count(kind)})" for kind in KINDS]
    return f"<p class='dr-caption'>{' · '.join(words)}</p>"


def state_table(results: Results) -> str:
    """Every row with its state and why."""
    lines = [[_row_link(state.row), f"{state.sign} {state.meaning}", _detail(state)] for state in row_states(results)]
    return markup.table(["row", "state", "runs, or what is missing"], lines, right=3)


def _detail(state: RowState) -> str:
    return escape_markdown(state.detail)


def _published_runs(row: str, results: Results) -> tuple[Committed, ...]:
    """A row's runs by the published protocol: the only ones that may stand beside published numbers."""
    return tuple(one for one in results.of_row(row) if is_comparable(one.record))


def _our_number(found: Sequence[Committed], number: Number) -> tuple[str, float | None]:
    """(what the table shows, the value): the mean over seeds; a single run's number opens its record."""
    if not found:
        return NOTHING, None
    value = statistics.fmean(number(one.record) for one in found)
    address = found[0].address if len(found) == 1 else f"/rows/{found[0].record.row}.ipynb"
    return markup.link(f"{value:.1f}", address), value


def _difference(value: float | None, published: float | None) -> str:
    return NOTHING if value is None or published is None else signed(value - published)


def accuracy_table(results: Results) -> str:
    """mIoU by the published protocol: paper, release, ours, and the differences; n: our seeds."""
    lines = []
    for row in ROWS:
        published, found = PUBLISHED.get(row, NO_NUMBERS), _published_runs(row, results)
        shown, value = _our_number(found, lambda record: record.metrics.miou_percent)
        paper, release = published.paper_miou_percent, published.release_miou_percent
        numbers = [percent(paper), percent(release), shown, _difference(value, paper), _difference(value, release)]
        lines.append([_row_link(row, _label(row)), *numbers, str(len(found))])
    header = ["mIoU %", "paper", "release", "ours", "ours − paper", "ours − release", "n"]
    return f"{markup.table(header, lines, right=1)}\n\n{_caption()}"


def cost_table(results: Results) -> str:
    """GFLOPs by the published protocol, each published column beside ours in its own accounting."""
    lines = []
    for row in ROWS:
        published, found = PUBLISHED.get(row, NO_NUMBERS), _published_runs(row, results)
        paper_shown, paper_value = _our_number(found, lambda record: record.costs.paper.mean_macs / 1e9)
        repo_shown, repo_value = _our_number(found, lambda record: record.costs.repo.mean_macs / 1e9)
        paper, release = published.paper_gmacs, published.release_gmacs
        numbers = [percent(paper), paper_shown, _difference(paper_value, paper)]
        numbers += [percent(release), repo_shown, _difference(repo_value, release)]
        lines.append([_row_link(row, _label(row)), *numbers])
    header = ["GFLOPs", "paper", "ours (paper's way)", "ours − paper", "release", "ours (its way)", "ours − release"]
    return f"{markup.table(header, lines, right=1)}\n\n{_caption()}"


def _caption() -> str:
    return (
        f"<p class='dr-caption'>{PROTOCOL}. Paper: {PAPER}. Release: {RELEASE}. n: our runs by this protocol, seeds "
        f"that differ in nothing else; where n is 0 there is no number of ours, and {NOTHING} stands in its place.</p>"
    )


def own_tables(results: Results) -> str:
    """Our runs that do not follow the published protocol: a table per profile and data set, far from published ones."""
    parts = []
    for (profile, data), runs in results.groups.items():
        apart = [one for one in runs if not is_comparable(one.record)]
        if apart:
            parts.append(f"### {_title(profile, data)}\n\n{_own_table(apart)}")
    return "\n\n".join(parts) or "There is no such run yet."


def _title(profile: str, data: str) -> str:
    return escape_markdown(f"{profile.capitalize()} profile on {data}")


def _own_table(runs: Sequence[Committed]) -> str:
    """Runs of one profile and data set, a line each; costs in the paper's accounting and the release's."""
    lines = []
    for one in runs:
        record, costs = one.record, one.record.costs
        spread = f"{gmacs(costs.paper.min_macs)}–{gmacs(costs.paper.max_macs)}"
        numbers = [percent(record.metrics.miou_percent), gmacs(costs.paper.mean_macs), spread]
        numbers += [gmacs(costs.paper.all_open_macs), gmacs(costs.repo.mean_macs)]
        lines.append([_row_link(record.row), str(record.seed), *(markup.link(text, one.address) for text in numbers)])
    header = ["row", "seed", "mIoU %", "GFLOPs, mean", "over images", "all open", "release's way"]
    sizes = dict.fromkeys(f"{one.record.costs.nominal_height}×{one.record.costs.nominal_width}" for one in runs)
    reasons = dict.fromkeys(why_not_comparable(one.record) for one in runs)
    note = f"{'; '.join(reasons)}. {len(runs[0].record.images)} images; costs at {', '.join(sizes)}."
    return f"{markup.table(header, lines, right=1)}\n\n<p class='dr-caption'>{escape_markdown(note).capitalize()}</p>"


def per_class(results: Results) -> str:
    """Every class's IoU, the runs of one profile and data set side by side."""
    parts = []
    for (profile, data), runs in results.groups.items():
        names = list(runs[0].record.metrics.class_iou_percent)
        header = [
            "IoU %",
            *(f"{_label(one.record.row)}, seed {one.record.seed}" for one in runs),
        ]
        lines = [[escape_markdown(name), *(_class_number(one, name) for one in runs)] for name in names]
        mean = ["**mIoU**", *(markup.link(percent(one.record.metrics.miou_percent), one.address) for one in runs)]
        parts.append(f"## {_title(profile, data)}\n\n{markup.table(header, [*lines, mean], right=1)}")
        best = max(runs, key=lambda one: one.record.metrics.miou_percent)
        parts.append(figure_block(class_iou_figure(best.record)))
    return "\n\n".join(parts) or "There is no run yet."


def _class_number(one: Committed, name: str) -> str:
    value = one.record.metrics.class_iou_percent.get(name)
    return NOTHING if value is None else markup.link(percent(value), one.address)


def pareto(results: Results) -> str:
    """The plane of accuracy and cost; the numbers of the figure stand in its text alternative and in the tables."""
    return figure_block(pareto_figure([one.record for one in results.committed]))


def published_pareto(results: Results) -> str:
    """The same with the runs that stand beside published numbers alone: the front page's figure."""
    return figure_block(pareto_figure([one.record for one in results.committed if is_comparable(one.record)]))


def verdicts(results: Results) -> str:
    """The paper's claims, judged by the rules that stand above them on their page: a line per check."""
    runs = results.groups.get(CLAIMED_ON, [])
    parts = [
        f"### {number}. {claim.name}: {VERDICTS[claim.held]}\n\n{_checks(claim.checks)}"
        for number, claim in enumerate(claims(runs), 1)
    ]
    common = common_checks(runs)
    told = _checks(common) if common else "No common network has been run yet."
    return "\n\n".join([*parts, f"### Beside them: common networks\n\n{told}"])


def seeds(results: Results) -> str:
    """Every setting's runs, their mean and their spread."""
    return seeds_table(results.committed)


def significance(results: Results) -> str:
    """The differences between rows that met the same images."""
    return comparison_table(comparisons(results.committed))


def _checks(checks: Sequence[Check]) -> str:
    lines = [[escape_markdown(one.what), escape_markdown(one.measured), VERDICTS[one.held]] for one in checks]
    return markup.table(["check", "measured", ""], lines, right=3)
