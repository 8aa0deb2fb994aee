"""What the book's pages on routes include: the gallery, the explorer, and what goes with an image's cost.

From committed records alone. Photographs of CamVid and Cityscapes are not part of the repository and never shown;
examples of generated streets are, where a run brought them.
"""

from __future__ import annotations

from html import escape
from urllib.parse import quote

from dynroute_core.data.datasets import is_generated
from dynroute_core.runs.record import EXAMPLES, example_names
from dynroute_suite.book.explorer.data import explorer_json, shipped_images
from dynroute_suite.book.explorer.page import explorer_block
from dynroute_suite.book.row_head import row_address
from dynroute_suite.figures.diagram import legend_picture, small_diagram
from dynroute_suite.figures.examples import example_figure
from dynroute_suite.figures.relations import class_correlation_figure, cost_in_order_figure
from dynroute_suite.figures.style import Picture
from dynroute_suite.figures.summary import summary_figure
from dynroute_suite.report.flow import image_route
from dynroute_suite.report.numbers import NOTHING, macs_text, percent, share_text, signed
from dynroute_suite.report.relations import (
    CONFIDENCE,
    RARE_SHARE,
    Relation,
    class_relations,
    cost_relations,
    neighbours_correlation,
    sequences,
    small_things,
)
from dynroute_suite.report.results import Results
from dynroute_suite.report.routed_runs import NO_RUNS, RoutedRun
from dynroute_suite.report.seeds import first_seeds
from dynroute_suite.report.tables import escape_markdown, markdown_table

HARDLY = 0.01  # of the mean: runs whose images differ by less say nothing about what makes an image dear


def explorer(results: Results) -> str:
    runs = results.routed
    return explorer_block(runs) if runs else NO_RUNS


def explorer_facts(results: Results) -> str:
    runs = results.routed
    size = len(explorer_json(runs)) / 1024
    images = sum(len(shipped_images(run)) for run in runs)
    return f"On this page: {images} routes of {len(runs)} runs, {size:.0f} KB of data."


FRONT_ROW = "dynamic-c"  # what `make reproduce` runs


def front_picture(results: Results) -> str:
    """A run of generated streets at a glance: the front page's picture, with its record."""
    shown = [run for run in results.routed if run.record.row == FRONT_ROW and _has_photographs(run)]
    if not shown:
        return "No record of generated streets with its pictures is committed yet."
    best = max(shown, key=lambda run: run.record.metrics.miou_percent)
    drawn = summary_figure(best.folder, best.record, best.routes)
    words = (
        f"Three of {len(best.record.images)} generated streets, by what their route costs: what the network saw, what "
        f"is true, what it made of it, and the cells and paths it opened. [Record]({best.address})."
    )
    return f"{_block(drawn.html)}\n\n{words}"


def gallery(results: Results) -> str:
    """Per setting the routes of its first seed's cheapest, median and dearest image."""
    runs = first_seeds(results.routed)
    if not runs:
        return NO_RUNS
    return "\n\n".join(_gallery_of(run) for run in runs)


def _gallery_of(run: RoutedRun) -> str:
    costs = run.record.costs
    cards = "".join(_card(run, role, name) for role, name in example_names(run.record).items())
    words = (
        f"{escape_markdown(run.record.label)}: {len(run.record.images)} images at "
        f"{costs.nominal_height}×{costs.nominal_width}, {macs_text(costs.paper.mean_macs)} on average, "
        f"{100 * _spread(run):.1f} % between the cheapest and the dearest. "
        f"[Record]({run.address}), [mean route and more]({row_address(run.record.row)})."
    )
    parts = [f"## {_heading(run)}", words]
    parts += [_block(f'<div class="dr-grid">{cards}</div>')]
    parts += [_block(picture.html) for picture in _photographs(run)]
    return "\n\n".join(parts)


def _heading(run: RoutedRun) -> str:
    record = run.record
    return escape_markdown(f"{record.row}, {record.profile} on {record.data.name}, seed {record.seed}")


def _card(run: RoutedRun, role: str, name: str) -> str:
    costs = run.record.costs
    drawn = small_diagram(
        run.routes,
        [image_route(run.routes, name)],
        config=run.config,
        height=costs.nominal_height,
        width=costs.nominal_width,
        title=role.capitalize(),
    )
    miou = next(image.miou_percent for image in run.record.images if image.name == name)
    address = f"explorer.html#record={quote(run.identity)}&amp;image={quote(name)}"
    shown = f'<a href="{address}">{escape(name)}</a>, mIoU {percent(miou)} %'
    return f'<div class="dr-card">{drawn.html}<p>{shown}</p></div>'


def _photographs(run: RoutedRun) -> list[Picture]:
    """Image, truth, prediction and errors of the examples, where the run's pictures may be shown and are there."""
    if not _has_photographs(run):
        return []
    return [example_figure(run.folder, run.record, run.routes, role) for role in example_names(run.record)]


def _has_photographs(run: RoutedRun) -> bool:
    return is_generated(run.record.data.name) and (run.folder / EXAMPLES).is_dir()


def mean_routes(results: Results) -> str:
    """The mean route of every setting's first seed side by side, cheapest first."""
    runs = sorted(first_seeds(results.routed), key=lambda run: run.record.costs.paper.mean_macs)
    cards = []
    for run in runs:
        costs = run.record.costs
        drawn = small_diagram(
            run.routes,
            run.routes.images,
            config=run.config,
            height=costs.nominal_height,
            width=costs.nominal_width,
            title=run.record.row,
        )
        label = f"{run.record.profile} profile, {run.record.data.name}, seed {run.record.seed}"
        cards.append(f'<div class="dr-card">{drawn.html}<p>{escape(label)}</p></div>')
    if not cards:
        return NO_RUNS
    return _block(f'<div class="dr-grid">{"".join(cards)}</div>') + "\n\n" + _block(legend_picture().html)


def cost_spread(results: Results) -> str:
    """How far the images of each record differ in cost."""
    lines = []
    for run in results.routed:
        cost = run.record.costs.paper
        lines.append(
            [
                run.record.label,
                str(len(run.record.images)),
                macs_text(cost.mean_macs),
                share_text(cost.mean_macs / cost.all_open_macs),
                f"{100 * _spread(run):.1f} %",
                str(len({image.states for image in run.routes.images})),
            ]
        )
    heads = [
        "record",
        "images",
        "mean cost",
        "of all open",
        "dearest − cheapest, of the mean",
        "patterns of open cells",
    ]
    return markdown_table(heads, lines) if lines else NO_RUNS


def cost_relations_table(results: Results) -> str:
    """What goes with the cost, per record whose images differ, with n, interval and effect."""
    runs = results.routed
    if not any(map(_differs, runs)):
        return NO_RUNS
    interval = f"{100 * CONFIDENCE:.0f} % interval"
    heads = ["property of the image", "n", "rank correlation", interval, "leaves out 0", "effect on cost"]
    parts = []
    for run in filter(_differs, runs):
        table = markdown_table(heads, [_relation_cells(one) for one in cost_relations(run)])
        parts.append(f"**{escape_markdown(run.record.label)}**\n\n{table}")
    alike = [run.record.label for run in runs if not _differs(run)]
    if alike:
        words = f"Left out, because their images differ by less than {100 * HARDLY:.0f} % in cost: {', '.join(alike)}."
        parts.append(escape_markdown(words))
    return "\n\n".join(parts)


def _relation_cells(one: Relation) -> list[str]:
    if one.rho is None:
        return [f"{one.name}, alike in all", str(one.n), NOTHING, NOTHING, NOTHING, NOTHING]
    return [
        one.name,
        str(one.n),
        signed(one.rho, 2),
        f"{signed(one.low, 2)} to {signed(one.high, 2)}",
        "yes" if one.clear else "no",
        f"{signed(one.effect_percent)} %",
    ]


def _spread(run: RoutedRun) -> float:
    cost = run.record.costs.paper
    return (cost.max_macs - cost.min_macs) / cost.mean_macs


def _differs(run: RoutedRun) -> bool:
    return _spread(run) >= HARDLY


def cost_by_class(results: Results) -> str:
    """Per record whose images differ: each class's correlation, in words and as a figure, and costs in order."""
    parts = []
    for run in results.routed:
        parts.append(f"### {_heading(run)}")
        if not _differs(run):
            parts.append(
                f"Its images differ by {100 * _spread(run):.1f} % in cost: there is next to nothing to explain, and a "
                "correlation over so little would mislead. None is shown."
            )
            continue
        parts += [_class_words(run), _block(class_correlation_figure(run).html), _block(cost_in_order_figure(run).html)]
    return "\n\n".join(parts) if parts else NO_RUNS


def _class_words(run: RoutedRun) -> str:
    found = [one for one in class_relations(run) if one.rho is not None]
    clear = [one for one in found if one.clear]
    chance = (1 - CONFIDENCE) * len(found)
    strongest = max(found, key=lambda one: abs(one.rho or 0.0))
    name, small = escape_markdown(strongest.name), ", ".join(map(escape_markdown, small_things(run)))
    beside = neighbours_correlation(run)
    near = "" if beside is None else f" Costs of neighbouring images correlate with {signed(beside, 2)}."
    return (
        f"{len(clear)} of {len(found)} classes have an interval that leaves out 0; by chance alone about "
        f"{chance:.1f} would. The strongest is {name} ({signed(strongest.rho or 0.0, 2)}): the "
        f"quarter of the images with most of it costs {signed(strongest.effect_percent)} % of the mean against the "
        f"quarter with least. The {strongest.n} images come from {_count(sequences(run), 'sequence')}.{near} Small "
        f"things are here: {small} (each under {100 * RARE_SHARE:.0f} % of all pixels)."
    )


def _count(number: int, word: str) -> str:
    return f"{number} {word}" if number == 1 else f"{number} {word}s"


def _block(html: str) -> str:
    """HTML as a raw block of a Markdown page: it ends at the first blank line, so there may be none."""
    return "\n".join(line for line in html.splitlines() if line.strip())
