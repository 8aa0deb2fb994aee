"""The command, started as a user would, and interrupted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import reproduce
from dynroute_suite.command.options import check, parser
from dynroute_suite.command.session import Session, open_session

ROOT = Path(__file__).resolve().parents[2]

DEADLINE_S = 300.0  # only what hangs meets it, on a busy machine too
SMOKE = ("--profile", "smoke", "--device", "cpu")


def call(*words: object) -> int:
    """The command's exit code."""
    try:
        return reproduce.main([str(word) for word in words])
    except SystemExit as error:  # argparse leaves by itself
        return int(error.code or 0)


def session_of(*words: str) -> Session:
    """What the command would do, with these words."""
    arguments = parser("").parse_args(words)
    check(arguments)
    return open_session(arguments)


def start(*words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(ROOT / "reproduce.py"), *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def interrupt(process: subprocess.Popen[str], number: signal.Signals, when: Callable[[], bool]) -> tuple[str, str]:
    """Sends the signal as soon as `when` holds; gives what the command wrote."""
    deadline = time.monotonic() + DEADLINE_S
    try:
        while not when():
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline, "the run did not come so far"
            time.sleep(0.05)
        process.send_signal(number)
        return process.communicate(timeout=DEADLINE_S)
    finally:
        process.kill()
