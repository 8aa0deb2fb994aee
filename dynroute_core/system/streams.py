"""Standard output and error that outlast their reader and take every character, so that no run ends because of them."""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer


class _LastingFile(io.FileIO):
    """A file that drops what is written after the reader of its pipe, or its terminal, is gone."""

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self._lost = {errno.EPIPE, errno.EIO} if self.isatty() else {errno.EPIPE}

    def write(self, content: ReadableBuffer, /) -> int:
        try:
            return super().write(content)
        except OSError as error:
            if error.errno not in self._lost:
                raise
            return memoryview(content).nbytes


def lasting(stream: TextIO | None) -> TextIO:
    """The stream, lasting; characters that its encoding lacks become question marks. For a closed one, nowhere."""
    if stream is None:
        return Path(os.devnull).open("w", encoding="utf-8")
    if not isinstance(stream, io.TextIOWrapper):
        return stream
    stream.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(_LastingFile(stream.fileno())),
        encoding=stream.encoding,
        errors="replace",
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


def outlast_terminal() -> None:
    """Lets this process go on without its terminal, as `nohup` does: for commands that were started in one."""
    sys.stdout, sys.stderr = lasting(sys.stdout), lasting(sys.stderr)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
