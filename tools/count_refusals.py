"""Count what is tested of the kernel's strictness: `python tools/count_refusals.py`.

Prints how many rules of the list in `unit_tests/emulator/kfd/refusals.py` have a test, and how many have a
reason instead; then runs those tests and prints how many of the places in the emulator that refuse a call
or report a driver's bug they reach, and names the others. A place that only a forked child reaches counts as
not reached. Exits with 1 if a place is missed that `UNREACHED` does not name.
"""

from __future__ import annotations

import ast
import sys
import threading
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
EMULATOR = ROOT / "pytest_amdgpu" / "emulator"
TESTS = ROOT / "unit_tests" / "emulator"
sys.path.insert(0, str(TESTS / "kfd"))

REPORTS = ("misuse", "_misuse", "misuse_later", "warn_once")
"""Functions that report a driver's bug."""
UNREACHED = {
    ("kfd/dispatch.py", "raise Refusal"): "in a forked child",
    ("kfd/mmap.py", "raise Refusal"): "in a forked child",
}
"""Places, one of each kind per file, that these tests reach where this tool does not see it."""

Place = tuple[str, int, int, str]


def places() -> list[Place]:
    """List file, first and last line and kind of everything that refuses or reports."""
    found = []
    for path in sorted(EMULATOR.rglob("*.py")):
        name = path.relative_to(EMULATOR).as_posix()
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(node, ast.Raise)
                and isinstance(node.exc, ast.Call)
                and _name(node.exc) == "Refusal"
            ):
                found.append((name, node.lineno, node.end_lineno or node.lineno, "raise Refusal"))
            if isinstance(node, ast.Call) and _name(node) in REPORTS:
                found.append((name, node.lineno, node.end_lineno or node.lineno, "report"))
    return found


def _name(call: ast.Call) -> str:
    function = call.func
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def reached() -> set[tuple[str, int]]:
    """Run the tests and return the lines of the emulator that were executed."""
    lines: set[tuple[str, int]] = set()
    prefix = f"{EMULATOR}/"

    def trace(frame: FrameType, _event: str, _argument: Any) -> Any:
        file = frame.f_code.co_filename
        if not file.startswith(prefix):
            return None
        name = file.removeprefix(prefix)

        def line(inner: FrameType, _event: str, _argument: Any) -> Any:
            lines.add((name, inner.f_lineno))
            return line

        return line

    threading.settrace(trace)
    sys.settrace(trace)
    try:
        code = pytest.main(["-q", "-p", "no:cacheprovider", *TEST_FILES])
    finally:
        sys.settrace(None)
        threading.settrace(None)  # type: ignore[arg-type]
    if code:
        raise SystemExit(f"the tests failed: exit code {code}")
    return lines


TEST_FILES = [
    str(TESTS / name)
    for name in (
        "kfd",
        "test_gem_handles.py",
        "test_client_memory.py",
        "test_emulated_sysfs.py",
        "test_render_node.py",
        "engine/test_engine_queue.py",
        "engine/test_engine_sdma.py",
        "engine/test_engine_aql.py",
    )
]


def main() -> int:
    """Print the numbers."""
    from refusals import RULES

    rules = Counter((rule.section, bool(rule.tests)) for rule in RULES)
    executed = reached()
    found = places()
    missed = [place for place in found if not _hit(place, executed)]
    print("section  rules  tested  impossible here")
    for section in sorted({rule.section for rule in RULES}):
        tested, other = rules[section, True], rules[section, False]
        print(f"{section:7}  {tested + other:5}  {tested:6}  {other:5}")
    tested = sum(count for (_, has), count in rules.items() if has)
    print(f"{'all':7}  {len(RULES):5}  {tested:6}  {len(RULES) - tested:5}")
    print(f"places that refuse or report: {len(found)}, reached: {len(found) - len(missed)}")
    unexplained = 0
    allowed = dict(UNREACHED)
    for name, first, _, kind in missed:
        why = allowed.pop((name, kind), None)
        unexplained += why is None
        print(f"not reached: {name}:{first}: {kind}{f' ({why})' if why else ''}")
    return 1 if unexplained else 0


def _hit(place: Place, executed: set[tuple[str, int]]) -> bool:
    name, first, last, _ = place
    return any((name, number) in executed for number in range(first, last + 1))


if __name__ == "__main__":
    raise SystemExit(main())
