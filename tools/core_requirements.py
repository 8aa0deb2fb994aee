"""What pip is to install for the core's tests: the core's dependencies and what runs its tests, one a line.

    python tools/core_requirements.py newest    # `make test-core`
    python tools/core_requirements.py lowest    # `make test-minimal`: the lowest versions that pyproject.toml allows

These are the tests in `tests/core` and `tests/kernels`; those that need more carry the mark `suite`.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RUNNERS = ("pytest", "pytest-xdist", "hypothesis")


def core_bounds() -> dict[str, str]:
    """Package → lower bound, of the core and of what runs its tests."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["test"]]
    bounds = {}
    for place, entry in enumerate(wanted):
        found = re.fullmatch(r"([\w.-]+)>=([\w.]+)(,<[\w.]+)?", entry)
        if place < len(project["dependencies"]) or (found and found[1] in RUNNERS):
            if found is None:
                raise SystemExit(f"pyproject.toml: {entry!r} has no lower bound. Give name>=version.")
            bounds[found[1]] = found[2]
    return bounds


def lowest(name: str, bound: str) -> str:
    """The first release from a bound on: `numpy>=2.0` means 2.0.0, `opencv-python>=4.11` 4.11.0.86."""
    parts = [*bound.split("."), "0", "0"]
    return f"{name}=={'.'.join(parts[: max(3, len(parts) - 2)])}.*"


def newest(name: str, bound: str) -> str:
    return f"{name}>={bound}"


def main(words: list[str]) -> int:
    """The command; returns its exit code."""
    choices = {"newest": newest, "lowest": lowest}
    if len(words) != 1 or words[0] not in choices:
        print("usage: core_requirements.py newest|lowest", file=sys.stderr)
        return 2
    print("\n".join(choices[words[0]](name, bound) for name, bound in core_bounds().items()))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
