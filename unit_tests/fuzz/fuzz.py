"""Throw random and mutated input at a part of the project, by seed.

    python unit_tests/fuzz/fuzz.py TARGET --inputs 100000 [--seed 1] [--first 0]

Prints counts, the rate and the kinds of outcome; each failure comes with the command that repeats it. The
exit status is 1 if there was one. `--inputs` counts those that were taken up: ioctls that were issued,
packets that an engine looked at, changed files that were read. `--cases N` does just so many cases instead.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable

from fuzz_code import CodeTarget
from fuzz_files import CodeObjectTarget, DumpTarget, ModelTarget, SysfsTarget
from fuzz_ioctls import IoctlTarget
from fuzz_rings import RingTarget
from fuzz_runner import Target, run

TARGETS: dict[str, Callable[[], Target]] = {
    "ioctls": IoctlTarget,
    "rings": RingTarget,
    "code": CodeTarget,
    "sysfs": SysfsTarget,
    "models": ModelTarget,
    "code-objects": CodeObjectTarget,
    "dumps": DumpTarget,
}


def main() -> int:
    """Run a target and return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--inputs", type=int, default=1000, help="how many to be taken up (default: 1000)")
    parser.add_argument("--cases", type=int, help="how many cases, instead of --inputs")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="number of the first case (default: 0)")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    target = TARGETS[options.target]()
    try:
        report = run(target, options.seed, cases=options.cases, inputs=options.inputs, first=options.first)
    finally:
        target.close()
    print(report)
    return 1 if report.failures else 0


if __name__ == "__main__":
    sys.exit(main())
