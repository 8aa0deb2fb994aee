"""The process that runs one notebook with papermill, started by `supervisor.execute` and by nothing else.

Takes the path of a request; leaves the executed notebook, the kernel's process id and, where something failed,
`failure.json` in the request's folder. Exit code 0 only where every cell ran.

SIGINT is handed on to the kernel alone, whose cell gets a KeyboardInterrupt and can write its checkpoint. Standard
input is a pipe that nobody writes to: its end means that the supervisor is gone, and so this process goes too.
"""

from __future__ import annotations

import math
import os
import shutil
import signal
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import msgspec

from dynroute_core.system.errors import UsageError, suggest
from dynroute_suite.notebook.sandbox import LAST_WORDS_S, in_use

if TYPE_CHECKING:
    from jupyter_client.manager import AsyncKernelManager

REQUEST, EXECUTED, FAILURE, KERNEL, PROGRESS = (
    "request.json",
    "executed.ipynb",
    "failure.json",
    "kernel",
    "progress",
)

Parameter = None | bool | int | float | str | list["Parameter"] | dict[str, "Parameter"]
_KINDS: dict[str, tuple[type, ...]] = {"str": (str,), "int": (int,), "float": (float, int), "bool": (bool,)}


@dataclass(frozen=True, kw_only=True)
class Request:
    """What to run. parameters: every parameter of the notebook. cell_timeout_s: limit per cell, None for none."""

    notebook: str
    root: str
    parameters: dict[str, object]
    kernel: str
    cell_timeout_s: int | None


@dataclass(frozen=True)
class Failure:
    """How it ended where it did not end well: the exception's name and text."""

    name: str
    text: str


class StoppedError(Exception):
    """The interrupt came between two cells."""


def plain_parameter(value: object, name: str, levels: int = 32) -> Parameter:
    """The value, if it means the same after JSON and as Python text in a cell.

    Raises UsageError for paths, tuples, NumPy numbers, NaN and the like: papermill would turn some into strings; and
    for what JSON cannot hold: text that is no Unicode, integers of more than 64 bits, more than 32 levels.
    """
    if not levels:
        raise UsageError(f"notebook parameter {name[:60]}: it is nested too deep.")
    if value is None or type(value) is bool or (type(value) is int and abs(value) < 2**63):
        return value
    if type(value) is str and _is_unicode(value):
        return value
    if type(value) is float and math.isfinite(value):
        return value
    if type(value) is list:
        return [plain_parameter(item, f"{name}[{index}]", levels - 1) for index, item in enumerate(value)]
    if type(value) is dict and all(type(key) is str and _is_unicode(key) for key in value):
        return {key: plain_parameter(item, f"{name}.{key}", levels - 1) for key, item in value.items()}
    raise UsageError(
        f"notebook parameter {name} is {value!r} ({type(value).__name__}). "
        "Allowed: None, bool, int of 64 bits, finite float, Unicode str, and lists and dicts of these."
    )


def _is_unicode(text: str) -> bool:
    """Whether it can be written: names of files may hold bytes that are no text."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def checked_parameters(notebook: Path, given: dict[str, object]) -> dict[str, Parameter]:
    """The given parameters in the notebook's own order, once their names and types fit its parameters cell exactly.

    papermill itself only warns of a name it does not know, and runs on with the default. Raises UsageError.
    """
    import papermill

    declared = papermill.inspect_notebook(str(notebook).replace("{", "{{").replace("}", "}}"))
    for name in given:
        if name not in declared:
            raise suggest(f"parameter of {notebook.name}", name, declared)
    missing = [name for name in declared if name not in given]
    if missing:
        raise UsageError(
            f"{notebook.name} needs the parameter {', '.join(missing)} too: give every parameter it declares."
        )
    for name, facts in declared.items():
        kinds = _KINDS.get(facts["inferred_type_name"])
        if kinds and type(given[name]) not in kinds:
            raise UsageError(
                f"parameter {name} of {notebook.name} is {given[name]!r}; allowed: {facts['inferred_type_name']}."
            )
    return {name: plain_parameter(given[name], name) for name in declared}


class Kernel:
    """The kernel of this run: where to send an interrupt, and whether one has come."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pid = 0
        self.busy = False
        self.stopped = False

    def interrupt(self, number: int, frame: FrameType | None) -> None:
        """Signal handler. A kernel between two cells ignores SIGINT, so `before_cell` looks again."""
        self.stopped = True
        if self.busy and self.pid:
            os.kill(self.pid, signal.SIGINT)

    def before_cell(self, **_: object) -> None:
        """Called by nbclient before each code cell."""
        if self.stopped:
            raise StoppedError("interrupted between two cells")
        self.busy = True

    def manager_class(self) -> type[AsyncKernelManager]:
        """A kernel manager that talks over files in this run's folder.

        TCP ports can be taken by another run between choosing and using them. The kernel is always this
        interpreter's own: a `python3` found on a search path can belong to another environment.
        """
        from jupyter_client.kernelspec import KernelSpecManager
        from jupyter_client.manager import AsyncKernelManager

        watched = self

        class FileKernelManager(AsyncKernelManager):
            def __init__(self, **settings: object) -> None:
                super().__init__(**settings)
                self.transport = "ipc"
                self.connection_file = str(watched.folder / "k.json")
                self.kernel_spec_manager = KernelSpecManager(kernel_dirs=[])

            async def _async_launch_kernel(self, kernel_cmd: list[str], **settings: object) -> None:
                await super()._async_launch_kernel(kernel_cmd, **settings)
                watched.pid = getattr(self.provisioner, "pid", 0) or 0
                (watched.folder / KERNEL).write_text(str(watched.pid))

            _launch_kernel = _async_launch_kernel

        return FileKernelManager


def run(request: Request, folder: Path) -> None:
    """Executes the request's notebook; raises what papermill, nbclient and jupyter_client raise."""
    parameters = checked_parameters(Path(request.notebook), request.parameters)
    import papermill

    kernel = Kernel(folder)
    signal.signal(signal.SIGINT, kernel.interrupt)
    threading.Thread(target=_end_with_supervisor, args=(kernel,), daemon=True).start()
    papermill.execute_notebook(
        str(request.notebook).replace("{", "{{").replace("}", "}}"),  # papermill formats paths with the parameters
        str(folder / EXECUTED),
        parameters=parameters,
        kernel_name=request.kernel,
        kernel_manager_class=kernel.manager_class(),
        on_cell_execute=kernel.before_cell,
        execution_timeout=request.cell_timeout_s,
        cwd=request.root,
        progress_bar=False,
        report_mode=True,
        stdout_file=sys.stdout,
        stderr_file=sys.stdout,
    )


def _end_with_supervisor(kernel: Kernel) -> None:
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(LAST_WORDS_S)
    if kernel.pid:
        os.killpg(kernel.pid, signal.SIGKILL)
    os._exit(1)


def describe(error: Exception) -> Failure:
    """The error that matters to a person: the cell's own, where a cell raised."""
    from papermill.exceptions import PapermillExecutionError

    if isinstance(error, PapermillExecutionError):
        return Failure(str(error.ename), str(error.evalue))
    return Failure(type(error).__name__, str(error))


def main(path: Path) -> int:
    """Runs the request in a file; returns the exit code."""
    request = msgspec.json.decode(path.read_bytes(), type=Request)
    supervisor = os.getppid()
    try:
        with in_use(path.parent):
            run(request, path.parent)
    except Exception as error:  # whatever it is, the supervisor must hear of it
        (path.parent / FAILURE).write_bytes(msgspec.json.encode(describe(error)))
        print(f"{type(error).__name__}: {error}", flush=True)
        return 1
    finally:
        if os.getppid() != supervisor:  # it is gone, and nobody else will tidy up
            shutil.rmtree(path.parent, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
