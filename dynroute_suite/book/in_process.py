"""A papermill engine that runs a notebook in this process, for pages that only read what a run left.

Starting a kernel and importing torch takes seconds per page; the book has dozens of pages and trusts its own
templates. Runs of rows go through a kernel of their own (`notebook/`), where a crash is a result like any other.
"""

from __future__ import annotations

import sys
from typing import Protocol

from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import RichOutput, capture_output
from nbformat import NotebookNode
from nbformat.v4 import new_output
from papermill.engines import Engine, papermill_engines

NAME = "in-process"


class Managed(Protocol):
    """What papermill hands an engine: the notebook, and where to note how far it is."""

    nb: NotebookNode

    def cell_start(self, cell: NotebookNode, cell_index: int | None = None) -> None: ...
    def cell_complete(self, cell: NotebookNode, cell_index: int | None = None) -> None: ...
    def cell_exception(self, cell: NotebookNode, cell_index: int | None = None) -> None: ...


class InProcessEngine(Engine):  # type: ignore[misc]  # papermill has no types
    """Runs every code cell in a fresh namespace of this process's shell; stops at the first error."""

    @classmethod
    def execute_managed_notebook(cls, nb_man: Managed, kernel_name: str, **settings: object) -> None:
        main = sys.modules["__main__"]
        shell = InteractiveShell.instance()
        sys.modules["__main__"] = main  # the shell puts one of its own there, which no worker process can start from
        shell.reset(new_session=True)
        for index, cell in enumerate(nb_man.nb.cells):
            nb_man.cell_start(cell, index)
            failed = cell.cell_type == "code" and not _run(shell, cell)
            if failed:
                nb_man.cell_exception(cell, index)
                return
            nb_man.cell_complete(cell, index)


def _run(shell: InteractiveShell, cell: NotebookNode) -> bool:
    """Runs a cell, keeps what it printed and displayed; whether it ran to its end."""
    trap = shell.display_trap
    own = trap.hook
    with capture_output() as seen:
        trap.hook = sys.displayhook  # running a cell would put the shell's own hook back, which prints
        result = shell.run_cell(cell.source, store_history=True)
    trap.hook = own
    cell.execution_count = shell.execution_count - 1
    cell.outputs = [new_output("stream", name="stdout", text=seen.stdout)] if seen.stdout else []
    cell.outputs += [_to_output(output) for output in seen.outputs]
    error = result.error_before_exec or result.error_in_exec
    if error is not None:
        text = str(error)
        trace = [f"{type(error).__name__}: {text}"]
        cell.outputs.append(new_output("error", ename=type(error).__name__, evalue=text, traceback=trace))
    return error is None


def _to_output(output: RichOutput) -> NotebookNode:
    return new_output("display_data", data=dict(output.data), metadata=dict(output.metadata or {}))


def register() -> str:
    """Makes the engine known to papermill; gives its name."""
    papermill_engines.register(NAME, InProcessEngine)
    return NAME
