"""Errors meant for the user, each with its exit code."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

LONGEST_LIST = 100  # of names in an error
EXIT_DONE, EXIT_FAILED, EXIT_USAGE, EXIT_BLOCKED, EXIT_INTERRUPTED = 0, 1, 2, 3, 130


class DynrouteError(Exception):
    """An error meant for the user: its text says what was given, what is allowed and what to do next."""

    exit_code = EXIT_FAILED


class UsageError(DynrouteError, ValueError):
    """A row, profile, option or setting that does not exist or does not fit."""

    exit_code = EXIT_USAGE


class BlockedError(DynrouteError):
    """The run cannot start or go on with what is on this machine: data, weights or disk space are missing or broken."""

    exit_code = EXIT_BLOCKED


def error_named(name: str) -> type[DynrouteError] | None:
    """The class of errors meant for users that has this name; None where there is none.

    A name is all that another process tells of an exception's class.
    """
    waiting: list[type[DynrouteError]] = [DynrouteError]
    while waiting:
        kind = waiting.pop()
        if kind.__name__ == name:
            return kind
        waiting += kind.__subclasses__()
    return None


def suggest(kind: str, given: str, allowed: Iterable[str]) -> UsageError:
    """The error for an unknown name: what was given, the nearest names, all names (of images: the first of many)."""
    names = list(allowed)
    near = difflib.get_close_matches(given, names, n=3, cutoff=0.5)
    hint = f" Did you mean {' or '.join(repr(n) for n in near)}?" if near else ""
    shown = names if len(names) <= LONGEST_LIST else [*names[:LONGEST_LIST], f"... ({len(names)} in all)"]
    return UsageError(f"unknown {kind} {given!r}.{hint} Known: {', '.join(shown)}.")
