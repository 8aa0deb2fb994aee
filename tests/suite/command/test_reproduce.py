"""The command line: every refusal with its exit code, what it says it would do, and runs of the real pipeline."""

from __future__ import annotations

import json
import pwd
import signal
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from dynroute_core.cell import RouteFactors
from dynroute_core.data.datasets import DATASETS
from dynroute_core.experiments import ROWS
from dynroute_core.published import PUBLISHED
from dynroute_core.runs.record import CHECKPOINT, RECORD, read_record
from dynroute_core.system.errors import (
    EXIT_BLOCKED,
    EXIT_DONE,
    EXIT_INTERRUPTED,
    EXIT_USAGE,
)
from dynroute_suite.command.options import ROUTE_FACTORS
from support.commands import DEADLINE_S, ROOT, SMOKE, call, interrupt, start

# Refusals


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--row dynamic-c --weights a --init b", "not both"),
        ("--row dynamic-c --row dynamic-b --weights a", "those of one row"),
        ("--row dynamic-c --route static-unt", "Did you mean 'static-unet'"),
        ("", "give --row ROW"),
        ("--row dynmic-c", "Did you mean 'dynamic-c'"),
        ("--row dynamic-c --all", "not both"),
        ("--row dynamic-c --profile dmo", "unknown profile 'dmo'. Did you mean 'demo'"),
        ("--row dynamic-c --data cityscape", "unknown data set 'cityscape'. Did you mean 'cityscapes'"),
        ("--row dynamic-c --data streets=", "names no folder"),
        ("--row dynamic-c --seed -1", "seed -1"),
        ("--row dynamic-c --seed one", "invalid int value"),
        ("--row dynamic-c --set train.lrr=1", "Did you mean 'train.lr'"),
        ("--row dynamic-c --set train.lr", "give KEY=VALUE"),
        ("--row dynamic-c --set =1", "give KEY=VALUE"),
        ("--row dynamic-c --set train.lr=1 --set train.lr=2", "given twice"),
        ("--row dynamic-c --set train.lr=fast", "train.lr=fast"),
        ("--row dynamic-c --device tpu", "unknown device 'tpu'"),
        ("--row dynamic-c --device cuda:99", "is not here"),
        ("--row dynamic-c --gpus 99", "99 processes need a GPU each"),
        ("--row dynamic-c --gpus 2 --device cpu", "--gpus 2 with --device cpu"),
        ("--row dynamic-c --procs 2 --gpus 2", "not both"),
        ("--row dynamic-c --procs 2 --device cuda", "--procs 2 with --device cuda"),
        ("--row dynamic-c --procs 0", "give at least 1"),
        ("--row dynamic-c --procs 3", "train.batch=8 in train.accumulate=1 parts cannot be dealt evenly to 3"),
        ("--row dynamic-c --procs 4 --set train.accumulate=4", "a multiple of 16"),
        ("--row dynamic-c --timeout 0", "minutes above 0"),
        ("--row dynamic-c --timeout nan", "minutes above 0"),
        ("--row dynamic-c --timeout soon", "invalid float value"),
        ("--row dynamic-c --profil smoke", "unrecognized arguments"),
        ("--rows dynamic-c", "unrecognized arguments"),
    ],
)
def test_usage_errors_leave_with_2_and_one_message(words: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(*words.split()) == EXIT_USAGE
    shown = capsys.readouterr()
    assert said in shown.err
    assert "Traceback" not in shown.err
    assert shown.out == ""


@pytest.mark.parametrize(
    "words", ["--out ~/x --status", "--data streets=~/x", "--init ~/x", "--out ~/x", "--export ~/x"]
)
def test_a_home_that_nobody_knows_is_no_traceback(
    words: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_entry(number: int) -> None:
        raise KeyError("uid not found")

    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", no_entry)
    assert call("--row", "dynamic-c", *words.split()) == EXIT_USAGE
    assert "~/x: there is no such home folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("cityscapes", "--data cityscapes=FOLDER"),
        ("camvid", "--data camvid=FOLDER"),
        ("camvid=/no/such/folder", "/no/such/folder"),
    ],
)
def test_missing_data_block_with_what_to_do(
    data: str, said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert call("--row", "dynamic-c", *SMOKE, "--data", data, "--out", str(tmp_path / "runs")) == EXIT_BLOCKED
    shown = capsys.readouterr()
    assert said in shown.err
    assert "Traceback" not in shown.err
    assert not (tmp_path / "runs").exists()


def test_an_error_as_json_keeps_standard_output_readable(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("--row", "nothing", "--json") == EXIT_USAGE
    shown = capsys.readouterr()
    answer = json.loads(shown.out)
    assert (answer["exit_code"], answer["rows"]) == (EXIT_USAGE, [])
    assert "unknown row 'nothing'" in answer["message"]
    assert "unknown row 'nothing'" in shown.err


# Looking without running


def test_help_refusals_and_status_come_without_torch(tmp_path: Path) -> None:
    program = (
        "import sys, reproduce\n"
        f"for words in (['--help'], ['--nonsense'], [], ['--status', '--out', {str(tmp_path)!r}]):\n"
        "    try: reproduce.main(words)\n"
        "    except SystemExit: pass\n"
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for option in ("--row", "--keep-going", "--json", "130 interrupted"):
        assert option in done.stdout
    assert all(name in done.stdout for name in DATASETS)  # spelt out there: their modules take too long


def test_list_shows_every_row_with_its_published_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("--list") == EXIT_DONE
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line}
    assert lines["dynamic-a"].split()[-4:] == ["72.8", "44.9", "73.9", "52.5"]
    assert lines["network-fix"].split()[-4:] == ["–"] * 4
    assert call("--list", "--json") == EXIT_DONE
    listed = json.loads(capsys.readouterr().out)
    assert [row["row"] for row in listed] == list(ROWS)
    for row in listed:
        assert row["paper_miou_percent"] == PUBLISHED[row["row"]].paper_miou_percent
        assert row["release_gmacs"] == PUBLISHED[row["row"]].release_gmacs
    assert (listed[2]["budget_target"], listed[2]["budget_weight"]) == (0.2, 0.5)


def test_dry_run_says_where_and_why_and_runs_nothing(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = ("--all", *SMOKE, "--out", str(tmp_path / "runs"), "--dry-run")
    assert call(*words) == EXIT_DONE
    shown = capsys.readouterr().out
    after = [row for row, made in ROWS.items() if made.common is not None]
    assert shown.count("would run, there is no record yet") == len(ROWS) - len(after)
    for row in after:
        assert f"{row}: would run, after {row.replace('common', 'dynamic')}, whose open paths it consists of" in shown
    assert call(*words, "--json", "--force") == EXIT_DONE
    found = json.loads(capsys.readouterr().out)["rows"]
    assert [row["row"] for row in found] == list(ROWS)
    planned = [row for row in found if row["row"] not in after]
    assert {(row["would"], row["reason"]) for row in planned} == {("run", "--force")}
    assert all(Path(row["folder"]).is_relative_to(tmp_path / "runs") and row["key"] for row in planned)
    assert {(row["would"], row["folder"], row["key"]) for row in found if row not in planned} == {("run", "", "")}
    assert not (tmp_path / "runs").exists()


def test_a_common_network_without_its_source_blocks(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = ("--row", "common-b", *SMOKE, "--out", str(tmp_path / "runs"))
    for more in ((), ("--dry-run",)):
        assert call(*words, *more) == EXIT_BLOCKED
        assert "python reproduce.py --row dynamic-b --profile smoke --data streets" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


# With the real pipeline: seconds per run


@pytest.mark.suite
@pytest.mark.slow
def test_an_interrupted_run_is_finished_by_the_same_command(tmp_path: Path) -> None:
    settings = ("model.layers=3", "train.iterations=400", "train.checkpoint_every=2", "data.workers=0")
    words = ("--row", "dynamic-c", *SMOKE, "--out", str(tmp_path), "--set", *settings, "--json")

    def checkpoint() -> Path | None:
        return next(tmp_path.glob(f"dynamic-c/*/{CHECKPOINT}"), None)

    out, err = interrupt(start(*words), signal.SIGINT, lambda: checkpoint() is not None)
    (row,) = json.loads(out)["rows"]
    assert (row["state"], row["exit_code"]) == ("interrupted", EXIT_INTERRUPTED), err
    assert "the same command goes on" in err
    assert Path(row["notebook"]).name == "failed.ipynb"
    folder = Path(row["folder"])
    assert not (folder / RECORD).exists()

    first = (folder / CHECKPOINT).stat().st_mtime_ns
    process = start(*words)
    _, err = interrupt(process, signal.SIGTERM, lambda: (folder / CHECKPOINT).stat().st_mtime_ns != first)
    assert process.returncode == EXIT_INTERRUPTED, err

    process = start(*words)
    out, err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == EXIT_DONE, err
    (row,) = json.loads(out)["rows"]
    assert row["state"] == "done"
    assert "goes on from its checkpoint" in err
    record = read_record(folder / RECORD)
    assert (len(record.training.resumed_at), record.training.iterations) == (2, 400)
    assert row["miou_percent"] == record.metrics.miou_percent
    assert Path(row["notebook"]).name == "row.ipynb"
    assert not (folder / "failed.ipynb").exists()


@pytest.mark.suite
@pytest.mark.slow
def test_an_error_of_the_pipeline_keeps_its_exit_code_through_the_kernel(tmp_path: Path) -> None:
    words = ("--row", "dynamic-c", *SMOKE, "--out", str(tmp_path), "--json")
    (planned,) = json.loads(start(*words, "--dry-run").communicate(timeout=DEADLINE_S)[0])["rows"]
    checkpoint = Path(planned["folder"]) / "checkpoint.safetensors"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.write_bytes(b"\x80\x04 this is a pickle, or nothing")
    process = start(*words)
    out, err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == EXIT_BLOCKED, err
    (row,) = json.loads(out)["rows"]
    assert row["state"] == "blocked"
    assert f"{checkpoint} is not a readable checkpoint" in row["message"]
    assert "BlockedError" not in row["message"]
    assert "Traceback" not in err


def test_route_factors_are_those_of_the_cells():
    assert get_args(RouteFactors) == ROUTE_FACTORS


@pytest.mark.suite
@pytest.mark.slow
def test_weights_and_routes_from_the_command_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A row is trained, evaluated on a forced route, and its checkpoint is evaluated again as given weights."""
    words = ("--row", "dynamic-raw", *SMOKE, "--set", "data.workers=0", "--json", "--out")
    assert call(*words, str(tmp_path / "a"), "--route", "static-unet", "--export", str(tmp_path / "out")) == EXIT_DONE
    row, forced = json.loads(capsys.readouterr().out)["rows"]
    assert (row["route"], forced["route"]) == ("", "static-unet")
    assert row["export"] == "" and Path(forced["folder"]).name in forced["export"], "what was asked for is exported"
    own, routed = (read_record(Path(result["record"])) for result in (row, forced))
    assert routed.costs.paper.max_macs < own.costs.paper.all_open_macs
    assert any("forced route static-unet" in mark for mark in routed.marks)
    assert "forced route static-unet" in Path(forced["notebook"]).read_text()
    assert call(*words, str(tmp_path / "a"), "--route", "image:nobody", "--keep-going") == EXIT_USAGE
    row, refused = json.loads(capsys.readouterr().out)["rows"]
    assert (row["state"], refused["state"], refused["route"]) == ("reused", "failed", "image:nobody")
    checkpoint = str(Path(row["folder"]) / CHECKPOINT)
    assert call(*words, str(tmp_path / "b"), "--weights", checkpoint) == EXIT_DONE
    (given,) = json.loads(capsys.readouterr().out)["rows"]
    assert read_record(Path(given["record"])).metrics == own.metrics
    assert "Nothing was trained here" in Path(given["notebook"]).read_text()
