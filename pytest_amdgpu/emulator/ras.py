"""Memory errors: what poisoned memory does to who reads it.

Sources: event_interrupt_poison_consumption_v9 in kfd_int_process_v9.c, kfd_signal_poison_consumed_event in
kfd_events.c, amdgpu_umc_pasid_poison_handler in amdgpu_umc.c, amdgpu_ras_poison_consumption_handler in
amdgpu_ras.c.
"""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING

from pytest_amdgpu.abi.kfd import (
    HsaHwExceptionData,
    HsaMemoryExceptionData,
    HwExceptionCause,
    HwResetType,
    MemoryErrorType,
    MemoryExceptionFailure,
)
from pytest_amdgpu.emulator import fault_log
from pytest_amdgpu.emulator.memory import BufferObject, Location
from pytest_amdgpu.emulator.reset import reset
from pytest_amdgpu.families.registry import FAMILIES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pytest_amdgpu.emulator.gpu import SoftwareGpu
    from pytest_amdgpu.emulator.process import Process, ProcessDevice

_CLIENT_SDMA0, _CLIENT_SE0SH = 8, 10
"""Who raises the interrupt, by soc15_ih_clientid.h: an SDMA engine, or the waves of a shader engine."""
RESET_CAUSE = "RAS error"


def poison(gpu: SoftwareGpu, processes: Iterable[Process], address: int, size: int) -> None:
    """Destroy `size` bytes of VRAM from `address` on, where a process has them mapped on `gpu`.

    ValueError for a GPU that does not know poison, and for an address that is not VRAM of it.
    """
    if not gpu.family.kernel.poison:
        able = ", ".join(row.name for row in FAMILIES if row.kernel.poison)
        raise ValueError(f"{gpu!r} knows no poison; {able} do")
    if size <= 0:
        raise ValueError(f"cannot poison {size} bytes")
    processes = list(processes)
    bo, offset = _find(gpu, processes, address, size)
    bo.poison.append((offset, offset + size))
    _refind(processes)


def _find(gpu: SoftwareGpu, processes: list[Process], address: int, size: int) -> tuple[BufferObject, int]:
    for process in processes:
        mapping = process.devices[gpu.gpu_id].space.find(address)
        if mapping is not None and address + size <= mapping.end:
            if mapping.bo.location is not Location.VRAM or mapping.bo.home != gpu.gpu_id:
                raise ValueError(f"{mapping!r} is not VRAM of {gpu!r}")
            return mapping.bo, address - mapping.start
    raise ValueError(f"no process has {size} bytes mapped at {address:#x} on {gpu!r}")


def _refind(processes: Iterable[Process]) -> None:
    for process in processes:
        for device in process.devices.values():
            device.space.find_poison()


def consume_poison(device: ProcessDevice, *, sdma: bool) -> None:
    """Tell a process, once in its life, that it has read poison, and have the GPU reset.

    Its HW_EXCEPTION and MEMORY events are signalled, its first thread gets SIGBUS, and later (with the
    client's next call) the GPU is reset. With present firmware that is a mode-2 reset, which keeps VRAM;
    the bad pages are retired.
    """
    gpu, process = device.gpu, device.process
    with process.lock_poison:
        if process.poison_consumed:
            return
        process.poison_consumed = True
    machine = process.machine
    client = _CLIENT_SDMA0 if sdma else _CLIENT_SE0SH
    hardware = HsaHwExceptionData(HwResetType.WHOLE_GPU_RESET, HwExceptionCause.ECC, 1, gpu.gpu_id)
    memory = HsaMemoryExceptionData(
        MemoryExceptionFailure(imprecise=1), 0, gpu.gpu_id, MemoryErrorType.POISON_CONSUMED
    )
    machine.log(f"amdgpu {gpu.pci_address}: Send SIGBUS to process {fault_log.task()}(pasid:{process.pasid})")
    main = threading.main_thread().ident
    assert main is not None
    # Amdkfd signals the events just before it; this way who wakes finds the signal for certain.
    signal.pthread_kill(main, signal.SIGBUS)
    process.events.memory_error(memory, hardware)
    machine.log(f"amdgpu {gpu.pci_address}: poison is consumed by client {client}, the GPU will be reset")
    machine.due.append(lambda: _reset_after_poison(gpu, process))


def _reset_after_poison(gpu: SoftwareGpu, process: Process) -> None:
    machine = process.machine
    reset(gpu, machine.processes, RESET_CAUSE, memory_lost=False, cause=HwExceptionCause.ECC)
    for other in machine.processes:
        for bo in other.devices[gpu.gpu_id].objects.values():
            bo.poison.clear()
    _refind(machine.processes)
