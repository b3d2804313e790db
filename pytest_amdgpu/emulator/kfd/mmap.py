"""What can be mapped of `/dev/kfd`: doorbells, the events page, the HDP flush page, the trap handler page.

Rules of kfd_mmap in amdkfd's kfd_chardev.c: bits 63:62 of the offset say what, bits 61:46 on which GPU.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from pytest_amdgpu.abi.kfd import (
    DOORBELL_SLICE,
    EVENT_PAGE_SIZE,
    MMAP_GPU_ID_SHIFT,
    MMAP_TYPE_SHIFT,
    MmapType,
)
from pytest_amdgpu.emulator.memory import PAGE_SIZE
from pytest_amdgpu.emulator.refusal import Refusal

if TYPE_CHECKING:
    from pytest_amdgpu.emulator.arena import HostMemory
    from pytest_amdgpu.emulator.process import Process

TRAP_PAGES_SIZE = 2 * PAGE_SIZE
"""First-level trap handler and its memory (KFD_CWSR_TBA_TMA_SIZE)."""


def kfd_mmap(process: Process, length: int, offset: int) -> tuple[HostMemory, object]:
    """Return the memory to map and whose it is; `length` in whole pages. Raises Refusal."""
    if os.getpid() != process.pid:
        raise Refusal(errno.EBADF, f"opened by process {process.pid}, mapped by {os.getpid()}")
    kind = MmapType(offset >> MMAP_TYPE_SHIFT & 3)
    if kind is MmapType.EVENTS:
        return _event_page(process, length)
    gpu_id = offset >> MMAP_GPU_ID_SHIFT & 0xFFFF
    device = process.devices.get(gpu_id)
    if device is None:
        raise Refusal(errno.ENODEV, f"there is no GPU with gpu_id {gpu_id}")
    size = {
        MmapType.DOORBELL: DOORBELL_SLICE,
        MmapType.MMIO: PAGE_SIZE,
        MmapType.RESERVED_MEM: TRAP_PAGES_SIZE,
    }[kind]
    if length != size:
        raise Refusal(errno.EINVAL, f"{kind.name} is {size} bytes, not {length}")
    try:
        if kind is MmapType.DOORBELL:
            return device.doorbells.memory, device.doorbells
        if kind is MmapType.MMIO:
            return device.mmio_page, device
        return process.machine.arena.allocate(size), device
    except OSError as error:
        raise Refusal(errno.ENOMEM, f"the host refuses {size} bytes: {error}") from None


def _event_page(process: Process, length: int) -> tuple[HostMemory, object]:
    if process.event_page is None:
        raise Refusal(errno.EINVAL, "the process has no events page yet")
    if length > EVENT_PAGE_SIZE:
        raise Refusal(errno.EINVAL, f"the events page is {EVENT_PAGE_SIZE} bytes, not {length}")
    # Runtimes may only use the slots that they have mapped, so the size tells how many that is.
    process.events.slot_limit = length // 8
    return process.event_page, process.events
