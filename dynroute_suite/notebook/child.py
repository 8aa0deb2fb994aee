"""The process that runs one notebook with papermill, started by `supervisor.execute` and by nothing else.

Takes the folder with the request; leaves there the executed notebook, the kernel's process id and, where something
failed, why. Exit code 0 only where every cell ran.

SIGINT is handed on to the kernel alone, whose cell gets a KeyboardInterrupt and can write its checkpoint. Standard
input is a pipe that nobody writes to: its end means that the supervisor is gone, and so this process goes too.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from dynroute_suite.notebook.messages import Failure, leave_failure, read_request
from dynroute_suite.notebook.request import NotebookRequest
from dynroute_suite.notebook.sandbox import keep_scratch


def main(folder: Path) -> int:
    """Runs the request in a folder; returns the exit code."""
    supervisor = os.getppid()
    try:
        failure = _execute(folder)
        if failure is not None:
            leave_failure(folder, failure)
        return 0 if failure is None else 1
    finally:
        if os.getppid() != supervisor:  # it is gone, and nobody else will tidy up
            shutil.rmtree(folder, ignore_errors=True)


def _execute(folder: Path) -> Failure | None:
    try:
        with keep_scratch(folder):
            from dynroute_suite.notebook import execution  # papermill takes a second: the folder is held before

            return execution.execute(read_request(folder, NotebookRequest), folder)
    except Exception as error:  # whatever it is, the supervisor must hear of it
        print(f"{type(error).__name__}: {error}", flush=True)
        return Failure.of(error)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
