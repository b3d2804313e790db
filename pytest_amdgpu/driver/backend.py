"""What the driver needs of whatever gives it a GPU: memory, queues, events and faults.

The implementation for amdkfd is `kfd_backend.KfdBackend`. Others (user queues of the DRM driver, direct
access to the PCI device) implement the same Protocol and are handed to `Device.open`; a `BackendSource` that
an entry point names does that in a run of pytest (docs/architecture.md).
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from pytest_amdgpu.abi.kfd import SvmAttributeType
from pytest_amdgpu.driver.errors import FAULT_ERRORS, GpuFaultError
from pytest_amdgpu.driver.queries import Apertures, Clocks
from pytest_amdgpu.driver.topology import GpuNode
from pytest_amdgpu.kernel.protocol import Kernel

PAGE = 4096
NORMAL_PRIORITY = 7
"""Of KFD's priorities 0 to 15, that of HSA's normal queues."""


class Location(enum.Enum):
    """Where memory lies."""

    VRAM = "vram"
    GTT = "gtt"
    USERPTR = "userptr"
    SVM = "svm"


class QueueKind(enum.Enum):
    """What reads a queue's ring."""

    SDMA = "sdma"
    PM4 = "pm4"
    AQL = "aql"


@dataclass(frozen=True, slots=True)
class MemoryRequest:
    """A wish for memory. `size` is in bytes and a multiple of the page size.

    `uncached` memory is coherent between CPU, shaders and engines without cache maintenance; `writable`
    and `executable` are what the GPU may do. A USERPTR request names the memory to register by
    `host_address`, page aligned; others may name a place for it by `address`, inside a range that the
    caller has reserved with `Backend.reserve` and gives back with `Backend.unmap_cpu`.
    """

    location: Location
    size: int
    cpu_visible: bool = True
    executable: bool = False
    uncached: bool = False
    host_address: int = 0
    writable: bool = True
    address: int = 0


@dataclass(slots=True)
class Allocation:
    """Memory that a backend gave. The CPU sees it at the same address, if `request.cpu_visible`."""

    request: MemoryRequest
    address: int
    handle: int
    mapped_gpus: list[int] = field(default_factory=list)
    """gpu_ids of the GPUs that can reach it."""

    @property
    def size(self) -> int:
        """Bytes."""
        return self.request.size


@dataclass(frozen=True, slots=True)
class QueueRequest:
    """A wish for a hardware queue; addresses are those of allocations that live as long as the queue.

    `engine` picks an SDMA engine by its number, `xgmi` any of those for XGMI links; `xcc` picks the die that
    serves a PM4 queue.
    """

    kind: QueueKind
    ring: Allocation
    read_pointer: int
    write_pointer: int
    end_of_pipe: Allocation | None = None
    context_save: Allocation | None = None
    context_save_size: int = 0
    control_stack_size: int = 0
    engine: int | None = None
    xgmi: bool = False
    xcc: int = 0
    priority: int = NORMAL_PRIORITY


@dataclass(frozen=True, slots=True)
class HardwareQueue:
    """A queue of the hardware: its id, and the address of its 64-bit doorbell."""

    queue_id: int
    doorbell: int


@dataclass(frozen=True, slots=True)
class Event:
    """A kernel event. The GPU signals it by a write to `slot_address` and an interrupt with `event_id`."""

    event_id: int
    slot_address: int


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that the GPU or the kernel reported; the members are those of `GpuFaultError`."""

    kind: str
    text: str
    address: int | None = None
    memory_lost: bool = False
    queue: str | None = None

    def stops(self, queue: str) -> bool:
        """Whether it has stopped a queue for good."""
        return self.queue in (None, queue)

    def error(self, more: str = "") -> GpuFaultError:
        """The exception that tells a test; `more` is what the driver knows besides."""
        return FAULT_ERRORS[self.kind](
            self.text + more, self.kind, self.address, memory_lost=self.memory_lost, queue=self.queue
        )


class Backend(Protocol):
    """One open GPU. Every method may raise `KernelError`; what it had begun is undone then."""

    name: str
    node: GpuNode
    kernel: Kernel
    shared_aperture: int
    """Where shaders see LDS in their flat address space."""
    private_aperture: int
    """Where shaders see scratch in their flat address space."""

    @property
    def faults(self) -> Sequence[Fault]:
        """Faults seen since the device was opened, oldest first."""

    def allocate(self, request: MemoryRequest) -> Allocation:
        """Allocate memory and map it on this GPU; raises `AllocationError`."""

    def reserve(self, size: int) -> int:
        """Reserve `size` bytes of addresses for requests that name their place; raises `AllocationError`."""

    def map_to_peer(self, allocation: Allocation, peer: Backend) -> None:
        """Let another GPU reach memory of this one; harmless where it can already.

        Raises `PeerAccessError`.
        """

    def export(self, allocation: Allocation) -> int:
        """Return a descriptor of memory, for other processes; raises `SharingError`."""

    def adopt(self, fd: int) -> Allocation:
        """Map exported memory on this GPU, and for the CPU if it may see it; raises `SharingError`."""

    def free(self, allocation: Allocation) -> None:
        """Unmap memory from all GPUs and free it; the CPU's mapping stays until `unmap_cpu`."""

    def unmap_cpu(self, address: int, size: int) -> None:
        """Give back the address range of freed memory, when nothing on the CPU refers to it any more."""

    def create_queue(self, request: QueueRequest) -> HardwareQueue:
        """Start a queue."""

    def update_queue(
        self, queue: HardwareQueue, request: QueueRequest, *, priority: int, percentage: int
    ) -> None:
        """Give a queue another priority (0 to 15), or take it off the hardware with a `percentage` of 0.

        `request` is what the queue was made from.
        """

    def set_cu_mask(self, queue: HardwareQueue, words: Sequence[int]) -> None:
        """Restrict a compute queue to the compute units of a mask, in words of 32 bits."""

    def save_wave_state(self, queue: HardwareQueue, area: int) -> None:
        """Have the header of each XCC at the context save area `area` say what a paused queue saved."""

    def destroy_queue(self, queue: HardwareQueue) -> None:
        """Stop a queue, whatever it was doing."""

    def watch_queue(self, payload_address: int, name: str) -> int:
        """Report as a fault what the kernel will OR into the 64-bit word at `payload_address`.

        Returns the id of the event that tells of it, for the queue's context save area.
        """

    def unwatch_queue(self, payload_address: int) -> None:
        """End what `watch_queue` began."""

    def create_event(self) -> Event:
        """Create an event that one waiter consumes."""

    def destroy_event(self, event: Event) -> None:
        """Destroy an event."""

    def signal_event(self, event: Event) -> None:
        """Signal an event from the host."""

    def wait_event(self, event: Event | None, age: int, timeout: float) -> int:
        """Sleep until `event` was signalled since `age`, a fault arrived, or `timeout` seconds passed.

        Returns the age to pass next time (the first time it is 1). Faults are appended to `faults`.
        """

    def flush_host_writes(self) -> None:
        """Make the GPU see what the CPU wrote to VRAM."""

    def clock_counters(self) -> tuple[int, int]:
        """Read the GPU's constant counter and CLOCK_MONOTONIC_RAW (ns) at one time."""

    def clocks(self) -> Clocks:
        """Read all clocks at one time."""

    def apertures(self) -> Apertures:
        """Return the address ranges of this GPU."""

    def set_svm(self, address: int, size: int, attributes: Sequence[tuple[SvmAttributeType, int]]) -> None:
        """Set attributes of memory of the process, which registers it for sharing."""

    def get_svm(
        self, address: int, size: int, attributes: Sequence[tuple[SvmAttributeType, int]]
    ) -> list[tuple[SvmAttributeType, int]]:
        """Return what all of a range has in common; an access attribute asks for the GPU in its value."""

    def xnack_enabled(self) -> bool:
        """Whether this process's shaders may retry faulting accesses, which code objects may depend on."""

    def available_memory(self) -> int:
        """Bytes of VRAM that could be allocated now."""

    def close(self) -> None:
        """Give everything back that is not the process's for good."""


class BackendSource(Protocol):
    """A way to GPUs: finds them and opens them, through amdkfd (`kfd_source.KfdSource`) or otherwise.

    `kernel` in the calls is what `kernel()` returned, or a wrapper that records its calls.
    """

    def kernel(self) -> Kernel:
        """Return what backends speak through; where that is no kernel, only its doorbell store counts."""

    def discover(self, kernel: Kernel, *, nearest_target: bool) -> Sequence[GpuNode]:
        """Return the GPUs that there are, in an order that stays; see `topology.discover`."""

    def open(self, kernel: Kernel, node: GpuNode) -> Backend:
        """Open a GPU; raises `DeviceOpenError`, or `KernelError` for a call that fails."""

    def renew(self, kernel: Kernel) -> None:
        """After a fault, with all GPUs closed: see to it that `open` gives GPUs that work."""
