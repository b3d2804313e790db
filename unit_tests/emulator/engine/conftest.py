"""A bench for engines: memory in small buffers, a host that records, queues that are always joined."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pytest

from pytest_amdgpu.abi.kfd import QueueType
from pytest_amdgpu.abi.kfd_debug import ExceptionCode
from pytest_amdgpu.emulator.compute_units import ComputeUnits
from pytest_amdgpu.emulator.engine.context import QueueContext
from pytest_amdgpu.emulator.engine.factory import EngineQueue, create_queue
from pytest_amdgpu.emulator.engine.hardware_queues import HardwareQueues
from pytest_amdgpu.emulator.memory import AddressSpace, BufferObject, VmFault
from pytest_amdgpu.families.registry import Family, family

PAGE = 4096
PATIENCE = 20.0
"""Seconds after which a test gives up; nothing here takes more than milliseconds."""


@dataclass
class FakeGpu:
    family: Family
    num_xcc: int = 1
    ticks: int = 1000
    units: ComputeUnits = field(init=False)
    hardware_queues: HardwareQueues = field(default_factory=lambda: HardwareQueues(8))

    def __post_init__(self) -> None:
        self.units = ComputeUnits(
            [[[0xFF, 0xFF]] * 2] * self.num_xcc,
            simds=4,
            waves_per_simd=8,
            lds_bytes=self.family.lds_bytes,
            vgpr_bytes=0x80000,
            in_pairs=self.family.units_in_pairs,
        )

    def clock(self) -> int:
        self.ticks += 1
        return self.ticks


@dataclass
class RecordingHost:
    interrupts: list[tuple[int, str]] = field(default_factory=list)
    faults: list[VmFault] = field(default_factory=list)
    illegal: list[str] = field(default_factory=list)
    unable: list[str] = field(default_factory=list)
    poison: list[int] = field(default_factory=list)
    bad: list[str] = field(default_factory=list)
    codes: list[ExceptionCode] = field(default_factory=list)
    misuses: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    on_interrupt: Callable[[int], None] = lambda event_id: None

    def interrupt(self, event_id: int, source: str) -> None:
        self.interrupts.append((event_id, source))
        self.on_interrupt(event_id)

    def vm_fault(self, fault: VmFault) -> None:
        self.faults.append(fault)

    def illegal_instruction(self, text: str) -> None:
        self.illegal.append(text)

    def not_emulated(self, text: str) -> None:
        self.unable.append(text)

    def poison_consumed(self, address: int) -> None:
        self.poison.append(address)

    def bad_packet(self, text: str, code: ExceptionCode) -> None:
        self.bad.append(text)
        self.codes.append(code)

    def misuse(self, text: str) -> None:
        self.misuses.append(text)

    def log(self, text: str) -> None:
        self.lines.append(text)

    @property
    def stopped(self) -> bool:
        return bool(self.faults or self.illegal or self.unable or self.poison or self.bad)


@dataclass
class Block:
    """Memory of the bench: its GPU address and its bytes."""

    address: int
    array: npt.NDArray[np.uint8]

    @property
    def u32(self) -> npt.NDArray[np.uint32]:
        return self.array.view(np.uint32)

    @property
    def u64(self) -> npt.NDArray[np.uint64]:
        return self.array.view(np.uint64)


class Driver:
    """The client's side of a queue: writes the ring, the write pointer and the doorbell."""

    def __init__(self, bench: Bench, context: QueueContext, ring: Block, pointers: Block) -> None:
        self.bench = bench
        self.context = context
        self.host = bench.host
        self.ring = ring
        self.pointers = pointers
        self.unit = {QueueType.COMPUTE: 4, QueueType.COMPUTE_AQL: 64}.get(context.queue_type, 1)
        self.put = 0
        self.queue: EngineQueue = create_queue(context)

    def place(self, *packets: Sequence[int]) -> None:
        """Write packets to the ring and the write pointer to memory, without ringing."""
        words = np.array([word for packet in packets for word in packet], np.uint32)
        size = self.ring.u32.size
        start = self.put * self.unit // 4 % size
        assert words.size * 4 % self.unit == 0
        first = words[: size - start]
        self.ring.u32[start : start + first.size] = first
        self.ring.u32[: words.size - first.size] = words[first.size :]
        self.put += words.size * 4 // self.unit
        self.pointers.u64[0] = self.put

    def submit(self, *packets: Sequence[int]) -> None:
        self.place(*packets)
        # The doorbell of an AQL queue is the index of the last packet, not the write pointer.
        self.queue.ring_doorbell(self.put - (self.unit == 64))

    def run(self, *packets: Sequence[int]) -> None:
        """Submit and wait until the queue is idle."""
        self.submit(*packets)
        self.wait_idle()

    def wait_idle(self) -> None:
        self.wait(lambda: ", idle" in self.queue.state() and self.rptr == self.expected_rptr)
        assert not self.host.stopped, self.queue.state()

    def wait_stopped(self) -> None:
        """Wait until the queue has halted and told the host."""
        self.bench.until(lambda: self.host.stopped)

    def wait(self, condition: Callable[[], bool]) -> None:
        self.bench.until(lambda: condition() or self.host.stopped)
        assert not self.host.stopped, (self.host, self.queue.state())

    @property
    def rptr(self) -> int:
        return int(self.pointers.u64[64])

    @property
    def expected_rptr(self) -> int:
        if self.context.queue_type == QueueType.COMPUTE:
            return self.put % self.ring.u32.size
        return self.put


class Bench:
    def __init__(self) -> None:
        self.memory = AddressSpace()
        self.host = RecordingHost()
        self.drivers: list[Driver] = []
        self._next = 0x10_0000_0000

    def block(self, size: int = PAGE, *, gap: bool = True, **flags: bool) -> Block:
        """Map zeroed memory; with `gap` an unmapped page lies behind it."""
        rounded = -(-size // PAGE) * PAGE
        bo = BufferObject(np.zeros(rounded, np.uint8), **flags)
        address = self._next
        self.memory.map(address, bo)
        self._next += rounded + PAGE * gap
        return Block(address, bo.data[:size])

    def queue(
        self,
        target: str,
        kind: QueueType = QueueType.SDMA,
        *,
        ring_size: int = 65536,
        host: RecordingHost | None = None,
        num_xcc: int = 1,
        active: bool = True,
    ) -> Driver:
        ring, pointers = self.block(ring_size), self.block()
        context = QueueContext(
            gpu=FakeGpu(family(target), num_xcc),
            memory=self.memory,
            host=host or self.host,
            queue_id=len(self.drivers),
            queue_type=kind,
            ring_address=ring.address,
            ring_size=ring_size,
            rptr_address=pointers.address + 512,
            wptr_address=pointers.address,
            active=active,
        )
        driver = Driver(self, context, ring, pointers)
        self.drivers.append(driver)
        return driver

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait for the engines; AssertionError with the state of every queue when nothing comes of it."""
        deadline = time.monotonic() + PATIENCE
        pause = threading.Event()
        while not condition():
            assert time.monotonic() < deadline, [driver.queue.state() for driver in self.drivers]
            pause.wait(0.0002)

    def close(self) -> None:
        for driver in self.drivers:
            driver.queue.stop()
        names = {driver.queue.state().split(":")[0] for driver in self.drivers}
        assert not [thread for thread in threading.enumerate() if thread.name in names]


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.close()
    assert not bench.host.misuses


@dataclass
class FakeShader:
    """What stands for the waves of one dispatch: runs `work` once, after `slices` calls of `run`."""

    state: object
    slices: int = 1
    work: Callable[[object], None] = lambda state: None
    budgets: list[int] = field(default_factory=list)
    suspensions: int = 0
    chunks: tuple[()] = ()
    stalled: bool = False

    def suspend(self) -> None:
        self.suspensions += 1

    def run(self, budget: int) -> bool:
        self.budgets.append(budget)
        if len(self.budgets) < self.slices:
            return False
        self.work(self.state)
        return True


class FakeShaders:
    """Takes the place of the instruction-set emulator and remembers every dispatch."""

    def __init__(self) -> None:
        self.started: list[FakeShader] = []
        self.slices = 1
        self.work: Callable[[object], None] = lambda state: None

    def start(self, state: object) -> FakeShader:
        self.started.append(FakeShader(state, self.slices, lambda state: self.work(state)))
        return self.started[-1]

    @property
    def states(self) -> list[object]:
        return [shader.state for shader in self.started]


@pytest.fixture
def fake_shaders(monkeypatch) -> FakeShaders:
    """Dispatches that do what the test says (`work`) in place of running code."""
    fake = FakeShaders()
    monkeypatch.setattr("pytest_amdgpu.emulator.engine.shaders._start", fake.start)
    return fake
