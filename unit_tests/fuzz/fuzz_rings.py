"""Target for packets: rings of random dwords and of mutated packets, on engines of every generation."""

from __future__ import annotations

import bisect
import functools
import gc
import random
import threading
import time
import weakref
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from fuzz_runner import Done, NamelessRefusal
from fuzz_state import of_hardware

from pytest_amdgpu.abi.kfd import QueueType
from pytest_amdgpu.abi.kfd_debug import ExceptionCode
from pytest_amdgpu.emulator.compute_units import ComputeUnits
from pytest_amdgpu.emulator.engine.aql import AqlQueue
from pytest_amdgpu.emulator.engine.context import QueueContext
from pytest_amdgpu.emulator.engine.factory import EngineQueue, create_queue
from pytest_amdgpu.emulator.engine.hardware_queues import HardwareQueues
from pytest_amdgpu.emulator.engine.stream import DwordQueue
from pytest_amdgpu.emulator.isa.decode.decoder import decoder
from pytest_amdgpu.emulator.memory import PAGE_SIZE, AddressSpace, BufferObject, VmFault
from pytest_amdgpu.families.registry import Family, family
from pytest_amdgpu.packets.aql import aql_packets
from pytest_amdgpu.packets.codec import Codec
from pytest_amdgpu.packets.layout import Layout, Packet, TruncatedPacketError
from pytest_amdgpu.packets.listing import listing
from pytest_amdgpu.packets.pm4 import pm4_packets
from pytest_amdgpu.packets.registers import compute_registers
from pytest_amdgpu.packets.sdma import sdma_packets

TARGETS = (
    "gfx908",
    "gfx90a",
    "gfx942",
    "gfx950",
    "gfx1010",
    "gfx1030",
    "gfx1100",
    "gfx1151",
    "gfx1200",
    "gfx1201",
)
KINDS = (QueueType.SDMA, QueueType.COMPUTE, QueueType.COMPUTE_AQL)
RING_BYTES = 4096
END_OF_PROGRAM = 0xBF810000
"""s_endpgm up to gfx10; on gfx11 and up it is another instruction, which random code may meet, too."""
END_OF_PROGRAM_GFX11 = 0xBFB00000
PATIENCE = 0.02
"""Seconds after which a queue that is still busy is stopped: that must work at any time."""


@dataclass
class Gpu:
    """The facts of a GPU that engines ask for."""

    family: Family
    num_xcc: int = 1
    hardware_queues: HardwareQueues = field(default_factory=lambda: HardwareQueues(8))

    @functools.cached_property
    def units(self) -> ComputeUnits:
        """Compute units, few of them."""
        return ComputeUnits(
            [[[3, 3]]] * self.num_xcc,
            simds=4,
            waves_per_simd=8,
            lds_bytes=self.family.lds_bytes,
            vgpr_bytes=0x80000,
            in_pairs=self.family.units_in_pairs,
        )

    def clock(self) -> int:
        return time.monotonic_ns() // 10


@dataclass
class Host:
    """Takes what a queue reports."""

    halts: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)

    def interrupt(self, event_id: int, source: str) -> None:
        assert 0 <= event_id < 1 << 32

    def vm_fault(self, fault: VmFault) -> None:
        self.halts.append("VM fault")
        self.texts.append(str(fault))

    def illegal_instruction(self, text: str) -> None:
        self.halts.append("illegal instruction")
        self.texts.append(text)

    def not_emulated(self, text: str) -> None:
        self.halts.append("instruction that is not emulated")
        self.texts.append(text)

    def poison_consumed(self, address: int) -> None:
        self.halts.append("poison")

    def bad_packet(self, text: str, code: ExceptionCode) -> None:
        self.halts.append(f"bad packet, {code.name}")
        self.texts.append(text)

    def misuse(self, text: str) -> None:
        assert text

    def log(self, text: str) -> None:
        assert text


@functools.cache
def _runs_kernels(target: str) -> bool:
    """Whether the instructions of a family are emulated."""
    try:
        decoder(target)
    except ValueError:
        return False
    return True


class Bench:
    """Memory in a few blocks with unmapped pages between them, and one queue."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._memory = AddressSpace()
        self._next = 0x10_0000_0000
        self.family = family(rng.choice(TARGETS))
        self.kind = rng.choice(KINDS if _runs_kernels(self.family.name) else KINDS[:1])
        self.host = Host()
        self.gpu = Gpu(self.family, rng.choice((1, 1, 8)))
        self.ring_address, ring = self._block(RING_BYTES)
        self.ring = ring.view(np.uint32)
        self.pointer_address, pointers = self._block()
        self.pointers = pointers.view(np.uint64)
        self.blocks = [self._block() for _ in range(3)]
        self._block(writable=False)
        for _, block in self.blocks:
            block.view(np.uint32)[:] = [rng.randrange(4) for _ in range(PAGE_SIZE // 4)]
        self._write_kernel(*self.blocks[0])
        self.put = 0
        self.announced = 0
        self._starts: list[int] = []
        self._looked_at: set[int] = set()
        self._context = QueueContext(
            gpu=self.gpu,
            memory=self._memory,
            host=self.host,
            queue_id=7,
            queue_type=self.kind,
            ring_address=self.ring_address,
            ring_size=RING_BYTES,
            rptr_address=self.pointer_address + 512,
            wptr_address=self.pointer_address,
        )

    def start_queue(self) -> None:
        """Empty the ring, and start a queue on it."""
        self.put = self.announced = 0
        self.host.halts.clear()
        self.host.texts.clear()
        self._starts.clear()
        self._looked_at.clear()
        self.pointers[:] = 0
        # amd_queue_t around the read pointer, and every header of an AQL ring INVALID.
        self.pointers[(512 + 8) // 8] = 0x80
        self.ring[:] = 0
        if self.kind is QueueType.COMPUTE_AQL:
            self.ring[::16] = 1
        self.queue: EngineQueue = create_queue(self._context)
        self._watch(self.queue)

    def _watch(self, queue: EngineQueue) -> None:
        """Have the engine note where in the ring it has taken a packet, or refused what is none."""
        if isinstance(queue, AqlQueue):
            process = queue._process

            def processed(index: int) -> None:
                self._looked_at.add(index * 16)
                process(index)

            queue._process = processed  # type: ignore[method-assign]
            return
        assert isinstance(queue, DwordQueue)
        interpreter, decode = queue.interpreter, queue.interpreter._decode

        def decoded(words: list[int], index: int) -> Packet:
            place, in_ring = queue.position, not interpreter.where
            try:
                packet = decode(words, index)
            except TruncatedPacketError:
                raise
            except Exception:
                self._looked_at.update([place] * in_ring)
                raise
            self._looked_at.update([place] * in_ring)
            return packet

        interpreter._decode = decoded  # type: ignore[method-assign]

    @property
    def taken(self) -> int:
        """How many of the inputs that were submitted to this queue an engine has taken a packet of."""
        end = self.put * self.unit // 4
        return len({bisect.bisect_right(self._starts, place) for place in self._looked_at if place < end})

    def _block(self, size: int = PAGE_SIZE, *, writable: bool = True) -> tuple[int, npt.NDArray[np.uint8]]:
        bo = BufferObject(np.zeros(size, np.uint8), writable=writable)
        address = self._next
        self._memory.map(address, bo)
        self._next += size + PAGE_SIZE
        return address, bo.data

    def _write_kernel(self, address: int, data: npt.NDArray[np.uint8]) -> None:
        """Put a kernel descriptor with a tiny program behind it into the first block."""
        words = data.view(np.uint32)
        words[:16] = 0
        words[4] = 256
        words[14] = (self.family.wave_sizes[0] == 32) << 10
        words[64:96] = END_OF_PROGRAM_GFX11 if self.family.gfx_version[0] >= 11 else END_OF_PROGRAM

    @property
    def codec(self) -> Codec:
        if self.kind is QueueType.SDMA:
            return sdma_packets(self.family.sdma)
        return pm4_packets(self.family.pm4) if self.kind is QueueType.COMPUTE else aql_packets()

    @property
    def unit(self) -> int:
        """Bytes that the queue's pointers count by one."""
        return {QueueType.COMPUTE: 4, QueueType.COMPUTE_AQL: 64}.get(self.kind, 1)

    def submit(self, words: list[int]) -> None:
        """Put dwords into the ring and ring the doorbell, seldom with a value that is wrong."""
        words = words + [0] * (-len(words) % max(self.unit // 4, 1))
        start = self.put * self.unit // 4
        words = words[: self.ring.size - start]
        self._starts.append(start)
        self.ring[start : start + len(words)] = words
        self.put += len(words) * 4 // self.unit
        pointer = self.put
        if self._rng.random() < 0.01:
            pointer = self._rng.choice((0, self.put + 1, self.put * 2, 1 << 40, (1 << 64) - 1))
        self.pointers[0] = pointer
        self.announced = max(self.announced, pointer)
        self.queue.ring_doorbell(max(pointer - (self.unit == 64), 0))

    def settled(self) -> bool:
        """Whether the queue has halted, or has taken its last doorbell and has nothing to do or waits."""
        state = self.queue.state()
        taken = f"wptr {self.announced:#x}," in state
        return bool(self.host.halts) or (
            taken and any(word in state for word in (", idle", "waiting", "polling"))
        )

    def address(self) -> int:
        """Return an address in one of the blocks, aligned more often than not."""
        offset = self._rng.choice((0, 0, 64, 8 * self._rng.randrange(512), self._rng.randrange(4096)))
        return self._rng.choice(self.blocks)[0] + offset

    def packet(self, layout: Layout) -> list[int]:
        """Return a packet: of plausible fields, or of random dwords between what identifies it."""
        rng = self._rng
        words = self._plausible(layout) if rng.random() < 0.7 else self._wild(layout)
        for dword, mask, value in layout.fixed:
            words[dword] = words[dword] & ~mask | value
        if layout.tail is not None:
            count, (piece,) = rng.randrange(6), layout.tail.counter.pieces
            words[piece.dword] &= ~(((1 << piece.width) - 1) << piece.low)
            words[piece.dword] |= count << piece.low
            words += [rng.getrandbits(32) for _ in range(count - layout.tail.bias)]
        return words

    def _plausible(self, layout: Layout) -> list[int]:
        rng, words = self._rng, [0] * layout.words
        for owner in layout.fields:
            value = owner.default
            if owner.width >= 40 and "signal" not in owner.name:
                value = self.address()
            elif value is None or rng.random() < 0.05:
                value = rng.choice((0, 1, 2, 3, 4, 5, 7, 15, 16, 47, 64, self.address()))
            value &= (1 << owner.width) - 1
            for dword, bits in owner.scatter(value - value % owner.alignment):
                words[dword] |= bits
        return words

    def _wild(self, layout: Layout) -> list[int]:
        rng = self._rng
        words = [rng.getrandbits(32) if rng.random() < 0.2 else rng.randrange(8) for _ in range(layout.words)]
        for index in range(1, layout.words - 1):
            if rng.random() < 0.4:
                address = self.address()
                words[index], words[index + 1] = address & 0xFFFFFFFF, address >> 32
        for dword in range(layout.words):
            if rng.random() < 0.97:
                words[dword] &= layout.defined_bits(dword)
        return words

    def dispatch(self) -> list[int]:
        """Return SET_SH_REG packets of a plain dispatch, some of them wrong, and the dispatch."""
        rng, packets = self._rng, pm4_packets(self.family.pm4)
        registers = compute_registers(self.family.registers)
        entry = self.blocks[0][0] + 256
        values = {
            "PGM_LO": entry >> 8 & 0xFFFFFFFF,
            "PGM_HI": entry >> 40,
            "PGM_RSRC1": 0xC0041,
            "PGM_RSRC2": 0,
            **{f"NUM_THREAD_{axis}": rng.choice((1, 2, 64)) for axis in "XYZ"},
        }
        words: list[int] = []
        for name, value in values.items():
            wrong = rng.random() < 0.05
            words += packets.set_sh_reg(registers[f"COMPUTE_{name}"], rng.getrandbits(32) if wrong else value)
        size = [rng.choice((0, 1, 2, 3, 1000, 1 << 31)) for _ in range(3)]
        return [*words, *packets.dispatch_direct(*size, rng.choice((5, 5, 0x25, rng.getrandbits(16))))]


class RingTarget:
    """Rings of garbage: the engine refuses, faults, waits or goes on, and can be stopped at any time.

    What lies behind a refused packet, or behind one that waits, is not looked at, so a case has several
    queues.
    """

    name = "rings"
    limit = 60.0
    unit = "packets looked at"
    queues_per_case = 8
    per_queue = 4

    def case(self, rng: random.Random) -> Done:
        bench = Bench(rng)
        taken, kinds = 0, []
        for _ in range(self.queues_per_case):
            bench.start_queue()
            try:
                self._feed(bench, rng)
                self._show(bench)
                kinds.append(self._settle(bench))
            finally:
                bench.queue.stop()
            taken += bench.taken
            left = {what: value for what, value in of_hardware(bench.gpu).items() if value}  # type: ignore[arg-type]
            assert not left, f"left when the queue had ended: {left}"
        queue = weakref.ref(bench.queue)
        del bench
        gc.collect()
        assert queue() is None, f"the queue is still referred to by {gc.get_referrers(queue())}"
        return Done(kinds, self.queues_per_case * self.per_queue, taken)

    def _feed(self, bench: Bench, rng: random.Random) -> None:
        layouts = list(bench.codec.layouts.values())
        raw = rng.random() < 0.2
        for _ in range(self.per_queue):
            if raw:
                words = [rng.getrandbits(32) for _ in range(16)]
            elif bench.kind is QueueType.COMPUTE and rng.random() < 0.1:
                words = bench.dispatch()
            else:
                words = bench.packet(rng.choice(layouts))
            if rng.random() < 0.1:
                words[rng.randrange(len(words))] ^= 1 << rng.randrange(32)
            bench.submit(words)

    def _show(self, bench: Bench) -> None:
        """The same ring as text."""
        words = bench.ring[: bench.put * bench.unit // 4]
        registers = compute_registers(bench.family.registers)
        assert list(listing(bench.codec, words, registers=registers)) or not words.size

    def _settle(self, bench: Bench) -> str:
        deadline, pause = time.monotonic() + PATIENCE, threading.Event()
        while not bench.settled() and time.monotonic() < deadline:
            pause.wait(0.0002)
        bench.queue.evict()
        bench.queue.restore()
        engine = bench.kind.name
        for text in bench.host.texts:
            assert "the emulator failed" not in text, text
        if bench.host.halts:
            _, halted, why = bench.queue.state().rpartition("halted: ")
            reason = why.partition(", while ")[0].strip()
            if not halted or not reason or reason.endswith(":"):
                raise NamelessRefusal(f"{bench.queue.state()!r} does not say what is wrong")
            return f"{engine}: {bench.host.halts[0]}"
        return f"{engine}: {'settled' if bench.settled() else 'busy'}"

    def close(self) -> None:
        """Nothing is shared."""
