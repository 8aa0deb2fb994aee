"""Damage to bytes, drawn from a seed, and the one question asked of every reader: a correct value, or a named error."""

from __future__ import annotations

import random
import resource
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from dynroute_core.system.errors import DynrouteError

T = TypeVar("T")

SEED = 20
BOUND_S = 120  # a read takes milliseconds; only one that never ends meets this, however busy the machine is
MOST_GROWTH_MB = 400  # of the process over a whole reader's inputs, each of which is smaller than 1 MB
TOKENS = (
    *(b"NaN", b"Infinity", b"1e999", b"-1", b"9" * 30, b"1" + b"0" * 400, b"null", b"true", b"[]", b"{}", b'"'),
    *(b"\0", b"\xff\xff\xff\xff", b"../", b"<script>", b"[" * 2000, b'{"a":' * 200, b"1_0", "٢".encode()),
)  # fmt: skip


def damaged(whole: bytes, count: int, seed: int = SEED) -> Iterator[bytes]:
    """`count` damaged copies: flipped bits, other bytes, cut, grown, parts taken out, doubled, or put in."""
    draw = random.Random(f"{seed} {len(whole)}")
    for number in range(count):
        content, place = bytearray(whole), draw.randrange(len(whole))
        end = min(len(whole), place + draw.randint(1, 64))
        match number % 7:
            case 0:
                content[place] ^= 1 << draw.randrange(8)
            case 1:
                for _ in range(draw.randint(1, 8)):
                    content[draw.randrange(len(content))] = draw.randrange(256)
            case 2:
                del content[place:]
            case 3:
                content[place:place] = draw.choice(TOKENS)
            case 4:
                content[place:end] = draw.choice(TOKENS)
            case 5:
                del content[place:end]
            case _:
                content[place:place] = content[place:end] * draw.randint(1, 3)
        yield bytes(content)


@contextmanager
def bounded(seconds: int = BOUND_S) -> Iterator[None]:
    """Fails what does not end."""

    def stop(number: int, frame: object) -> None:
        raise TimeoutError(f"not done after {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def bombard(
    read: Callable[[Path], T], path: Path, inputs: Iterator[bytes], *, accept: Callable[[T, bytes], None]
) -> tuple[int, int]:
    """Puts each input at `path` and reads it; `accept` judges what is read. (inputs, refused), printed too.

    Any other error than one of the suite's, with the file's name in it, is raised as it is: the test fails.
    """
    tried = refused = 0
    began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for content in inputs:
        path.write_bytes(content)
        tried += 1
        with bounded():
            try:
                value = read(path)
            except DynrouteError as error:
                refused += 1
                assert path.name in str(error)
            else:
                accept(value, content)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(f"{path.name}: {tried} inputs, {refused} refused, {time.monotonic() - began:.1f} s, seed {SEED}")
    assert grown < MOST_GROWTH_MB, f"{path.name} took {grown:.0f} MB"
    return tried, refused
