"""A second backend, without ioctls: memory of the process, queues that run inside the store to the doorbell.

It runs the three SDMA packets that its tests use. As a module of its own it can be installed beside the
package, with an entry point, as the package of somebody else.
"""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Sequence

from pytest_amdgpu.driver.backend import (
    Allocation,
    Backend,
    Event,
    Fault,
    HardwareQueue,
    Location,
    MemoryRequest,
    QueueKind,
    QueueRequest,
)
from pytest_amdgpu.driver.topology import GpuNode
from pytest_amdgpu.families.models import model
from pytest_amdgpu.kernel.protocol import Kernel
from pytest_amdgpu.packets.sdma import sdma_packets


class DoorbellOnly:
    """The part of the kernel boundary that is left when there is no kernel."""

    name = "none"

    def __init__(self) -> None:
        self.queues: dict[int, QueueRequest] = {}

    def store_doorbell(self, address: int, value: int) -> None:
        request = self.queues[address]
        read = ctypes.c_uint64.from_address(request.read_pointer)
        ring = ctypes.string_at(request.ring.address, request.ring.size)
        words = memoryview(ring).cast("I")
        packets = sdma_packets("6.0")
        while read.value < value:
            packet = packets.decode(words, read.value % request.ring.size // 4)
            if packet.name == "COPY_LINEAR":
                ctypes.memmove(packet["dst_addr"], packet["src_addr"], packet["count"] + 1)
            elif packet.name == "FENCE":
                ctypes.c_uint32.from_address(packet["addr"]).value = packet["data"]
            read.value += packet.words * 4


class PlainBackend:
    """A GPU that is this process: memory from mmap, and an event has come when its slot was written."""

    name = "plain"
    shared_aperture = private_aperture = 0

    def __init__(self, doorbells: DoorbellOnly | None = None, kernel: Kernel | None = None) -> None:
        properties = {**model("rx7900xtx").properties, "location_id": 0}
        bank = {"heap_type": 1, "size_in_bytes": 1 << 30}
        self.node = GpuNode(0, 1, "plain", properties, (bank,))
        self.doorbells = doorbells or DoorbellOnly()
        self.kernel = kernel or self.doorbells  # type: ignore[assignment]
        self.memory: dict[int, mmap.mmap] = {}
        self.found: list[Fault] = []
        self.closed = False
        self.created = 0

    @property
    def faults(self) -> Sequence[Fault]:
        return self.found

    def allocate(self, request: MemoryRequest) -> Allocation:
        memory = mmap.mmap(-1, request.size)
        address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        self.memory[address] = memory
        return Allocation(request, address, 0)

    def reserve(self, size: int) -> int:
        raise NotImplementedError

    def map_to_peer(self, allocation: Allocation, peer: Backend) -> None:
        raise NotImplementedError

    def export(self, allocation: Allocation) -> int:
        raise NotImplementedError

    def adopt(self, fd: int) -> Allocation:
        raise NotImplementedError

    def free(self, allocation: Allocation) -> None:
        allocation.mapped_gpus.clear()

    def unmap_cpu(self, address: int, size: int) -> None:
        del self.memory[address]

    def create_queue(self, request: QueueRequest) -> HardwareQueue:
        assert request.kind is QueueKind.SDMA
        assert request.ring.request.location is Location.GTT
        self.created += 1
        self.doorbells.queues[8 * self.created] = request
        return HardwareQueue(self.created, 8 * self.created)

    def update_queue(
        self, queue: HardwareQueue, request: QueueRequest, *, priority: int, percentage: int
    ) -> None:
        raise NotImplementedError

    def set_cu_mask(self, queue: HardwareQueue, words: Sequence[int]) -> None:
        raise NotImplementedError

    def save_wave_state(self, queue: HardwareQueue, area: int) -> None:
        raise NotImplementedError

    def destroy_queue(self, queue: HardwareQueue) -> None:
        del self.doorbells.queues[queue.doorbell]

    def watch_queue(self, payload_address: int, name: str) -> int:
        raise NotImplementedError

    def unwatch_queue(self, payload_address: int) -> None:
        raise NotImplementedError

    def create_event(self) -> Event:
        slot = self.allocate(MemoryRequest(Location.GTT, 4096))
        return Event(1, slot.address)

    def destroy_event(self, event: Event) -> None:
        del self.memory[event.slot_address]

    def signal_event(self, event: Event) -> None:
        pass

    def wait_event(self, event: Event | None, age: int, timeout: float) -> int:
        return age if event is None else age + any(self.memory[event.slot_address][:8])

    def flush_host_writes(self) -> None:
        pass

    def clock_counters(self) -> tuple[int, int]:
        return 0, 0

    def available_memory(self) -> int:
        return 0

    def xnack_enabled(self) -> bool:
        return False

    def close(self) -> None:
        self.closed = True


class PlainSource:
    """The GPU that is this process, as an entry point gives it."""

    def __init__(self) -> None:
        self.doorbells = DoorbellOnly()
        self.renewed = 0

    def kernel(self) -> Kernel:
        return self.doorbells  # type: ignore[return-value]

    def discover(self, kernel: Kernel, *, nearest_target: bool) -> Sequence[GpuNode]:
        return [PlainBackend().node]

    def open(self, kernel: Kernel, node: GpuNode) -> Backend:
        return PlainBackend(self.doorbells, kernel)  # type: ignore[return-value]

    def renew(self, kernel: Kernel) -> None:
        self.renewed += 1
        print(f"renewed {self.renewed} time(s)")
