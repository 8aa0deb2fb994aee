"""How the run of a notebook ends, in each of the ways in which it can. No notebook here imports torch."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import nbformat
import pytest

from dynroute_core.system.errors import (
    EXIT_BLOCKED,
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    BlockedError,
    DynrouteError,
)
from dynroute_core.system.locks import locked
from dynroute_suite.notebook import document
from dynroute_suite.notebook.progress import Display
from dynroute_suite.notebook.sandbox import LOG, LOG_BYTES
from dynroute_suite.notebook.supervisor import DONE_NOTEBOOK, FAILED_NOTEBOOK, Job, Outcome, execute
from support.processes import is_gone, wait_for
from support.sample_templates import write_template

ROOT = Path(__file__).resolve().parents[3]

HANG = "import os, pathlib, time\npathlib.Path(name).write_text(str(os.getpid()))\ntime.sleep(600)"


def run(job: Job, check: Callable[[], None] = lambda: None, display: Display | None = None) -> Outcome:
    return execute(job, check=check, stamp=lambda: "stamp", display=display)


def outputs(path: Path) -> list[dict[str, object]]:
    cells = json.loads(path.read_text())["cells"]
    return [output for cell in cells for output in cell.get("outputs", [])]


def assert_gone(mark: Path) -> None:
    pid = int(mark.read_text())
    wait_for(lambda: is_gone(pid), f"the end of kernel {pid}")


@pytest.fixture
def signal_when_marked(tmp_path: Path) -> Iterator[Callable[[int], None]]:
    """Sends this process signals, as a terminal would, once the notebook's cell says that it runs."""
    threads: list[threading.Thread] = []

    def send(number: int) -> None:
        def wait_and_send() -> None:
            wait_for(lambda: (tmp_path / "mark").exists(), "the notebook's start")
            os.kill(os.getpid(), number)

        threads.append(threading.Thread(target=wait_and_send))
        threads[-1].start()

    yield send
    for thread in threads:
        thread.join()


# How a run ends well


@pytest.mark.slow
def test_success_leaves_a_notebook_that_a_second_run_reproduces_byte_by_byte(
    job: Callable[..., Job], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shadow = tmp_path / "shadow" / "kernels" / "python3"
    shadow.mkdir(parents=True)
    (shadow / "kernel.json").write_text('{"argv": ["/bin/false"], "display_name": "wrong", "language": "python"}')
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "shadow"))
    source = """
import os, sys, warnings, tempfile
from dynroute_core.runs.progress import RunProgress
from dynroute_suite.notebook.progress import reporter
reporter(progress_file)(RunProgress("train", 1, 2, "loss 1"))
warnings.warn("to standard error")
print("count", count, os.getcwd())
print(sys.executable == EXECUTABLE, tempfile.gettempdir() != "")
object()
""".replace("EXECUTABLE", repr(sys.executable))
    made = job(source)
    shown = io.StringIO()
    outcome = run(made, display=Display(name="tiny", stream=shown, bars=False))
    path = made.folder / DONE_NOTEBOOK
    assert (outcome.state, outcome.exit_code, outcome.message) == ("done", 0, "")
    assert outcome.notebook == path
    assert not (made.folder / FAILED_NOTEBOOK).exists()
    assert "tiny  notebook 0/3  starting its kernel" in shown.getvalue()
    assert "tiny  training 1/2" in shown.getvalue()
    first = path.read_bytes()
    nbformat.validate(json.loads(first))
    found = json.loads(first)
    assert "".join(found["cells"][0]["source"]) == "# A tiny notebook"
    assert [cell["id"] for cell in found["cells"]] == ["title", "parameters", "injected-parameters", "cell-0"]
    injected = found["cells"][2]
    assert injected["metadata"]["tags"] == ["injected-parameters", "remove-cell"]
    assert "".join(injected["source"]).splitlines()[2:] == ["count = 2", 'progress_file = ""']
    printed, value = outputs(path)
    assert "".join(printed["text"]) == f"count 2 {ROOT}\nTrue True\n"  # type: ignore[arg-type]
    assert "0x..." in "".join(value["data"]["text/plain"])  # type: ignore[index]
    assert not any(word in first.decode() for word in ("stderr", "papermill", "start_time", "/tmp/dynroute-"))
    assert document.stamp_of(path) == "stamp"
    assert "to standard error" in (made.folder / LOG).read_text()
    assert "without encryption" not in (made.folder / LOG).read_text(), "the kernel talked over TCP"

    assert run(made).state == "done"
    assert path.read_bytes() == first


@pytest.mark.slow
def test_ten_megabytes_of_output_are_cut_and_do_not_block(job: Callable[..., Job]) -> None:
    made = job("for _ in range(1000):\n    print('x' * 10_000)\nprint('the end')")
    assert run(made).state == "done"
    assert (made.folder / DONE_NOTEBOOK).stat().st_size < 2 * document.MAX_STREAM
    (output,) = outputs(made.folder / DONE_NOTEBOOK)
    assert "more characters are in log.txt" in "".join(output["text"])  # type: ignore[arg-type]
    log = (made.folder / LOG).read_bytes()
    assert len(log) < LOG_BYTES + 100
    assert log.rstrip().endswith(b"the end")


# How a run ends badly


@pytest.mark.slow
def test_cell_error_keeps_the_failed_notebook_and_the_good_one(job: Callable[..., Job]) -> None:
    made = job("print('before')\nraise ValueError('the text')")
    made.folder.mkdir()
    (made.folder / DONE_NOTEBOOK).write_text("good")
    outcome = run(made)
    assert (outcome.state, outcome.exit_code, outcome.error) == ("failed", EXIT_FAILED, "ValueError")
    assert outcome.message == "ValueError: the text"
    assert (made.folder / DONE_NOTEBOOK).read_text() == "good"
    text = (made.folder / FAILED_NOTEBOOK).read_text()
    assert outcome.notebook == made.folder / FAILED_NOTEBOOK
    assert "This run did not finish: ValueError" in text
    assert document.ERROR_MARK not in text
    assert document.stamp_of(made.folder / FAILED_NOTEBOOK) == ""
    assert [output["output_type"] for output in outputs(made.folder / FAILED_NOTEBOOK)] == ["stream", "error"]
    assert "the text" in (made.folder / LOG).read_text()


@pytest.mark.slow
def test_an_error_meant_for_users_is_shown_alone_with_its_exit_code(job: Callable[..., Job]) -> None:
    made = job("class BlockedError(Exception): pass\nraise BlockedError('no data. Get them.')")
    outcome = run(made)
    assert (outcome.state, outcome.exit_code, outcome.message) == ("failed", EXIT_BLOCKED, "no data. Get them.")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "changes", "error", "words"),
    [
        ("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", {}, "DeadKernelError", "memory"),
        ("pass", {"kernel": "nothing"}, "NoSuchKernel", "install ipykernel"),
        ("import time\ntime.sleep(600)", {"cell_timeout_s": 1}, "CellTimeoutError", "longer than its limit"),
        ("import sys\nsys.exit(3)", {}, "SystemExit", "3"),
        ("import errno\nraise OSError(errno.EMFILE, 'Too many open files')", {}, "OSError", "ulimit -n"),
        (
            "import os, signal\nos.kill(os.getppid(), signal.SIGKILL)\nimport time; time.sleep(600)",
            {},
            "ProcessDied",
            "SIGKILL",
        ),
    ],
    ids=["kernel dies", "no kernel", "cell timeout", "sys.exit", "open files", "papermill dies"],
)
def test_failures_that_papermill_may_call_completed(
    job: Callable[..., Job], tmp_path: Path, source: str, changes: dict[str, object], error: str, words: str
) -> None:
    mark = "import os, pathlib\npathlib.Path(name).write_text(str(os.getpid()))\n"
    made = job(mark + source, **changes)
    outcome = run(made)
    assert (outcome.state, outcome.exit_code, outcome.error) == ("failed", EXIT_FAILED, error)
    assert words in outcome.message
    assert not (made.folder / DONE_NOTEBOOK).exists()
    assert (made.folder / LOG).exists()
    # What is kept says that it failed, in its text and by having no stamp: nothing papermill noted there is left.
    kept = json.loads((made.folder / FAILED_NOTEBOOK).read_text())
    assert any(f"This run did not finish: {error}" in "".join(cell["source"]) for cell in kept["cells"])
    assert "papermill" not in kept["metadata"]
    assert not any("papermill" in cell["metadata"] for cell in kept["cells"])
    assert document.stamp_of(made.folder / FAILED_NOTEBOOK) == ""
    if (tmp_path / "mark").exists():
        assert_gone(tmp_path / "mark")


@pytest.mark.slow
def test_a_notebook_that_ran_but_left_no_record_is_a_failure(job: Callable[..., Job]) -> None:
    def check() -> None:
        raise DynrouteError("there is no record.")

    made = job("pass")
    outcome = run(made, check)
    assert (outcome.state, outcome.exit_code, outcome.message) == ("failed", EXIT_FAILED, "there is no record.")
    assert not (made.folder / DONE_NOTEBOOK).exists()
    assert (made.folder / FAILED_NOTEBOOK).exists()


@pytest.mark.slow
def test_time_limit_stops_the_run(job: Callable[..., Job], tmp_path: Path) -> None:
    outcome = run(job(HANG, timeout_s=3.0))
    assert (outcome.state, outcome.exit_code, outcome.error) == ("failed", EXIT_FAILED, "Timeout")
    assert "0.05 minutes" in outcome.message
    if (tmp_path / "mark").exists():  # on a busy machine the kernel may not have come so far
        assert_gone(tmp_path / "mark")


def test_a_folder_in_use_is_blocked(job: Callable[..., Job]) -> None:
    made = job("pass")
    made.folder.mkdir()
    with (
        locked(made.folder, name=".command.lock"),
        pytest.raises(BlockedError, match="another process is at work on"),
    ):
        run(made)


# How a run is stopped


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_stopped_run_can_write_its_checkpoint(
    job: Callable[..., Job], tmp_path: Path, signal_when_marked: Callable[[int], None], number: signal.Signals
) -> None:
    hang = HANG.replace("time.sleep(600)", "")
    source = (
        f"{hang}\ntry:\n    time.sleep(600)\nexcept KeyboardInterrupt:\n    pathlib.Path(name + '2').touch()\n    raise"
    )
    made = job(source, "print('never')")
    before = signal.getsignal(number)
    signal_when_marked(number)
    outcome = run(made)
    assert (outcome.state, outcome.exit_code) == ("interrupted", EXIT_INTERRUPTED)
    assert "same command goes on" in outcome.message
    assert (tmp_path / "mark2").exists(), "the cell was not interrupted politely"
    assert (made.folder / FAILED_NOTEBOOK).exists()
    assert "never" not in json.dumps(outputs(made.folder / FAILED_NOTEBOOK))
    assert_gone(tmp_path / "mark")
    assert signal.getsignal(number) == before


@pytest.mark.slow
def test_a_second_signal_ends_a_kernel_that_ignores_every_request(
    job: Callable[..., Job], tmp_path: Path, signal_when_marked: Callable[[int], None]
) -> None:
    deaf = "import signal\nfor n in (signal.SIGINT, signal.SIGTERM):\n    signal.signal(n, signal.SIG_IGN)\n"
    made = job(deaf + HANG, patience_s=(600.0, 0.2))
    signal_when_marked(signal.SIGINT)
    signal_when_marked(signal.SIGTERM)
    outcome = run(made)
    assert outcome.exit_code == EXIT_INTERRUPTED
    assert_gone(tmp_path / "mark")


@pytest.mark.slow
def test_a_killed_supervisor_leaves_nothing_running(tmp_path: Path) -> None:
    template = write_template(tmp_path / "template.ipynb", HANG)
    program = f"""
from pathlib import Path
from dynroute_suite.notebook.supervisor import Job, execute
job = Job(name="x", title="x", notebook=Path({str(template)!r}), folder=Path({str(tmp_path / "run")!r}),
          root=Path({str(ROOT)!r}),
          parameters={{"name": {str(tmp_path / "mark")!r}, "count": 1, "progress_file": ""}})
execute(job, check=lambda: None, stamp=lambda: "")
"""
    scratch = Path(tempfile.mkdtemp(prefix="dr-test-", dir="/tmp"))  # short enough for sockets
    environment = os.environ | {"TMPDIR": str(scratch)}
    supervisor = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, env=environment)
    try:
        mark = tmp_path / "mark"
        wait_for(lambda: mark.exists() and mark.read_text() != "", "the notebook's start")
    finally:
        supervisor.kill()
        supervisor.wait()
    assert_gone(tmp_path / "mark")
    wait_for(lambda: not list(scratch.iterdir()), "the removal of temporary files")
    scratch.rmdir()


def test_the_supervisor_imports_neither_papermill_nor_nbformat() -> None:
    program = (
        "import sys, dynroute_suite.notebook.supervisor\n"
        "print([n for n in ('papermill', 'nbformat') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
