"""What is said where the command cannot begin, or only in part: another Python, no packages, another system.

Imports the standard library alone, and any Python from 3.8 on can read it.
"""

from __future__ import annotations

import platform
import sys


def way_in(error: Exception, system: str) -> str:
    """What to do where a module cannot be loaded. system: as `sys.platform`."""
    if system == "win32":
        return "Windows lacks the locks and signals of Linux that runs need. Use WSL 2, which is Linux, from there."
    return (
        f"{error}. Python 3.11 or newer with the project's packages is needed; this is Python "
        f"{platform.python_version()}, {sys.executable}.\n`make` makes an environment with both, "
        "`make PYTHON=python3.12` names the Python; then: .venv/bin/python reproduce.py ..."
    )


def caution(system: str) -> str:
    """What does not work on this system; "" where everything does. system: as `sys.platform`."""
    if system == "darwin":
        return (
            "macOS is not tested: rows should run, in plain torch; the compiled kernels, --cluster, and the end of a "
            "kernel whose row was stopped by force need Linux."
        )
    return ""
