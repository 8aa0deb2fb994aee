"""A page for every row: what it is, what came out, how it learned, what it sees, where the effort went, its files.

Runs that differ in the seed alone are one setting: shown once, its seeds as dots and thin lines. Routes are a network's
own, so they are the first seed's. `notebooks/row.ipynb` shows a single run whole.
"""

from __future__ import annotations

from pathlib import Path

from dynroute_core.experiments import ROWS, experiment
from dynroute_core.published import PROTOCOL_DATA, PROTOCOL_PROFILE
from dynroute_core.runs.finished import experiment_of
from dynroute_core.runs.record import CURVE, EXAMPLES, RECORD, ROUTES, example_names, read_curve
from dynroute_core.system.files import write_whole
from dynroute_suite.book.row_head import NamedSetting, downloads, named_settings, overview, run_and_failures
from dynroute_suite.figures.diagram import mean_route_diagram
from dynroute_suite.figures.examples import example_figure
from dynroute_suite.figures.run import class_iou_figure, cost_figure
from dynroute_suite.figures.seeds import learning_figure, outcome_figure
from dynroute_suite.figures.style import Picture, figure_block
from dynroute_suite.report import markup
from dynroute_suite.report.comparable import is_comparable
from dynroute_suite.report.flow import config_of
from dynroute_suite.report.numbers import significant
from dynroute_suite.report.results import Results
from dynroute_suite.report.routed_runs import RoutedRun, has_routes
from dynroute_suite.report.tables import comparison_markdown, escape_markdown, settings_table


def write_row_pages(folder: Path, results: Results) -> None:
    """Writes `folder/ROW.md` for every row. Raises BlockedError for a run whose routes or curve cannot be read."""
    folder.mkdir(parents=True, exist_ok=True)
    for row in ROWS:
        write_whole(folder / f"{row}.md", row_page(row, results).encode())


def row_page(row: str, results: Results) -> str:
    """One row's page in Markdown."""
    settings = named_settings(results.of_row(row))
    parts = [f"# {ROWS[row].title}", overview(row, results), _what_it_is(row)]
    if settings:
        parts += [_outcome(settings), _learning(settings), _classes(settings), _effort(settings), _files(settings)]
    return "\n\n".join([*parts, *run_and_failures(row, results)]) + "\n"


def _what_it_is(row: str) -> str:
    """The settings of the published recipe, folded away."""
    chosen = experiment(row, profile=PROTOCOL_PROFILE, data=PROTOCOL_DATA)
    words = "Everything that decides the result, as published. Each can be changed with `--set`."
    return f"## What it is\n\n{words}\n\n{_folded('Every setting', settings_table(chosen))}"


def _folded(title: str, text: str) -> str:
    return f":::{{dropdown}} {title}\n{text}\n:::"


def _outcome(settings: list[NamedSetting]) -> str:
    drawn = outcome_figure([(one.name, [run.record for run in one.same.runs]) for one in settings])
    words = "A dot is a seed. Where a setting has several, a bar marks their mean, a line their standard deviation."
    compared = [
        comparison_markdown(run.record) for one in settings for run in one.same.runs if is_comparable(run.record)
    ]
    return "\n\n".join(["## What came out", words, figure_block(drawn), *compared])


def _learning(settings: list[NamedSetting]) -> str:
    parts = ["## How it learned", "A thin line is a seed."]
    if any(experiment_of(one.same.runs[0].record).train.budget for one in settings):
        parts.append("Watch the cost: from the dashed line on, the network learns to save.")
    for one in settings:
        curves = [points for run in one.same.runs if (points := read_curve(run.folder / CURVE))]
        if curves:
            train = experiment_of(one.same.runs[0].record).train
            parts.append(figure_block(learning_figure(curves, title=f"{one.row}, {one.name}", train=train)))
        else:
            marks = ", ".join(one.same.runs[0].record.marks)
            parts.append(f"{escape_markdown(one.name)}: nothing was trained here: {escape_markdown(marks)}.")
    return "\n\n".join(parts)


def _classes(settings: list[NamedSetting]) -> str:
    words = "The intersection over union of each class: the mean over seeds as a bar, each seed as a dot."
    figures = [class_iou_figure(*(run.record for run in one.same.runs)) for one in settings]
    return "\n\n".join(["## What it sees", words, *map(figure_block, figures)])


def _effort(settings: list[NamedSetting]) -> str:
    words = (
        "Every seed is a network of its own, with routes of its own: here is the first one's, the mean over all "
        "images. The [explorer](/routes/explorer.md) shows every seed, image by image."
    )
    pictures = [shown for one in settings for shown in _effort_of(one)]
    return "\n\n".join(["## Where the effort went", words, *map(figure_block, pictures)])


def _effort_of(one: NamedSetting) -> list[Picture]:
    """The mean route of a setting's first seed; with gates, what its images cost; its examples where they are there."""
    first = one.same.runs[0]
    costs, run = first.record.costs, RoutedRun.of(first)
    drawn = mean_route_diagram(
        run.routes,
        config=config_of(first.record),
        height=costs.nominal_height,
        width=costs.nominal_width,
        title=f"{one.name}: mean route of seed {first.record.seed}",
    )
    shown = [drawn, *([cost_figure(first.record)] if has_routes(first) else [])]
    if (first.folder / EXAMPLES).is_dir():
        shown += [example_figure(first.folder, first.record, run.routes, role) for role in example_names(first.record)]
    return shown


def _files(settings: list[NamedSetting]) -> str:
    lines = [
        [
            escape_markdown(one.name),
            str(run.record.seed),
            *downloads(run, (RECORD, ROUTES, CURVE)),
            significant(run.record.durations.minutes),
        ]
        for one in settings
        for run in one.same.runs
    ]
    words = "`notebooks/row.ipynb` shows one of them whole: give its folder under `results/` as `finished`."
    table = markup.table(["setting", "seed", "record", "routes", "curve", "minutes"], lines, right=5)
    return f"## Files\n\n{table}\n\n{words}"
