"""A failed run, as its folder tells it."""

from __future__ import annotations

from pathlib import Path

import pytest

from dynroute_core.system.errors import BlockedError
from dynroute_suite.report import failures
from support.sample_notebooks import failed_notebook


def test_a_failure_is_read_as_the_runner_wrote_it(tmp_path: Path) -> None:
    (tmp_path / failures.FAILED).write_bytes(failed_notebook("DeadKernelError", "one\ntwo"))
    (tmp_path / failures.LOG).write_text("\n".join(f"\x1b[31m{k}\x1b[0m\x07" for k in range(50)))
    failure = failures.read_failure(tmp_path)
    assert (failure.name, failure.message) == ("DeadKernelError", "one\ntwo")
    assert failure.source == "pipeline.run(chosen)"
    assert failure.trace.splitlines()[-1] == "two"
    assert failure.log.splitlines()[-1] == "49\N{REPLACEMENT CHARACTER}"
    assert len(failure.log.splitlines()) == failures.LOG_LINES
    assert "memory" in failure.next_step


def test_a_broken_failure_is_refused(tmp_path: Path) -> None:
    (tmp_path / failures.FAILED).write_text("{}")
    with pytest.raises(BlockedError, match="no whole notebook"):
        failures.read_failure(tmp_path)
