"""The seam below the driver: a second backend, without ioctls, carries the same driver.

Its queues run inside the store to the doorbell, in Python, for the three SDMA packets that the test uses.
"""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Iterator, Sequence

import pytest

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
from pytest_amdgpu.driver.device import Device
from pytest_amdgpu.driver.errors import GpuFaultError, WaitTimeoutError
from pytest_amdgpu.driver.topology import GpuNode
from pytest_amdgpu.families.models import model
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
    """A GPU that is this process: memory from mmap, events that nobody needs."""

    name = "plain"
    shared_aperture = private_aperture = 0

    def __init__(self) -> None:
        properties = {**model("rx7900xtx").properties, "location_id": 0}
        self.node = GpuNode(0, 1, "plain", properties, ())
        self.doorbells = DoorbellOnly()
        self.kernel = self.doorbells  # type: ignore[assignment]
        self.memory: dict[int, mmap.mmap] = {}
        self.found: list[Fault] = []
        self.closed = False

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
        self.doorbells.queues[0xD0] = request
        return HardwareQueue(0, 0xD0)

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
        return age

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


@pytest.fixture
def backend() -> Iterator[PlainBackend]:
    made = PlainBackend()
    yield made
    assert made.closed
    assert not made.doorbells.queues
    assert not made.memory


def test_the_driver_copies_through_another_backend(backend: PlainBackend) -> None:
    typed: Backend = backend  # type: ignore[assignment]
    with Device.open(typed.kernel, typed.node, backend=typed) as device:
        source, through, back = device.gtt(100), device.vram(100), device.gtt(100)
        source.array[:] = range(100)
        done = device.timeline_semaphore()
        queue = device.sdma_queue(4096)
        for value in range(1, 50):
            back.fill(0)
            queue.copy(through, source).copy(back, through).signal(done, value).submit()
            done.wait(value, timeout=1.0)
            assert (back.array == source.array).all()
        queue.wait_idle(1.0)
        with pytest.raises(WaitTimeoutError, match="nothing that was submitted signals 99"):
            done.wait(99, timeout=0.001)


def test_its_faults_reach_the_test(backend: PlainBackend) -> None:
    typed: Backend = backend  # type: ignore[assignment]
    with Device.open(typed.kernel, typed.node, backend=typed) as device:
        backend.found.append(Fault("memory", "page not there", 0x5000))
        with pytest.raises(GpuFaultError, match="page not there") as caught:
            device.check_health()
        assert caught.value.address == 0x5000
