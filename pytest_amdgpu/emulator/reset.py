"""A reset of a whole GPU, and what the processes on it see of it.

Order and contents: kgd2kfd_pre_reset and kgd2kfd_post_reset in kfd_device.c, kfd_signal_reset_event in
kfd_events.c of amdkfd.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from pytest_amdgpu.abi.kfd import HsaHwExceptionData, HwExceptionCause, HwResetType
from pytest_amdgpu.emulator.memory import Location

if TYPE_CHECKING:
    from pytest_amdgpu.emulator.gpu import SoftwareGpu
    from pytest_amdgpu.emulator.process import Process


def reset(gpu: SoftwareGpu, processes: Iterable[Process], cause: str, *, memory_lost: bool) -> None:
    """Evict all queues on a GPU for good, clear VRAM if it is lost, and signal HW_EXCEPTION events."""
    gpu.smi.pre_reset(cause)
    data = HsaHwExceptionData(
        HwResetType.WHOLE_GPU_RESET, HwExceptionCause.GPU_HANG, int(memory_lost), gpu.gpu_id
    )
    gpu.vram_losses += memory_lost
    for process in processes:
        device = process.devices[gpu.gpu_id]
        device.evict()
        if memory_lost:
            for bo in device.objects.values():
                if bo.location is Location.VRAM:
                    bo.data[:] = 0
        listeners = process.events.hw_exception(data)
        process.machine.log(
            f"amdgpu {gpu.pci_address}: GPU reset ({cause}), VRAM is {'lost' if memory_lost else 'kept'}; "
            f"{listeners} HW_EXCEPTION events signalled"
        )
    gpu.smi.post_reset()
