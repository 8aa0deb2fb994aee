"""The execution of one notebook by papermill: its parameters checked, its kernel started, interrupted and watched.

`child` alone imports this module: papermill and Jupyter stay in its process.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from types import FrameType

import papermill
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from papermill.exceptions import PapermillExecutionError

from dynroute_core.runs.progress import RunProgress
from dynroute_core.system.errors import UsageError, suggest
from dynroute_suite.notebook import document
from dynroute_suite.notebook.messages import PROGRESS, Failure, append_progress
from dynroute_suite.notebook.progress import NOTEBOOK
from dynroute_suite.notebook.request import EXECUTED, KERNEL, NotebookRequest, Parameter, plain_parameter
from dynroute_suite.notebook.sandbox import LAST_WORDS_S

_KINDS: dict[str, tuple[type, ...]] = {"str": (str,), "int": (int,), "float": (float, int), "bool": (bool,)}


class StoppedError(Exception):
    """The interrupt came between two cells."""


class KernelStartError(Exception):
    """The kernel died before the first cell, or did not answer in time."""


def execute(request: NotebookRequest, folder: Path) -> Failure | None:
    """Executes the request's notebook; gives the error of the cell that raised, None where every cell ran.

    Raises UsageError for parameters that do not fit, KernelStartError, and what papermill, nbclient and jupyter_client
    raise.
    """
    notebook = name_kernel(Path(request.notebook), folder)
    parameters = checked_parameters(notebook, request.parameters)
    code = [cell for cell in document.read(notebook)["cells"] if cell["cell_type"] == "code"]
    kernel = Kernel(folder, cells=len(code) + 1)  # papermill adds one, with the parameters
    signal.signal(signal.SIGINT, kernel.interrupt)
    threading.Thread(target=_end_with_supervisor, args=(kernel,), daemon=True).start()
    kernel.say("starting its kernel")
    try:
        papermill.execute_notebook(
            _escape_braces(str(notebook)),
            str(folder / EXECUTED),
            parameters=parameters,
            kernel_name=request.kernel,
            kernel_manager_class=kernel.manager_class(),
            on_cell_execute=kernel.before_cell,
            start_timeout=request.start_timeout_s,
            execution_timeout=request.cell_timeout_s,
            cwd=request.root,
            progress_bar=False,
            report_mode=True,
            stdout_file=sys.stdout,
            stderr_file=sys.stdout,
        )
    except PapermillExecutionError as error:
        print(error, flush=True)
        return Failure(str(error.ename), str(error.evalue))
    except RuntimeError as error:
        if type(error) is RuntimeError:  # as jupyter_client's about the start alone; those about cells are subclasses
            raise KernelStartError(str(error)) from error
        raise
    return None


def name_kernel(notebook: Path, folder: Path) -> Path:
    """A copy of the notebook in a folder, with the kernel that runs it named there.

    papermill asks the notebook for kernel and language, which other editors and hooks that strip metadata leave out.
    Raises OSError and ValueError as `document.read`.
    """
    found = document.read(notebook)
    found["metadata"] |= {"kernelspec": document.KERNELSPEC}
    copy = folder / notebook.name
    copy.write_text(json.dumps(found), encoding="utf-8")
    return copy


def checked_parameters(notebook: Path, given: dict[str, object]) -> dict[str, Parameter]:
    """The given parameters in the notebook's own order, once their names and types fit its parameters cell exactly.

    papermill itself only warns of a name it does not know, and runs on with the default. Raises UsageError.
    """
    declared = papermill.inspect_notebook(_escape_braces(str(notebook)))
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


def _escape_braces(path: str) -> str:
    """papermill formats paths with the parameters."""
    return path.replace("{", "{{").replace("}", "}}")


class Kernel:
    """The kernel of this run: where to send an interrupt, and whether one has come."""

    def __init__(self, folder: Path, *, cells: int) -> None:
        self.folder = folder
        self.cells = cells
        self.ran = 0
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
        self.say("")
        self.ran += 1
        if self.stopped:
            raise StoppedError("interrupted between two cells")
        self.busy = True

    def say(self, text: str) -> None:
        """Says how many cells ran."""
        append_progress(self.folder / PROGRESS, RunProgress(NOTEBOOK, self.ran, self.cells, text))

    def manager_class(self) -> type[AsyncKernelManager]:
        """A kernel manager that talks over files in this run's folder.

        TCP ports can be taken by another run between choosing and using them. The kernel is always this
        interpreter's own: a `python3` found on a search path can belong to another environment.
        """
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


def _end_with_supervisor(kernel: Kernel) -> None:
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(LAST_WORDS_S)
    if kernel.pid:
        os.killpg(kernel.pid, signal.SIGKILL)
    os._exit(1)
