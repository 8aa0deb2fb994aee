"""Errors for users: the nearest names, and exit codes."""

from __future__ import annotations

from dynroute_core.system.errors import BlockedError, DynrouteError, UsageError, error_named, suggest


def test_suggestions():
    error = suggest("row", "dynamc-a", ["dynamic-a", "dynamic-b", "network-fix"])
    assert isinstance(error, UsageError)
    assert str(error).startswith("unknown row 'dynamc-a'. Did you mean 'dynamic-a'")
    assert str(error).endswith("Known: dynamic-a, dynamic-b, network-fix.")
    assert "Did you mean" not in str(suggest("row", "zzz", iter(["dynamic-a"])))


def test_exit_codes():
    assert [kind.exit_code for kind in (DynrouteError, UsageError, BlockedError)] == [1, 2, 3]
    assert issubclass(UsageError, ValueError)


def test_classes_are_found_by_their_names():
    assert [error_named(name) for name in ("DynrouteError", "BlockedError", "ValueError")] == [
        DynrouteError,
        BlockedError,
        None,
    ]
