"""Attributes of shared virtual memory through amdkfd's SVM ioctl (kfd_svm.c)."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Sequence

from pytest_amdgpu.abi.kfd import KfdIoctl, SvmArgs, SvmAttribute, SvmAttributeType, SvmOp
from pytest_amdgpu.driver.kfd_memory import KfdCaller

Attributes = Sequence[tuple[SvmAttributeType, int]]

_SIZE_SHIFT = 16


@functools.cache
def _sized(count: int) -> type[SvmArgs]:
    return type("SvmArgsWithAttributes", (SvmArgs,), {"_fields_": (("list", SvmAttribute * count),)})


def _call(
    process: KfdCaller, op: SvmOp, address: int, size: int, attributes: Attributes
) -> list[SvmAttribute]:
    """Do the ioctl, whose request must say the size with the attributes: the kernel copies no more."""
    arguments = _sized(len(attributes))(start_addr=address, size=size, op=op, nattr=len(attributes))
    entries: list[SvmAttribute] = list(arguments.list)
    for entry, (kind, value) in zip(entries, attributes, strict=True):
        entry.type, entry.value = kind, value
    request = KfdIoctl.SVM + (ctypes.sizeof(SvmAttribute) * len(attributes) << _SIZE_SHIFT)
    process.kernel.ioctl(process.fd, request, arguments)
    return entries


def set_attributes(process: KfdCaller, address: int, size: int, attributes: Attributes) -> None:
    """Set attributes of [address, address + size), which are whole pages that the process has mapped."""
    _call(process, SvmOp.SET_ATTR, address, size, attributes)


def get_attributes(
    process: KfdCaller, address: int, size: int, attributes: Attributes
) -> list[tuple[SvmAttributeType, int]]:
    """Return what all of [address, address + size) has in common.

    An access attribute asks for the GPU that is its value and comes back as the type of access it has.
    """
    entries = _call(process, SvmOp.GET_ATTR, address, size, attributes)
    return [(SvmAttributeType(entry.type), int(entry.value)) for entry in entries]
