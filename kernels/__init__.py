"""Compiled kernels of routed networks: `NativeNetwork` runs one on the CPU. Imports torch, and nothing of the core.

What each operation computes: `README.md`, and in plain torch `reference.py`. Sources: `csrc/`, compiled on first use by
`build.py`.
"""

from dynroute_kernels.cache import BuildError
from dynroute_kernels.cpu.network import (
    CellSpec,
    ConvSpec,
    GateSpec,
    HeadSpec,
    ImageResult,
    NativeNetwork,
    NetworkSpec,
    StemSpec,
    instruction_sets,
)

__all__ = [
    "BuildError",
    "CellSpec",
    "ConvSpec",
    "GateSpec",
    "HeadSpec",
    "ImageResult",
    "NativeNetwork",
    "NetworkSpec",
    "StemSpec",
    "instruction_sets",
]
