"""Rebuild the committed code objects: `python hw_tests/kernels/build.py` (or `--check` to compare only).

The committed objects are made by the clang in the Python package ziglang, at the version that
`pyproject.toml` pins in the extra `compiler`; the same version gives the same bytes.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from pytest_amdgpu.driver.compiler import Compiler, compile_source, find_compiler

HERE = Path(__file__).parent
OBJECTS = HERE / "objects"
TARGETS = (
    "gfx908",
    "gfx90a",
    "gfx942",
    "gfx950",
    "gfx1010",
    "gfx1030",
    "gfx1100",
    "gfx1151",
    "gfx1200",
    "gfx1201",
)
OPTIONS = ("-O2",)


def sources() -> list[Path]:
    """Return the kernel sources."""
    return sorted(HERE.glob("*.c"))


def object_path(target: str, name: str) -> Path:
    """Return where the code object of a source lies."""
    return OBJECTS / target / f"{name}.co"


def build(compiler: Compiler, targets: tuple[str, ...] = TARGETS) -> Iterator[tuple[Path, bytes]]:
    """Compile every source for every target: pairs of path and content."""
    for target in targets:
        for source in sources():
            code = compile_source(
                source.read_text(), target, options=OPTIONS, include=[HERE], compiler=compiler
            )
            yield object_path(target, source.stem), code


def main() -> int:
    """Write the code objects, or with `--check` report those that differ."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if any object differs")
    check = parser.parse_args().check
    different = 0
    for path, code in build(find_compiler()):
        if path.exists() and path.read_bytes() == code:
            continue
        different += 1
        print(f"{'differs' if check else 'written'}: {path.relative_to(HERE)}")
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(code)
    return int(check and different > 0)


if __name__ == "__main__":
    sys.exit(main())
