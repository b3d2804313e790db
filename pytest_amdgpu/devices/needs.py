"""Which devices of a machine have what a test needs of each of its devices, and what the others lack."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pytest_amdgpu.devices.features import FEATURES
from pytest_amdgpu.devices.identity import DeviceInfo
from pytest_amdgpu.families.registry import FAMILIES, family

_UNITS = {"": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
_SIZE = re.compile(r"([0-9]{1,9}) ?(KiB|MiB|GiB|TiB)", re.ASCII)


class NeedsError(ValueError):
    """A need that no device could ever meet, for nobody knows the word; the message says what is allowed."""


@dataclass(frozen=True, slots=True)
class Needs:
    """What each device of a test must be and have. An empty tuple of targets or kinds allows all.

    `kinds` are generations and architectures (`gfx94x`, `CDNA3`), of which a device must be one; of
    `features` it must have all; `vram` is in bytes.
    """

    targets: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    features: tuple[str, ...] = ()
    vram: int = 0

    def lacking(self, device: DeviceInfo) -> str:
        """Say what a device has not; empty if it meets the needs."""
        return ", ".join(self._lacking(device))

    def _lacking(self, device: DeviceInfo) -> Iterator[str]:
        if self.targets and device.target not in self.targets:
            yield f"is no {' or '.join(self.targets)}"
        # One of an unknown stepping counts as its nearest relative, as which it runs.
        kinds = family(device.stand_in or device.target).kinds if self.kinds else ()
        if self.kinds and not set(kinds) & set(self.kinds):
            yield f"is no {' or '.join(self.kinds)}"
        for word in self.features:
            if word not in device.features:
                yield f"{FEATURES[word].lacking} ({word})"
        if device.vram_bytes < self.vram:
            yield f"has {size_text(device.vram_bytes)} of VRAM, less than {size_text(self.vram)}"


def check_words(targets: Sequence[str], kinds: Sequence[str], features: Sequence[str]) -> None:
    """Raise `NeedsError` for a word that is unknown: mistyped, it would keep a test from ever running.

    For a target it is `UnknownFamilyError`.
    """
    for target in targets:
        family(target)
    for words, known, what in (
        (kinds, all_kinds(), "family or generation"),
        (features, list(FEATURES), "feature"),
    ):
        for word in words:
            if word not in known:
                raise NeedsError(f"unknown {what} {word!r}; known: {', '.join(known)}")


def all_kinds() -> list[str]:
    """Return the generations and architectures that there are."""
    return list(dict.fromkeys(word for row in FAMILIES for word in row.kinds))


def parse_size(text: str) -> int:
    """Return the bytes that a text such as `16GiB` stands for; raises `NeedsError`."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise NeedsError(f"{text!r} is not a size such as 16GiB, with KiB, MiB, GiB or TiB")
    return int(match[1]) * _UNITS[match[2]]


def size_text(size: int) -> str:
    """Return bytes in the largest unit that leaves at least 1."""
    unit = max((name for name, factor in _UNITS.items() if factor <= max(size, 1)), key=_UNITS.__getitem__)
    return f"{size / _UNITS[unit]:.4g} {unit or 'bytes'}"


def choose_devices(
    needs: Needs, selected: Sequence[DeviceInfo], pool: Sequence[DeviceInfo]
) -> list[tuple[DeviceInfo, str]]:
    """Return the devices that a test of one device runs on, each with what it lacks, or empty.

    Those are the selected ones. If none of them will do, it is the first of `pool` that will: the run is not
    bound to the selected ones where there are more.
    """
    judged = [(device, needs.lacking(device)) for device in selected]
    if all(lack for _, lack in judged):
        for device in pool:
            if not needs.lacking(device):
                return [(device, "")]
    return judged
