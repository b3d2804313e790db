"""Finds the row of a gfx target, by its name or by one of its numbers."""

from __future__ import annotations

import functools
import re

from pytest_amdgpu.families.family import Family
from pytest_amdgpu.families.rows import FAMILIES

__all__ = [
    "FAMILIES",
    "Family",
    "UnknownFamilyError",
    "family",
    "family_by_elf_mach",
    "family_by_version",
    "nearest_family",
    "target_name",
    "target_version",
]


class UnknownFamilyError(ValueError):
    """No row for a gfx target; the message lists the known ones."""


@functools.cache
def _by_name() -> dict[str, Family]:
    return {row.name: row for row in FAMILIES}


def family(name: str) -> Family:
    """Return the row of a target such as `gfx942`; raises `UnknownFamilyError`, which names a relative."""
    try:
        return _by_name()[name]
    except KeyError:
        relative = _relative(target_version(name)) if is_target(name) else None
        hint = f"; its nearest relative is {relative.name}" if relative else ""
        raise UnknownFamilyError(
            f"unknown gfx target {name!r}; known: {', '.join(_by_name())}{hint}"
        ) from None


def family_by_version(gfx_target_version: int) -> Family:
    """Return the row for sysfs' `gfx_target_version`; raises `UnknownFamilyError`, which names a relative."""
    for row in FAMILIES:
        if row.gfx_target_version == gfx_target_version:
            return row
    relative = _relative(gfx_target_version)
    raise UnknownFamilyError(
        f"unknown gfx target {target_name(gfx_target_version)!r} (gfx_target_version {gfx_target_version});"
        f" known: {', '.join(f'{row.gfx_target_version} ({row.name})' for row in FAMILIES)};"
        f" {f'its nearest relative is {relative.name}' if relative else 'none of them is a near relative'}"
    )


def target_name(gfx_target_version: int) -> str:
    """Return the name that sysfs' number stands for: minor version and stepping are hexadecimal digits."""
    major, minor, stepping = (
        gfx_target_version // 10000,
        gfx_target_version // 100 % 100,
        gfx_target_version % 100,
    )
    return f"gfx{major}{minor:x}{stepping:x}"


_TARGET = re.compile(r"gfx(9|1[0-9])([0-9a-f])([0-9a-f])")


def is_target(name: str) -> bool:
    """Whether a name has the form of a gfx target's, known or not."""
    return _TARGET.fullmatch(name) is not None


def target_version(name: str) -> int:
    """Return sysfs' number of a target's name; raises `UnknownFamilyError` for what is no such name."""
    match = _TARGET.fullmatch(name)
    if match is None:
        raise UnknownFamilyError(f"{name!r} is not a gfx target; known: {', '.join(_by_name())}")
    return int(match[1]) * 10000 + int(match[2], 16) * 100 + int(match[3], 16)


_NO_RELATIVES = (9, 0)
"""The targets gfx90x are architectures of their own, Vega and CDNA, whose instructions differ: LLVM's generic
target gfx9-generic has no gfx908 and no gfx90a in it (AMDGPUUsage)."""


def nearest_family(gfx_target_version: int) -> Family:
    """Return the row of a target, or of the known one with the nearest stepping of the same major and minor.

    Of two that are as near it is the lower. Raises `UnknownFamilyError` where there is no such relative.
    """
    return _relative(gfx_target_version) or family_by_version(gfx_target_version)


def _relative(gfx_target_version: int) -> Family | None:
    generation, stepping = divmod(gfx_target_version, 100)
    relatives = [
        row
        for row in FAMILIES
        if row.gfx_target_version == gfx_target_version
        or (row.gfx_target_version // 100 == generation and row.gfx_version[:2] != _NO_RELATIVES)
    ]
    return min(relatives, key=lambda row: abs(row.gfx_version[2] - stepping), default=None)


def family_by_elf_mach(elf_mach: int) -> Family:
    """Return the row for EF_AMDGPU_MACH of a code object's ELF header; raises `UnknownFamilyError`."""
    for row in FAMILIES:
        if row.elf_mach == elf_mach:
            return row
    raise UnknownFamilyError(
        f"unknown EF_AMDGPU_MACH {elf_mach:#x};"
        f" known: {', '.join(f'{row.elf_mach:#x} ({row.name})' for row in FAMILIES)}"
    )
