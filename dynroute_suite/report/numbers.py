"""How numbers are written, in tables and figures alike. Costs come in MACs, as in records, and leave as text."""

from __future__ import annotations

import math

NOTHING = "–"
MINUS = "\N{MINUS SIGN}"
GFLOPS = "GFLOPs (one multiply-accumulate counts one)"


def significant(value: float) -> str:
    """One decimal from 10 on, three significant digits below: `119.5`, `4.20`, `0.0132`."""
    size = abs(value)
    if size == 0:
        return "0"
    if round(size, 2) >= 10:
        return f"{value:.1f}"
    return f"{value:.{max(2 - math.floor(math.log10(size)), 0)}f}"


def gmacs(macs: float) -> str:
    """MACs in units of 10⁹, without the unit."""
    return significant(macs / 1e9)


def giga(macs: float) -> str:
    """MACs in units of 10⁹ with three decimals, so that differences of a thousandth show."""
    return f"{macs / 1e9:.3f}"


def percent(value: float | None) -> str:
    """A percentage with one decimal, without the sign; a dash for None."""
    return NOTHING if value is None else f"{value:.1f}"


def share_text(share: float) -> str:
    """A share of 0..1 as a whole percentage: `62 %`."""
    return f"{100 * share:.0f} %"


def signed(value: float, decimals: int = 1) -> str:
    """A difference with its sign: `+0.4`, `−1.2`; what rounds to nothing is `±0.0`."""
    text = f"{abs(value):.{decimals}f}"
    sign = "±" if float(text) == 0 else "+" if value > 0 else MINUS
    return sign + text


def macs_unit(largest_macs: float) -> tuple[float, str]:
    """(MACs per unit, the unit's name) for costs up to `largest_macs`: GMACs, or MMACs where all are below one."""
    return (1e9, "GMACs") if largest_macs >= 1e9 else (1e6, "MMACs")


def macs_text(macs: float) -> str:
    """A cost with the unit that suits it: `4.20 GMACs`."""
    scale, unit = macs_unit(macs)
    return f"{significant(macs / scale)} {unit}"


def macs_of(macs: float, all_macs: float) -> str:
    """A cost and its bound in one unit, the bound's: `4.20 of 9.70 GMACs`."""
    scale, unit = macs_unit(all_macs)
    return f"{significant(macs / scale)} of {significant(all_macs / scale)} {unit}"
