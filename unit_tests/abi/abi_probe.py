"""Asks the C compiler for sizes, offsets, request numbers and constants of kernel headers."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import NamedTuple


class Answers(NamedTuple):
    """What the compiler said: values by expression, and the expressions that the headers do not know."""

    values: dict[str, int]
    unknown: set[str]


def ask_compiler(gcc: str, headers: list[str], expressions: list[str], directory: Path) -> Answers:
    """Evaluate constant C expressions.

    One expression stands on each line of the first program, so that the compiler's complaints name
    those that the installed headers are too old for; the second program prints the others.
    """
    includes = "".join(f"#include <{header}>\n" for header in ["stddef.h", "stdio.h", *headers])

    def program(name: str, lines: list[str]) -> Path:
        path = directory / name
        path.write_text(includes + "int main(void) {\n" + "\n".join(lines) + "\nreturn 0;\n}\n")
        return path

    def print_line(expression: str) -> str:
        return f'printf("%lld\\n", (long long)({expression}));'

    # Debian has drm.h only among libdrm's headers, but kfd_ioctl.h asks for the kernel's path of it.
    (directory / "drm").mkdir(exist_ok=True)
    (directory / "drm" / "drm.h").write_text("#include <libdrm/drm.h>\n")
    first_line = includes.count("\n") + 2
    check = program("check.c", [print_line(expression) for expression in expressions])
    flags = ["-I/usr/include/libdrm", "-idirafter", str(directory), "-fmax-errors=0", "-w"]
    found = subprocess.run(
        [gcc, *flags, "-fsyntax-only", str(check)], capture_output=True, text=True, check=False
    )
    errors = {int(line) - first_line for line in re.findall(r"check\.c:(\d+):\d+: error", found.stderr)}
    if found.returncode and not errors:
        raise AssertionError(f"the compiler failed without naming a line:\n{found.stderr}")
    known = [expression for index, expression in enumerate(expressions) if index not in errors]
    source = program("probe.c", [print_line(expression) for expression in known])
    binary = directory / "probe"
    subprocess.run([gcc, *flags, str(source), "-o", str(binary)], check=True)
    printed = subprocess.run([str(binary)], capture_output=True, text=True, check=True).stdout
    values = dict(zip(known, map(int, printed.split()), strict=True))
    return Answers(values, set(expressions) - set(known))
