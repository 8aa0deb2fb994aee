"""Are there known vulnerabilities in the packages of this environment? `make audit`; asks pip-audit, which asks PyPI.

pip-audit ends with 0 also where it could not judge a package, and where it judged none. Here every package counts.

Exit codes: 0 every package was judged and none has a known vulnerability; 1 some have one; 3 nothing can be said of
some or all: the service was not reached, or does not know them.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence

COMMAND = (sys.executable, "-m", "pip_audit", "--format", "json", "--progress-spinner", "off", "--skip-editable")
OURS = "dynroute"
SHOWN = 10
CLEAN, VULNERABLE, UNKNOWN = 0, 1, 3


def judge(told: str, complaint: str) -> tuple[int, list[str]]:
    """(exit code, lines to show) for what pip-audit wrote to its two outputs."""
    try:
        packages = json.loads(told)["dependencies"]
    except (ValueError, KeyError, TypeError):
        last = next((line for line in reversed(complaint.splitlines()) if line.strip()), "it said nothing")
        return UNKNOWN, ["no verdict: pip-audit did not reach its vulnerability service, or failed.", f"  {last}"]
    packages = [one for one in packages if one["name"] != OURS]
    skipped = [one for one in packages if "skip_reason" in one]
    bad = [one for one in packages if one.get("vulns")]
    lines = [f"{len(packages) - len(skipped)} of {len(packages)} packages judged, {len(bad)} vulnerable"]
    for one in bad:
        for flaw in one["vulns"]:
            cure = ", ".join(flaw["fix_versions"]) or "none yet"
            lines.append(f"  {one['name']} {one['version']}: {flaw['id']}, fixed in: {cure}")
    if skipped:
        lines.append(f"no verdict on {len(skipped)}: the service was not reached, or does not know them. The first:")
        lines += [f"  {one['name']}: {one['skip_reason']}" for one in skipped[:SHOWN]]
    return (VULNERABLE if bad else UNKNOWN if skipped or not packages else CLEAN), lines


def main(command: Sequence[str] = COMMAND) -> int:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    code, lines = judge(done.stdout, done.stderr)
    print("\n".join(lines))
    return code


if __name__ == "__main__":
    sys.exit(main())
