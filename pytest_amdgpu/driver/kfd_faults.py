"""What went wrong on a GPU, as amdkfd tells it: memory faults, resets, and queues that stopped.

The kernel tells the first two by events of their own kind, and what stops a queue by ORing a bit into a
word that the queue's save area points to, and signalling an event that it names (kfd_events.c,
kfd_debug.c). All of them are listened for whenever anything is waited for.
"""

from __future__ import annotations

import ctypes
import errno
import math
import time
from contextlib import ExitStack

from pytest_amdgpu.abi.kfd import (
    EventData,
    EventType,
    HsaHwExceptionData,
    HsaMemoryExceptionData,
    HwExceptionCause,
    HwResetType,
    KfdIoctl,
    MemoryErrorType,
    WaitEventsArgs,
)
from pytest_amdgpu.abi.kfd_debug import ExceptionCode
from pytest_amdgpu.driver.backend import Event, Fault
from pytest_amdgpu.driver.kfd_process import KfdProcess
from pytest_amdgpu.driver.topology import GpuNode
from pytest_amdgpu.kernel.protocol import KernelError

_LONGEST_WAIT_MS = 0xFFFFFFFE
"""One more would mean for ever."""


class FaultListener:
    """Waits for events of one GPU and, at the same time, for its faults."""

    def __init__(self, process: KfdProcess, node: GpuNode) -> None:
        self._process = process
        self._node = node
        self._watched: dict[int, str] = {}
        self._queue_error_age = 1
        self.faults: list[Fault] = []
        """Faults seen, oldest first."""
        with ExitStack() as undo:
            events = []
            for kind in (EventType.MEMORY, EventType.HW_EXCEPTION, EventType.SIGNAL):
                event = process.create_event(node, kind)
                undo.callback(process.destroy_event, event)
                events.append(event)
            self._events = events
            self._undo = undo.pop_all()

    @property
    def queue_error_event(self) -> int:
        """Id of the event that queues name for their errors."""
        return self._events[2].event_id

    def close(self) -> None:
        """Destroy the events."""
        self._undo.close()

    def watch(self, payload_address: int, name: str) -> None:
        """Look for errors of a queue in the 64-bit word at `payload_address`."""
        self._watched[payload_address] = name

    def unwatch(self, payload_address: int) -> None:
        """Look a last time."""
        self._collect_queue_errors()
        del self._watched[payload_address]

    def record(self, fault: Fault) -> None:
        """Add a fault, unless it was told before (to another thread that waited)."""
        if fault not in self.faults:
            self.faults.append(fault)
        if fault.queue is None:
            # Evicted for good, and so is what the process creates later (`is_evicted`, create_queue_cpsch).
            self._process.spoiled = self._process.spoiled or fault.text

    def wait(self, event: Event | None, age: int, timeout: float) -> int:
        """Sleep until `event` was signalled since `age`, a fault arrived, or `timeout` seconds passed.

        Returns the event's age. A signal of the process interrupts the call; it goes on for what is left of
        the time when the signal's handler has returned.
        """
        wanted = [*self._events, event] if event is not None else self._events
        data = (EventData * len(wanted))(*(EventData(event_id=one.event_id) for one in wanted))
        data[2].signal_event_data.last_event_age = self._queue_error_age
        data[-1].signal_event_data.last_event_age = age if event is not None else self._queue_error_age
        self._wait(WaitEventsArgs(events_ptr=ctypes.addressof(data), num_events=len(wanted)), timeout)
        self._collect_faults(data[0], data[1])
        queue_error_age = int(data[2].signal_event_data.last_event_age)
        if queue_error_age != self._queue_error_age:
            self._queue_error_age = queue_error_age
            self._collect_queue_errors()
        return int(data[-1].signal_event_data.last_event_age)

    def _wait(self, arguments: WaitEventsArgs, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while True:
            remaining = max(deadline - time.monotonic(), 0.0)
            arguments.timeout = min(math.ceil(remaining * 1000), _LONGEST_WAIT_MS)
            try:
                self._process.ioctl(KfdIoctl.WAIT_EVENTS, arguments)
            except KernelError as error:
                if error.errno != errno.EINTR:
                    raise
            else:
                return

    def _collect_faults(self, memory: EventData, reset: EventData) -> None:
        """Take what the kernel told. It tells the listeners of all GPUs.

        Memory faults of others are left to them; a reset of another GPU stops the queues of this one, too
        (kgd2kfd_suspend evicts all of a process).
        """
        fault, exception = memory.memory_exception_data, reset.hw_exception_data
        told = False
        if fault.gpu_id == self._node.gpu_id:
            told = fault.ErrorType != MemoryErrorType.NO_RAS
            self.record(_poison_fault(fault, self._node) if told else _memory_fault(fault, self._node))
        ours = exception.gpu_id == self._node.gpu_id
        if exception.gpu_id and not ours:
            self.record(_reset_elsewhere(exception, self._node))
        # For a memory error the kernel signals both events, before there was a reset
        # (kfd_signal_poison_consumed_event), and the reset that follows says the same once more.
        if ours and not (told and exception.reset_cause == HwExceptionCause.ECC):
            self.record(_reset_fault(exception, self._node))

    def _collect_queue_errors(self) -> None:
        for address, name in list(self._watched.items()):
            word = ctypes.c_uint64.from_address(address)
            mask, word.value = word.value, 0
            if mask:
                codes = [bit + 1 for bit in range(64) if mask >> bit & 1]
                text = (
                    f"{name} of GPU {self._node.identity} stopped: {', '.join(map(_exception_name, codes))}"
                )
                self.record(Fault("queue", text, queue=name))


def _exception_name(code: int) -> str:
    try:
        return f"{ExceptionCode(code).name.lower().replace('_', ' ')} (code {code})"
    except ValueError:
        return f"unknown exception code {code}"


def _reset_fault(data: HsaHwExceptionData, node: GpuNode) -> Fault:
    """Say what HW_EXCEPTION tells.

    amdkfd fills the event in the same way (whole GPU, memory lost) whether it has reset the GPU or, where
    it can, only queues of this process that hung (kfd_signal_reset_event); the kernel's log tells which.
    """
    whole = data.reset_type == HwResetType.WHOLE_GPU_RESET
    what = (
        f"GPU {node.identity}, or a queue of this process on it,"
        if whole
        else f"a queue of GPU {node.identity}"
    )
    cause = {HwExceptionCause.GPU_HANG: "hung", HwExceptionCause.ECC: "had a memory error"}.get(
        data.reset_cause, f"failed for cause {data.reset_cause}"
    )
    lost = "is given up as lost" if data.memory_lost else "was kept"
    text = f"{what} {cause} and was reset; memory {lost} (the kernel's log may say more)"
    return Fault("reset", text, memory_lost=bool(data.memory_lost))


def _reset_elsewhere(data: HsaHwExceptionData, node: GpuNode) -> Fault:
    text = (
        f"the kernel has reset another GPU (gpu_id {data.gpu_id:#x}) or queues of this process on it; a "
        f"reset of a GPU also stops the queues of this process on GPU {node.identity}"
    )
    return Fault("reset", text)


def _poison_fault(data: HsaMemoryExceptionData, node: GpuNode) -> Fault:
    """Say what a MEMORY event with an error type tells: there is no address to it."""
    names = {kind.value: kind.name.lower().replace("_", " ") for kind in MemoryErrorType}
    text = (
        f"GPU {node.identity} met an uncorrectable error of its memory "
        f"({names.get(data.ErrorType, f'error type {data.ErrorType}')}); the kernel resets it"
    )
    return Fault("poison", text, memory_lost=True)


def _memory_fault(data: HsaMemoryExceptionData, node: GpuNode) -> Fault:
    """Say what MEMORY tells.

    NotPresent and ReadOnly are bits of the interrupt (event_interrupt_wq_v9): the second one is set for any
    write, also to an absent page. For a fetch of instructions from memory without that right neither is,
    and amdkfd never sets NoExecute.
    """
    failure = data.failure
    causes = []
    if failure.NotPresent:
        causes.append("page not present" + " (at a write)" * bool(failure.ReadOnly))
    elif failure.ReadOnly:
        causes.append("write to a read-only page")
    if failure.NoExecute:
        causes.append("page not executable")
    if failure.imprecise:
        causes.append("address imprecise")
    cause = ", ".join(causes) or "no cause given, as for instructions in a page that is not executable"
    return Fault("memory", f"memory fault on GPU {node.identity} at {data.va:#x}: {cause}", int(data.va))
