"""What can go wrong in the driver: every error that a test may see, each with the offending value.

Errors of the kernel boundary that mean nothing special stay `KernelError` (kernel/protocol.py); where
the driver knows what a refusal means it raises one of these, with the `KernelError` as its cause.
"""

from __future__ import annotations


class DriverError(Exception):
    """Base of all errors that the driver raises about a device."""


class ArgumentTypeError(DriverError, TypeError):
    """An argument is of a type that it cannot have; the message names it, and shows what was given."""


class TimeoutValueError(DriverError, ValueError):
    """A timeout is no number of seconds that bounds a wait."""


class DeviceOpenError(DriverError):
    """A GPU cannot be used: no driver, too old an interface, no permission, or no such render node."""


class NearestTargetWarning(UserWarning):
    """A GPU with an unknown stepping was opened as its nearest relative."""


class TopologyError(DeviceOpenError, ValueError):
    """A file of sysfs does not hold what it should; the message says file, content and what was expected."""


class DeviceClosedError(DriverError):
    """A device was used after `close()`."""


class SvmError(DriverError):
    """Memory cannot be shared with a GPU as asked: the GPU cannot, or the kernel refuses."""


class AllocationError(DriverError):
    """Memory could not be had: a bad size, not enough of it, or a refusal of the kernel."""


class MissingCapabilityError(DriverError):
    """The GPU, as this machine presents it, has not what was asked for; another one may have it."""


class PeerAccessError(DriverError):
    """A GPU cannot reach memory of another one; the message says why."""


class SharingError(DriverError):
    """Memory cannot be exported, or a descriptor is not one of GPU memory that could be imported."""


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


class QueueLostError(DriverError):
    """Work was submitted to a queue that a fault has stopped for good."""


class GpuFaultError(DriverError):
    """The GPU reported a fault while something waited for it; each kind has a class of its own.

    `kind` is `memory`, `poison`, `reset` or `queue`. `address` is the page that a memory fault hit, else
    None. `memory_lost` is whether the kernel gives the contents of the GPU's memory up. `queue` is the
    queue that stopped, where the kernel names it; else all queues of the device have stopped.
    """

    def __init__(
        self,
        text: str,
        kind: str,
        address: int | None = None,
        *,
        memory_lost: bool = False,
        queue: str | None = None,
    ) -> None:
        super().__init__(text)
        self.kind = kind
        self.address = address
        self.memory_lost = memory_lost
        self.queue = queue


class MemoryFaultError(GpuFaultError):
    """The page tables refused an access of the GPU."""


class PoisonError(GpuFaultError):
    """The GPU has read memory whose contents are lost to an uncorrectable error."""


class GpuResetError(GpuFaultError):
    """The kernel has reset the GPU, or a queue of this process that hung on it."""


class QueueError(GpuFaultError):
    """A queue met what it cannot execute, and has stopped."""


FAULT_ERRORS: dict[str, type[GpuFaultError]] = {
    "memory": MemoryFaultError,
    "poison": PoisonError,
    "reset": GpuResetError,
    "queue": QueueError,
}
"""The class for each kind of fault."""
