"""Options of defects: what a value may be, and from text to value."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

MAX_SEED = (1 << 32) - 1


class Option(NamedTuple):
    """One option of a defect. `parse` raises ValueError for a text that is not `allowed`."""

    name: str
    allowed: str
    """What a value may be, with its unit."""
    default: str
    """The text of the default; empty for none."""
    summary: str
    parse: Callable[[str], Any]

    def value(self, text: str) -> Any:
        """Return what a text stands for; raises ValueError that names the option and what is allowed."""
        try:
            return self.parse(text)
        except (ValueError, re.error) as error:
            why = f" ({error})" if isinstance(error, re.error) else ""
            raise ValueError(f"{self.name} is {self.allowed}, not {text!r}{why}") from None


def number(lowest: int, highest: int) -> Callable[[str], int]:
    """Return a parser of whole numbers, decimal or with a prefix such as 0x."""

    def parse(text: str) -> int:
        value = int(text, 0)
        if not lowest <= value <= highest:
            raise ValueError
        return value

    return parse


def fraction(highest: float) -> Callable[[str], float]:
    """Return a parser of numbers from 0 on."""

    def parse(text: str) -> float:
        value = float(text)
        if not 0 <= value <= highest or math.isnan(value):
            raise ValueError
        return value

    return parse


def count_or_all(text: str) -> int | None:
    """Return a count from 1 on, or None for `all`."""
    return None if text == "all" else number(1, 1 << 31)(text)


def one_of(names: Sequence[str]) -> Callable[[str], str]:
    """Return a parser of one of some words."""

    def parse(text: str) -> str:
        if text not in names:
            raise ValueError
        return text

    return parse


def choice(name: str, names: Sequence[str], default: str, summary: str) -> Option:
    """Return an option whose value is one of some words."""
    return Option(name, f"one of {', '.join(names)}", default, summary, one_of(names))


PHASES = ("any", "setup", "call", "teardown")

COMMON = (
    Option("after", "a number from 1 on", "1", "happen at this occasion first", number(1, 1 << 31)),
    Option("times", "a number from 1 on, or all", "1", "how often it happens", count_or_all),
    Option(
        "probability", "a number from 0 to 1", "1", "happen at an occasion with this probability", fraction(1)
    ),
    Option("seed", f"a number from 0 to {MAX_SEED}", "0", "of the probability", number(0, MAX_SEED)),
    Option(
        "test",
        "a regular expression",
        "",
        "only while a test runs in whose id this is found; without it: at any time",
        lambda text: re.compile(text) if text else None,
    ),
    choice("phase", PHASES, "any", "only in this phase of a test"),
)
"""Options that every defect has."""
