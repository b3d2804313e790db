"""A reset of a whole GPU, and what the processes of the machine see of it.

Order and contents: kgd2kfd_pre_reset, kgd2kfd_suspend and kgd2kfd_post_reset in kfd_device.c,
kfd_suspend_all_processes in kfd_process.c, kfd_signal_reset_event in kfd_events.c of amdkfd.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pytest_amdgpu.abi.kfd import (
    HsaHwExceptionData,
    HsaMemoryExceptionData,
    HwExceptionCause,
    HwResetType,
    MemoryErrorType,
    MemoryExceptionFailure,
    QueueEvictionTrigger,
)
from pytest_amdgpu.emulator.memory import Location
from pytest_amdgpu.emulator.refusal import Refusal

if TYPE_CHECKING:
    from pytest_amdgpu.emulator.gpu import SoftwareGpu
    from pytest_amdgpu.emulator.kfd.queue import Queue
    from pytest_amdgpu.emulator.process import Process, ProcessDevice


def reset(
    gpu: SoftwareGpu,
    processes: Sequence[Process],
    source: str,
    *,
    memory_lost: bool,
    cause: HwExceptionCause = HwExceptionCause.GPU_HANG,
) -> None:
    """Reset a GPU: the queues of all processes are evicted for good, on all GPUs, and events tell of it.

    Amdkfd suspends every process as a whole and never resumes those that were there. The event says that
    memory is lost whether VRAM is (`memory_lost`, told by VRAM_LOST_COUNTER) or not. For a memory error
    MEMORY events are signalled, too.
    """
    gpu.smi.pre_reset(source)
    for process in processes:
        process.evict_all(QueueEvictionTrigger.TRIGGER_SUSPEND)
    gpu.vram_losses += memory_lost
    gpu.scheduler_hangs = False
    hardware = HsaHwExceptionData(HwResetType.WHOLE_GPU_RESET, cause, 1, gpu.gpu_id)
    memory = HsaMemoryExceptionData(
        MemoryExceptionFailure(imprecise=1), 0, gpu.gpu_id, MemoryErrorType.SRAM_ECC
    )
    for process in processes:
        if memory_lost:
            for bo in process.devices[gpu.gpu_id].objects.values():
                if bo.location is Location.VRAM:
                    bo.data[:] = 0
        if cause is HwExceptionCause.ECC:
            listeners = process.events.memory_error(memory, hardware)
        else:
            listeners = process.events.hw_exception(hardware)
        process.machine.log(
            f"amdgpu {gpu.pci_address}: GPU reset ({source}), VRAM is {'lost' if memory_lost else 'kept'}; "
            f"all queues of process pid {process.pid} (pasid {process.pasid}) are evicted for good, on all "
            f"GPUs; {listeners} events signalled"
        )
    gpu.smi.post_reset()


def require_update(queue: Queue) -> None:
    """Refuse a change of a queue, which must be off the hardware for it, as `require_scheduler` does.

    HWS takes all queues off, MES only this one if it is on (update_queue in kfd_device_queue_manager.c).
    """
    if queue.active or not queue.device.gpu.uses_mes:
        require_scheduler(queue.device)


def require_scheduler(device: ProcessDevice) -> None:
    """Refuse with ETIME what must preempt the queues of a GPU whose scheduler hangs, and reset the GPU soon.

    unmap_queues_cpsch and kfd_hws_hang in kfd_device_queue_manager.c. Where nothing runs there is nothing to
    preempt. Of MES, whose calls fail in add_queue_mes and remove_queue_mes, the errno is not verified.
    """
    gpu, machine = device.gpu, device.process.machine
    busy = any(
        queue.active for process in machine.processes for queue in process.devices[gpu.gpu_id].queues.values()
    )
    if not gpu.scheduler_hangs or not busy:
        return
    source = "MES hang" if gpu.uses_mes else "HWS hang"
    machine.log(
        f"amdgpu {gpu.pci_address}: preempting the queues has timed out ({source}), the GPU will be reset"
    )
    machine.due.append(lambda: reset(gpu, machine.processes, source, memory_lost=True))
    raise Refusal(errno.ETIME, f"the scheduler of {gpu!r} does not answer")
