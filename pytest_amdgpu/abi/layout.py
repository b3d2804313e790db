"""A compact way to write down the members of a C structure for ctypes."""

from __future__ import annotations

import ctypes
from typing import Any

_TYPES: dict[str, Any] = {
    "u8": ctypes.c_uint8,
    "u16": ctypes.c_uint16,
    "u32": ctypes.c_uint32,
    "s32": ctypes.c_int32,
    "u64": ctypes.c_uint64,
    "s64": ctypes.c_int64,
}


def members(*declarations: str | tuple[str, Any]) -> list[tuple[str, Any]]:
    """Return `_fields_` from declarations such as `"u32 gpu_id pad"`.

    A declaration is a type and names in memory order, or a pair of name and ctypes type for members
    that are structures, unions or arrays.
    """
    fields: list[tuple[str, Any]] = []
    for declaration in declarations:
        if isinstance(declaration, tuple):
            fields.append(declaration)
        else:
            type_name, *names = declaration.split()
            fields.extend((name, _TYPES[type_name]) for name in names)
    return fields
