"""Count the unit tests per oracle: `python tools/count_oracles.py` prints a table of docs/architecture.md."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[1]

ORACLES: dict[str, tuple[str, tuple[str, ...]]] = {
    "ctypes structures, ioctl numbers": (
        "the C compiler on the installed kernel headers; numbers recorded from newer ones",
        ("abi/*",),
    ),
    "packets, registers": (
        "golden dwords worked out by hand from the kernel's packet headers, cited; captured packets; "
        "decoders round-trip, reserved bits are zero",
        ("packets/*", "driver/test_*_commands.py"),
    ),
    "families, topology": (
        "llvm-mc's and llc's view of targets; public dumps of sysfs of real machines",
        ("families/*",),
    ),
    "code objects, kernel arguments": (
        "clang's and lld's output as read by readelf, llvm-readelf and llvm-objdump",
        ("driver/test_code_object.py", "driver/test_kernarg.py", "driver/test_compiler.py"),
    ),
    "decoding of instructions": (
        "LLVM's disassembler on compiled kernels and on random words; encodings worked out by hand",
        ("emulator/isa/test_decode*", "emulator/isa/test_opcode_tables.py"),
    ),
    "semantics of instructions": (
        "the same C source compiled for the host, generated programs among them; definitions on Python "
        "integers and fractions; stated tolerances for approximations",
        ("emulator/isa/test_*",),
    ),
    "strictness of the emulated kernel": (
        "one test per refusal that the source of amdkfd names, through the raw interface",
        ("emulator/kfd/*", "emulator/test_*"),
    ),
    "engines": (
        "numpy, on memory that the test owns; random packets; thread CPU time",
        ("emulator/engine/*",),
    ),
    "bad input": (
        "random and mutated input by seed: no crash, no hang, no leak, and no refusal without a reason",
        ("fuzz/*",),
    ),
    "the driver": (
        "a kernel of plain memory that records calls, each call failing in turn",
        ("driver/*", "kernel/*", "devices/*"),
    ),
    "the suite's sensitivity": (
        "defects injected into software GPUs: each must be caught by a named test",
        ("sensitivity/*",),
    ),
    "the plugin, commands, documentation": (
        "pytest in a subprocess, with crashes, faults, hangs and dead workers; what the docs show is run",
        ("plugin/*", "commands/*", "results/*", "supervisor/*", "test_*"),
    ),
}
"""What is checked: by what, and the tests (patterns below unit_tests; the first row that matches counts)."""


def collect() -> Counter[str]:
    """Count the tests of each file, with the patterns' form of its path."""
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", "unit_tests"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return Counter(re.findall(r"^unit_tests/([^:\s]+)::", run.stdout, re.M))


def count(files: Counter[str]) -> dict[str, int]:
    """Count the tests of each row; raises `LookupError` for a file that no row names."""
    totals = dict.fromkeys(ORACLES, 0)
    for name, tests in files.items():
        row = next((row for row, (_, patterns) in ORACLES.items() if _matches(name, patterns)), None)
        if row is None:
            raise LookupError(f"unit_tests/{name} belongs to no row of ORACLES")
        totals[row] += tests
    return totals


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(Path(name).match(pattern) and name.count("/") == pattern.count("/") for pattern in patterns)


def table(totals: dict[str, int]) -> str:
    """Format the rows as Markdown."""
    lines = ["| layer | oracle | unit tests |", "|---|---|---:|"]
    lines += [f"| {row} | {oracle} | {totals[row]} |" for row, (oracle, _) in ORACLES.items()]
    return "\n".join([*lines, f"| all | | {sum(totals.values())} |"])


if __name__ == "__main__":
    print(table(count(collect())))
