"""What is drawn while a row runs."""

from __future__ import annotations

import io

from dynroute_core.runs.progress import RunProgress
from dynroute_suite.notebook.progress import NOTEBOOK, Display


def test_without_a_terminal_a_line_per_phase_and_then_seldom() -> None:
    stream = io.StringIO()
    display = Display(name="row", stream=stream, bars=False, quiet_s=3600)
    for done in range(1, 11):
        display.show(RunProgress("train", done, 10, f"loss {done}"))
    display.show(RunProgress("evaluate", 1, 2, ""))
    display.close()
    lines = stream.getvalue().splitlines()
    assert [line.split("  ")[1].split(",")[0] for line in lines] == [
        "training 1/10",
        "training 10/10",
        "evaluation 1/2",
    ]


def test_on_a_terminal_a_bar_per_phase() -> None:
    stream = io.StringIO()
    display = Display(name="row", stream=stream, bars=True)
    display.show(RunProgress("train", 5, 10, "loss 1.5"))
    display.show(RunProgress("train", 10, 10, "loss 0.5"))
    display.show(RunProgress("evaluate", 1, 2, "evaluating"))
    display.close()
    text = stream.getvalue()
    assert "row  training 100%" in text
    assert "loss 0.5" in text
    assert "row  evaluation  50%" in text


def lines_of(*reports: tuple[float, RunProgress]) -> list[str]:
    """What a display says, in lines, of reports that come at these seconds."""
    stream, now = io.StringIO(), 0.0
    display = Display(stream=stream, bars=False, quiet_s=0, clock=lambda: now)
    for now, report in reports:  # noqa: B007  # the clock reads it
        display.show(report)
    return stream.getvalue().splitlines()


def test_the_time_left_is_that_of_the_phases_to_come_too() -> None:
    first, later = (RunProgress("train", done, 100, "", ahead=20.0) for done in (10, 40))
    # 30 iterations took 60 s: 60 more, and work worth 20, take 160 s.
    assert lines_of((5, first), (65, later)) == ["training 10/100", "training 40/100, 02:40 left"]
    last = RunProgress("train", 100, 100, "", ahead=20.0)
    assert lines_of((5, first), (185, last))[-1] == "training 100/100, 00:40 left"


def test_where_nothing_is_known_of_what_follows_the_time_is_the_phase_s_own() -> None:
    first, later = (RunProgress("paths", done, 200, "") for done in (1, 101))
    assert lines_of((0, first), (50, later))[-1] == "open paths 101/200, 00:49 left of this"


def test_no_time_is_told_before_one_is_measured() -> None:
    one = RunProgress("train", 10, 100, "loss 1", ahead=0.0)
    assert lines_of((0, one), (30, one)) == ["training 10/100  loss 1"] * 2
    # What was measured in another phase says nothing of this one.
    assert lines_of((0, one), (9, RunProgress("evaluate", 1, 40, "", ahead=0.0)))[-1] == "evaluation 1/40"


def test_a_notebook_s_cells_tell_no_time() -> None:
    cells = [(second, RunProgress(NOTEBOOK, second, 12, "")) for second in (1, 2)]
    assert lines_of(*cells) == ["notebook 1/12", "notebook 2/12"]


def test_a_bar_tells_the_same_time() -> None:
    stream, now = io.StringIO(), 0.0
    display = Display(stream=stream, bars=True, clock=lambda: now)
    display.show(RunProgress("train", 10, 100, "loss 2", ahead=20.0))
    assert "left" not in stream.getvalue()
    now = 60.0
    display.show(RunProgress("train", 40, 100, "loss 1", ahead=20.0))
    display.close()
    assert "40/100, 02:40 left  loss 1" in stream.getvalue()
