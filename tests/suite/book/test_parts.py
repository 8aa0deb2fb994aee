"""The parts of the book's builder, each alone: contents, fragments, formulas, code links, failures, states, seeds."""

from __future__ import annotations

import sys
import types
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from sphinx.errors import ExtensionError

from dynroute_core.experiments import ROWS
from dynroute_core.runs.record import RECORD, ROUTES, Record, write_record
from dynroute_core.system.errors import BlockedError, UsageError
from dynroute_core.system.strict_json import to_json
from dynroute_suite.book import build, code, fragments, pdf, row_pages, sources, toc
from dynroute_suite.book.mathml import mathml
from dynroute_suite.book.pages.idea import SYMBOLS, in_code
from dynroute_suite.report import failures, markup, seeds
from dynroute_suite.report.results import committed, failures_of, groups, results_in
from dynroute_suite.report.row_state import row_state, row_states
from support.sample_records import published_protocol, sample_record, sample_routes


def write_run(results: Path, record: Record, *, routes: bool = False) -> None:
    folder = results / record.row / f"{record.profile}-{record.data.name}-seed{record.seed}"
    write_record(folder / RECORD, record)
    if routes:
        (folder / ROUTES).write_bytes(to_json(sample_routes(small_model(record), row=record.row)))


def small_model(record: Record) -> object:
    from dynroute_suite.report.flow import config_of

    return config_of(record)


# Contents


def book_folder(folder: Path, contents: dict[str, object], *pages: str) -> Path:
    (folder / "_toc.yml").write_text(yaml.safe_dump(contents))
    for page in pages:
        path = folder / page
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("# x\n")
    return folder


CONTENTS = {"format": "jb-book", "root": "index", "parts": [{"caption": "A", "chapters": [{"file": "a/one"}]}]}


def test_an_entry_without_a_file_is_named(tmp_path: Path) -> None:
    folder = book_folder(tmp_path, CONTENTS, "index.md")
    with pytest.raises(UsageError, match=r"not there: a/one\. Write book/a/one\.md"):
        toc.check_toc(folder)


def test_a_page_without_an_entry_is_named_or_becomes_a_draft(tmp_path: Path) -> None:
    folder = book_folder(
        tmp_path, CONTENTS, "index.md", "a/one.md", "b/two.ipynb", "_generated/x.md", "records/r/f.ipynb"
    )
    with pytest.raises(UsageError, match=r"leads to b/two\. Add `- file: b/two`"):
        toc.check_toc(folder)
    toc.check_toc(folder, draft=True)
    toc.check_toc(folder)  # it has an entry now


def test_a_pattern_covers_its_pages(tmp_path: Path) -> None:
    contents = {"format": "jb-book", "root": "index", "parts": [{"chapters": [{"glob": "rows/*"}]}]}
    toc.check_toc(book_folder(tmp_path, contents, "index.md", "rows/a.md"))


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(UsageError, match=r"holds thesis\.tex"):
        build.stage(results=tmp_path, out=tmp_path, say=lambda text: None)
    assert (tmp_path / "thesis.tex").exists()


# Fragments


def test_two_fragments_of_one_name_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    twins = types.SimpleNamespace(FRAGMENTS={"same": str})
    monkeypatch.setattr(fragments.importlib, "import_module", lambda name: twins)
    with pytest.raises(UsageError, match="'same' is in fragments_"):
        fragments.fragments()


def test_a_fragment_that_fails_is_named(tmp_path: Path) -> None:
    def broken() -> str:
        raise ValueError("no such number")

    with pytest.raises(RuntimeError, match="'mine' of the book failed: ValueError: no such number"):
        fragments.write_fragments(tmp_path, {"mine": broken})


def test_fragments_are_the_same_every_time() -> None:
    for name, fragment in fragments.fragments().items():
        assert fragment() == fragment(), name


# Formulas


def test_a_formula_is_mathml_with_its_latex_as_alternative() -> None:
    made = mathml(r"a < \frac{1}{2}", block=True)
    assert made.startswith('<math alttext="a &lt; \\frac{1}{2}"')
    assert 'display="block"' in made
    assert "<mfrac>" in made


@pytest.mark.parametrize("latex", [r"\nosuch{x}", r"\left( a", r"\frac"])
def test_a_formula_that_is_none_is_named(latex: str) -> None:
    with pytest.raises(ExtensionError, match="cannot write"):
        mathml(latex, block=False)


# Code


def test_every_symbol_that_the_idea_points_to_is_there() -> None:
    for name in SYMBOLS:
        assert "lines" in in_code(name)


def test_a_link_names_the_lines_of_the_definition() -> None:
    place = code.find("cell:Gate.forward")
    lines = code.source_path("cell").read_text().splitlines()
    assert lines[place.first - 1].strip().startswith("def forward(self, x: Tensor)")
    assert "return torch.tanh" in lines[place.last - 1]
    assert place.address == "/source/cell.md#gate"
    decorated = code.find("cost:CostTable")
    assert code.source_path("cost").read_text().splitlines()[decorated.first - 1].startswith("@dataclass")


@pytest.mark.parametrize(
    ("symbol", "said"), [("cell:Gates", "Did you mean 'Gate'"), ("cells:Gate", "no dynroute_core/cells.py")]
)
def test_a_symbol_that_is_gone_is_named(symbol: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        code.find(symbol)


def test_a_source_page_holds_every_line_once(tmp_path: Path) -> None:
    page = sources.source_page("losses")
    lines = [line for line in code.source_path("losses").read_text().splitlines() if line.strip()]
    assert [line for line in page.splitlines() if line in lines and line.strip()] == lines


def test_a_link_to_a_module_that_is_gone_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("[x](/source/loss.md#budget)")
    with pytest.raises(UsageError, match=r"/source/loss\.md"):
        sources.write_source_pages(tmp_path)


# Markup


def test_no_text_closes_its_own_fence() -> None:
    assert markup.block("a ```` b").startswith("`````text\n")
    assert markup.block("a") == "```text\na\n```"


# States and failures


def test_states_follow_the_files(tmp_path: Path) -> None:
    write_run(tmp_path, sample_record(row="dynamic-a"))
    write_run(tmp_path, published_protocol(sample_record(ROWS["dynamic-b"].model, row="dynamic-b", images=1)))
    with results_in(tmp_path):
        states = {state.row: state for state in row_states()}
        assert (states["dynamic-a"].kind, states["dynamic-a"].detail) == ("smaller", "demo profile on streets")
        assert states["dynamic-b"].kind == "published"
        assert states["dynamic-c"].kind == "waiting"
        assert "Cityscapes" in states["dynamic-c"].detail
        assert list(groups()) == [("demo", "streets"), ("full", "cityscapes")]


def test_a_failure_counts_until_the_run_has_finished(tmp_path: Path) -> None:
    from support.sample_notebooks import failed_notebook

    folder = tmp_path / "dynamic-a" / "demo-streets-seed0"
    folder.mkdir(parents=True)
    (folder / failures.FAILED).write_bytes(failed_notebook("ValueError", "no"))
    with results_in(tmp_path):
        assert row_state("dynamic-a").kind == "failed"
        write_run(tmp_path, sample_record(row="dynamic-a"))
        assert failures_of("dynamic-a") == ()
        assert row_state("dynamic-a").kind == "smaller"


def test_a_failure_is_read_as_the_runner_wrote_it(tmp_path: Path) -> None:
    from support.sample_notebooks import failed_notebook

    (tmp_path / failures.FAILED).write_bytes(failed_notebook("DeadKernelError", "one\ntwo"))
    (tmp_path / failures.LOG).write_text("\n".join(f"\x1b[31m{k}\x1b[0m\x07" for k in range(50)))
    failure = failures.read_failure(tmp_path)
    assert (failure.name, failure.message) == ("DeadKernelError", "one\ntwo")
    assert failure.source == "pipeline.run(chosen)"
    assert failure.trace.splitlines()[-1] == "two"
    assert failure.log.splitlines()[-1] == "49\N{REPLACEMENT CHARACTER}"
    assert len(failure.log.splitlines()) == failures.LOG_LINES
    assert "memory" in failure.next_step


def test_a_broken_failure_is_refused(tmp_path: Path) -> None:
    (tmp_path / failures.FAILED).write_text("{}")
    with pytest.raises(BlockedError, match="no whole notebook"):
        failures.read_failure(tmp_path)


def test_a_broken_record_stops_the_build(tmp_path: Path) -> None:
    folder = tmp_path / "dynamic-a" / "demo-streets-seed0"
    folder.mkdir(parents=True)
    (folder / RECORD).write_text("{}")
    with results_in(tmp_path), pytest.raises(BlockedError, match=RECORD):
        committed()


def test_a_page_whose_notebook_fails_stops_the_build(tmp_path: Path) -> None:
    write_run(tmp_path, sample_record(row="dynamic-a"))  # without its routes and curve
    main = sys.modules["__main__"]
    row_pages.engine.register()
    with results_in(tmp_path), pytest.raises(Exception, match=r"demo-streets-seed0 failed: BlockedError: cannot read"):
        row_pages.row_page("dynamic-a")
    assert sys.modules["__main__"] is main  # which worker processes start from


# Seeds


def test_runs_that_differ_in_the_seed_alone_stand_together(tmp_path: Path) -> None:
    first = sample_record(row="dynamic-a")
    older = {**first.config, "train": {k: v for k, v in first.config["train"].items() if k != "compile"}}
    for seed, miou, config in ((0, 40.0, older), (1, 44.0, {**first.config, "seed": 1})):
        write_run(tmp_path, replace(first, seed=seed, metrics=replace(first.metrics, miou_percent=miou), config=config))
    write_run(tmp_path, sample_record(row="dynamic-c"))
    with results_in(tmp_path):
        several, single = seeds.by_setting(committed())
        assert (several.n, several.mean_percent, several.spread) == (2, 42.0, pytest.approx(8**0.5))
        assert (single.n, single.spread) == (1, None)
        text = seeds.seeds_table(committed())
        assert "| 42.0 | 2.8 |" in text
        assert "n = 1" in text.splitlines()[-1]


def test_rows_are_compared_on_the_same_images_only(tmp_path: Path) -> None:
    write_run(tmp_path, sample_record(row="dynamic-a"), routes=True)
    write_run(tmp_path, sample_record(row="dynamic-c"), routes=True)
    other = sample_record(row="dynamic-raw")
    write_run(tmp_path, replace(other, data=replace(other.data, val_fingerprint="e" * 64)), routes=True)
    with results_in(tmp_path):
        found = seeds.comparisons(committed())
    assert [(a.record.row, b.record.row) for a, b, _ in found] == [("dynamic-c", "dynamic-a")]
    assert found[0][2].points == 0  # the sample's counts are the same for every row
    assert not found[0][2].clear
    assert "not told apart" in seeds.comparison_table(found)


# The PDF


def test_without_chromium_the_pdf_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(pdf.shutil, "which", lambda name: None)
    with pytest.raises(BlockedError, match="apt-get install chromium"):
        pdf.write_pdf(tmp_path)
