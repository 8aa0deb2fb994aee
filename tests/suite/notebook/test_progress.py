"""What is drawn while a row runs."""

from __future__ import annotations

import io

from dynroute_core.runs.progress import RunProgress
from dynroute_suite.notebook.progress import Display


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
