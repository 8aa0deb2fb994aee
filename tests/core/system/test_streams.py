"""Commands whose reader or terminal goes away, or cannot show what they say."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dynroute_core.system.streams import lasting

ROOT = Path(__file__).resolve().parents[3]


def text_of(descriptor: int, encoding: str = "utf-8") -> io.TextIOWrapper:
    return io.TextIOWrapper(io.FileIO(descriptor, "w"), encoding=encoding, write_through=True)


def test_what_is_said_to_nobody_is_dropped() -> None:
    reader, writer = os.pipe()
    with text_of(writer) as own:
        stream = lasting(own)
        print("heard", file=stream, flush=True)
        assert os.read(reader, 100) == b"heard\n"
        os.close(reader)
        with pytest.raises(BrokenPipeError):
            own.write("this is what it is kept from")
        print("unheard", file=stream, flush=True)


def test_a_closed_terminal_is_no_error() -> None:
    master, terminal = os.openpty()
    with text_of(terminal) as own:
        stream = lasting(own)
        assert stream.isatty()
        os.close(master)
        with pytest.raises(OSError, match="Input/output error"):
            own.write("this is what it is kept from")
        print("unseen", file=stream, flush=True)


def test_a_full_disk_stays_an_error() -> None:
    """What a program is to read must not be missing without a word."""
    with Path("/dev/full").open("w") as full, pytest.raises(OSError, match="No space left"):
        print("{}", file=lasting(full), flush=True)


def test_what_an_encoding_lacks_becomes_a_question_mark() -> None:
    reader, writer = os.pipe()
    with text_of(writer, "latin-1") as own:
        print("λ × \udcff", file=lasting(own), flush=True)
    assert os.read(reader, 100) == b"? \xd7 ?\n"
    os.close(reader)


def test_without_standard_error_nothing_is_written_anywhere() -> None:
    with lasting(None) as nowhere:
        print("to a closed stream", file=nowhere)


def test_a_command_goes_on_when_its_terminal_is_closed() -> None:
    program = (
        "import os, signal\n"
        "from dynroute_core.system.streams import outlast_terminal\n"
        "outlast_terminal()\n"
        "os.kill(os.getpid(), signal.SIGHUP)\n"
        "print('goes on')"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "goes on\n")
