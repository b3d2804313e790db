"""What amdkfd keeps for a debugger: exceptions raised and not yet cleared, and who wants to hear of them.

Rules: kfd_debug.c of amdkfd. A software GPU raises what its packet processors and page tables notice; the
exceptions of waves reach the kernel through a trap handler, which software GPUs do not run.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pytest_amdgpu.abi.kfd_debug import ExceptionCode

if TYPE_CHECKING:
    from pytest_amdgpu.abi.kfd import HsaMemoryExceptionData
    from pytest_amdgpu.emulator.kfd.queue import Queue
    from pytest_amdgpu.emulator.process import Process, ProcessDevice

_PROCESS_CODES = (ExceptionCode.PROCESS_RUNTIME, ExceptionCode.PROCESS_DEVICE_REMOVE)


def bit(code: ExceptionCode) -> int:
    """Return the bit of an exception in a mask."""
    return 1 << (code - 1)


def is_queue_code(code: int) -> bool:
    """Whether an exception belongs to a queue."""
    return code in tuple(ExceptionCode) and 0 < code < ExceptionCode.DEVICE_QUEUE_DELETE


def is_device_code(code: int) -> bool:
    """Whether an exception belongs to a GPU."""
    return ExceptionCode.DEVICE_QUEUE_DELETE <= code <= ExceptionCode.DEVICE_NEW


def is_process_code(code: int) -> bool:
    """Whether an exception belongs to the process as a whole."""
    return code in _PROCESS_CODES


class Debug:
    """The debugger's view of one process. Software processes are debugged by themselves only."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self.subscribed = 0
        """Exceptions that the debugger wants to be told of, by `bit`."""
        self.exceptions = 0
        """Exceptions of the process as a whole."""
        self._notify_fd: int | None = None

    @property
    def enabled(self) -> bool:
        """Whether a debugger is attached."""
        return self._notify_fd is not None

    @property
    def activated(self) -> bool:
        """Whether queues are prepared for debugging: a debugger is attached and the runtime is enabled."""
        return self.enabled and self._process.runtime_enabled

    def enable(self, fd: int, subscribed: int) -> None:
        """Attach; `fd` gets a byte whenever a wanted exception is raised. OSError if it is not open."""
        self._notify_fd = os.dup(fd)
        self.subscribed = subscribed

    def disable(self) -> None:
        """Detach, and forget all exceptions."""
        if self._notify_fd is not None:
            os.close(self._notify_fd)
            self._notify_fd = None
        self.exceptions = 0
        for device in self._process.devices.values():
            device.exceptions, device.memory_violation = 0, None
        for queue in list(self._process.queues.values()):
            queue.exceptions = 0

    def raise_on_queue(self, queue: Queue, code: ExceptionCode) -> bool:
        """Raise an exception of a queue; True if a debugger takes it."""
        if not self.enabled:
            return False
        queue.exceptions |= bit(code)
        return self._tell(code)

    def raise_memory_violation(self, device: ProcessDevice, data: HsaMemoryExceptionData) -> bool:
        """Raise a page fault on a GPU, of which the first is remembered; True if a debugger takes it."""
        if not self.enabled:
            return False
        device.exceptions |= bit(ExceptionCode.DEVICE_MEMORY_VIOLATION)
        device.memory_violation = device.memory_violation or data
        return self._tell(ExceptionCode.DEVICE_MEMORY_VIOLATION)

    def raise_on_process(self, code: ExceptionCode) -> bool:
        """Raise an exception of the process; True if a debugger takes it."""
        if not self.enabled:
            return False
        self.exceptions |= bit(code)
        return self._tell(code)

    def subscribe(self, mask: int) -> None:
        """Choose the exceptions to be told of; those that were raised already are told at once."""
        raised = self.exceptions
        for device in self._process.devices.values():
            raised |= device.exceptions
        for queue in self._process.queues.values():
            raised |= queue.exceptions
        self.subscribed = mask
        if raised & mask:
            self._notify()

    def _tell(self, code: ExceptionCode) -> bool:
        if not self.subscribed & bit(code):
            return False
        self._notify()
        return True

    def _notify(self) -> None:
        assert self._notify_fd is not None
        try:
            os.write(self._notify_fd, b".")
        except OSError as error:
            # As kernel_write's, the result changes nothing: the debugger asked for this descriptor.
            self._process.machine.log(f"kfd: the debugger's descriptor takes no byte: {error}")
