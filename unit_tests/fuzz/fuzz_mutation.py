"""Small changes to text and bytes, of the kind that people, truncation and bit flips make."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

NUMBERS = (
    *("0", "-1", "1", "7", "255", "65536", "2147483648", "4294967295", "4294967296", "9223372036854775808"),
    *(
        "18446744073709551615",
        "18446744073709551616",
        "1" + "0" * 30,
        "1" * 5000,
        "1.5",
        "-0",
        "1e400",
        "nan",
    ),
    *("0x10", "010", "1_0", "\u0661\u0662", "true", "", "abc", "'", '"', "[]", "[1]", "{}", "\x00", "\ud800"),
)
"""What to put in the place of a number; the last is what undecodable bytes of a file become."""

INTERESTING = (0, 1, 2, 0x7F, 0x80, 0xFF)
_NUMBER = re.compile(r"\d+")
_LETTERS = "01[]{}=\"'#\n ,.-_aZ\t\x00\u20ac"


def mutated_text(rng: random.Random, text: str) -> str:
    """Return a text with a few changes."""
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        text = rng.choice(_TEXT_CHANGES)(rng, text)
    return text


def _number(rng: random.Random, text: str) -> str:
    found = list(_NUMBER.finditer(text))
    if not found:
        return text + rng.choice(NUMBERS)
    place = rng.choice(found)
    return text[: place.start()] + rng.choice(NUMBERS) + text[place.end() :]


def _numbers(rng: random.Random, text: str) -> str:
    """Change one number into one that is close to another."""
    found = [match.group() for match in _NUMBER.finditer(text)]
    if not found:
        return text
    old, new = rng.choice(found), int(rng.choice(found)[:30]) + rng.choice((-1, 0, 1, 64))
    return text.replace(old, str(new), 1)


def _lines(rng: random.Random, text: str) -> str:
    lines = text.splitlines(keepends=True) or [""]
    index, other = rng.randrange(len(lines)), rng.randrange(len(lines))
    change = rng.randrange(4)
    if change == 0:
        del lines[index]
    elif change == 1:
        lines.insert(other, lines[index])
    elif change == 2:
        lines[index], lines[other] = lines[other], lines[index]
    else:
        lines[index] = lines[index].rpartition(" ")[0] + "\n"
    return "".join(lines)


def _letters(rng: random.Random, text: str) -> str:
    at = rng.randrange(len(text) + 1)
    return text[:at] + rng.choice(_LETTERS) * rng.choice((0, 1, 1, 3)) + text[at + rng.choice((0, 1, 1, 9)) :]


def _cut(rng: random.Random, text: str) -> str:
    return text[: rng.randrange(len(text) + 1)]


_TEXT_CHANGES = (_number, _number, _number, _numbers, _lines, _lines, _letters, _cut)


def mutated_bytes(rng: random.Random, data: bytes, places: Sequence[int] = ()) -> bytes:
    """Return bytes with a few changes, half of them at `places` if there are any."""
    result = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4, 16))):
        if not result:
            return bytes(result)
        near = rng.choice(places) if places and rng.random() < 0.5 else rng.randrange(len(result))
        at = min(near, len(result) - 1)
        change = rng.random()
        if change < 0.4:
            result[at] ^= 1 << rng.randrange(8)
        elif change < 0.6:
            result[at] = rng.choice(INTERESTING)
        elif change < 0.75:
            result[at : at + 8] = rng.choice(
                (0, 1, 0xFFFFFFFF, 1 << 40, (1 << 64) - 1, rng.getrandbits(64))
            ).to_bytes(8, "little")
        elif change < 0.85:
            size = rng.randrange(1, 64)
            result[at : at + size] = rng.randbytes(size)
        elif change < 0.95:
            source, size = rng.randrange(len(result)), rng.randrange(1, 64)
            result[at : at + size] = result[source : source + size]
        else:
            del result[at:]
    return bytes(result)
