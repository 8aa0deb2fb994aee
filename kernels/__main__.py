"""`python -m dynroute_kernels build|status`: compile the CPU kernels ahead, or say what is here."""

from __future__ import annotations

import argparse
import sys

from dynroute_kernels.cache import BuildError
from dynroute_kernels.cpu import build, training
from dynroute_kernels.cpu.network import ISA_VARIABLE

PARTS = {"engine": build.ENGINE, "training": training.PART}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m dynroute_kernels", description=__doc__)
    parser.add_argument("command", choices=("build", "status"))
    parser.add_argument("--sanitized", action="store_true", help="the library under AddressSanitizer and UBSan")
    given = parser.parse_args()
    try:
        if given.command == "build":
            for part in PARTS.values():
                print(build.build(sanitized=given.sanitized, part=part))
        else:
            tell(given.sanitized)
    except BuildError as error:
        print(error, file=sys.stderr)
        return 3
    return 0


def tell(sanitized: bool) -> None:
    for name, part in PARTS.items():
        path = build.built(sanitized=sanitized, part=part)
        print(f"{name:9} {path or 'not built: python -m dynroute_kernels build'}")
    print(f"compiler  {' '.join(build.compiler() or ['none'])}")
    if build.built() is not None and not sanitized:
        library = build.library()
        for dtype, bf16 in (("float32", 0), ("bfloat16", 1)):
            print(f"{dtype:9} {library.dynroute_isa(b'', bf16).decode()} (another: {ISA_VARIABLE}=avx2, plain, …)")


if __name__ == "__main__":
    sys.exit(main())
