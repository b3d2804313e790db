"""What can go wrong in the driver: every error that a test may see, each with the offending value.

Errors of the kernel boundary that mean nothing special stay `KernelError` (kernel/protocol.py); where
the driver knows what a refusal means it raises one of these, with the `KernelError` as its cause.
"""

from __future__ import annotations


class DriverError(Exception):
    """Base of all errors that the driver raises about a device."""


class DeviceOpenError(DriverError):
    """A GPU cannot be used: no driver, too old an interface, no permission, or no such render node."""


class DeviceClosedError(DriverError):
    """A device was used after `close()`."""


class AllocationError(DriverError):
    """Memory could not be had: a bad size, not enough of it, or a refusal of the kernel."""


class SmallBarError(AllocationError):
    """The CPU cannot see this GPU's VRAM, because its PCI BAR is smaller than its memory."""


class PeerAccessError(DriverError):
    """A GPU cannot reach memory of another one; the message says why."""


class SharingError(DriverError):
    """Memory cannot be exported, or a descriptor is not one of GPU memory that could be imported."""


class BufferBoundsError(DriverError, IndexError):
    """An access reaches outside its buffer."""


class NotCpuVisibleError(DriverError):
    """The CPU has no mapping of this buffer."""


class UseAfterFreeError(DriverError):
    """A buffer, semaphore or recording was used after it was freed."""


class QueueClosedError(DriverError):
    """Work was submitted to a queue after `close()`."""


class CommandError(DriverError, ValueError):
    """A command cannot be expressed on this engine, or does not fit its ring."""


class LaunchError(DriverError, ValueError):
    """The shape of a dispatch, or what its kernel needs, is beyond what the GPU can run."""


class SemaphoreValueError(DriverError, ValueError):
    """A value is not one that a timeline semaphore can take."""


class WaitTimeoutError(DriverError, TimeoutError):
    """A wait ended without what it waited for; the message says what was going on."""


class GpuFaultError(DriverError):
    """The GPU reported a fault while something waited for it.

    `kind` is `memory`, `reset` or `queue`; `address` is the page that a memory fault hit, else None.
    """

    def __init__(self, text: str, kind: str, address: int | None = None) -> None:
        super().__init__(text)
        self.kind = kind
        self.address = address
