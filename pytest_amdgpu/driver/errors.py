"""What can go wrong in the driver: every error that a test may see, each with the offending value.

Errors of the kernel boundary that mean nothing special stay `KernelError` (kernel/protocol.py); where
the driver knows what a refusal means it raises one of these, with the `KernelError` as its cause.
"""

from __future__ import annotations


class DriverError(Exception):
    """Base of all errors that the driver raises about a device."""


class DeviceOpenError(DriverError):
    """A GPU cannot be used: no driver, too old an interface, no permission, or no such render node."""


class TopologyError(DeviceOpenError, ValueError):
    """A file of the topology does not say what it should; the message names it."""


class NearestTargetWarning(UserWarning):
    """A GPU with an unknown stepping was opened as its nearest relative."""


class DeviceClosedError(DriverError):
    """A device was used after `close()`."""


class AllocationError(DriverError):
    """Memory could not be had: a bad size, not enough of it, or a refusal of the kernel."""


class MissingCapabilityError(DriverError):
    """The GPU, as this machine presents it, has not what was asked for; another one may have it."""


class BufferBoundsError(DriverError, IndexError):
    """An access reaches outside its buffer."""


class NotCpuVisibleError(DriverError):
    """The CPU has no mapping of this buffer."""


class SmallBarError(AllocationError, NotCpuVisibleError, MissingCapabilityError):
    """The CPU cannot see this GPU's VRAM, because its PCI BAR is smaller than its memory."""

    def __init__(self, gpu: str) -> None:
        super().__init__(
            f"the CPU cannot see the VRAM of {gpu}: its PCI BAR is smaller than the memory (heap_type 2 of"
            " its memory bank in the topology). Enable Resizable BAR (Above 4G Decoding) in the firmware, or"
            " use VRAM through the GPU only (cpu_visible=False)"
        )


class NoSdmaQueueError(MissingCapabilityError):
    """The kernel has no SDMA queues for this GPU."""


class NoFreeQueueError(DriverError):
    """All queues of an engine are taken, by this process or by others."""


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
