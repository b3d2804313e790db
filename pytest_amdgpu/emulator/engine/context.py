"""What an engine knows of its queue, its GPU and the kernel that made it.

The kernel side (`emulator/kfd`) fills a `QueueContext` when a process creates a queue, hands it to
`factory.create_queue`, and implements `QueueHost`, through which an engine raises interrupts and
reports what made it stop. An engine sees nothing of the kernel side beyond these two.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from pytest_amdgpu.abi.kfd import QueueType
    from pytest_amdgpu.abi.kfd_debug import ExceptionCode
    from pytest_amdgpu.emulator.compute_units import ComputeUnits, EngineMasks
    from pytest_amdgpu.emulator.engine.hardware_queues import HardwareQueues
    from pytest_amdgpu.emulator.injection.defect import Injected
    from pytest_amdgpu.emulator.memory import AddressSpace, VmFault
    from pytest_amdgpu.families.registry import Family

InterruptSource = Literal["eop", "sdma", "sq"]
"""Who raises it: the command processor at end of pipe, an SDMA trap, or a wave (`s_sendmsg`)."""


class EngineGpu(Protocol):
    """The facts of the GPU that an engine needs."""

    @property
    def family(self) -> Family:
        """Generation row: packet formats, registers, limits."""

    @property
    def num_xcc(self) -> int:
        """Accelerated compute dies (XCCs) of this partition."""

    @property
    def units(self) -> ComputeUnits:
        """Compute units, shared by all queues."""

    @property
    def hardware_queues(self) -> HardwareQueues:
        """Slots for compute queues."""

    def clock(self) -> int:
        """Return the constant-frequency counter (REFCLK, 100 MHz on the shipped models)."""


class QueueHost(Protocol):
    """What a queue tells the kernel side. Called from the queue's own thread, without engine locks held.

    After `vm_fault`, `poison_consumed`, `illegal_instruction`, `not_emulated` or `bad_packet` the queue has
    halted: it runs nothing more, `restore` does not revive it, and only `stop` is left to call. Its waves
    are saved when `vm_fault` is called; after `illegal_instruction` they stay on the compute units until the
    queue is evicted or made inactive, which saves them.
    """

    def interrupt(self, event_id: int, source: InterruptSource) -> None:
        """Deliver an interrupt whose context id is `event_id` (0 included: amdkfd decides what it means)."""

    def vm_fault(self, fault: VmFault) -> None:
        """Report an access that no page table entry allowed."""

    def poison_consumed(self, address: int) -> None:
        """Report a read of memory whose contents an uncorrectable error has destroyed."""

    def not_emulated(self, text: str) -> None:
        """Report an instruction that hardware would execute and the emulator cannot; `text` names it."""

    def illegal_instruction(self, text: str) -> None:
        """Report a wave that met an instruction which does not exist; `text` names it and its address."""

    def bad_packet(self, text: str, code: ExceptionCode) -> None:
        """Report a packet that the engine cannot execute; `text` shows it and where it is in the ring.

        `code` is the exception that hardware would report for it: one of the QUEUE_PACKET ones.
        """

    def misuse(self, text: str) -> None:
        """Warn of what hardware would take without a word although it is a bug of the driver."""

    def log(self, text: str) -> None:
        """Write a line for the person who reads the emulator's log."""


@dataclass
class QueueContext:
    """A user-mode queue as CREATE_QUEUE describes it. Addresses are GPU virtual, sizes are in bytes.

    `ring_address`, `ring_size`, `priority` and `active` change through `EngineQueue.update` only.

    Pointers, as the hardware counts them: an SDMA queue's read and write pointer and doorbell are bytes,
    64-bit and never wrapping; an AQL queue's are packets (the doorbell rings with the *index* of the last
    packet, which is the write pointer less one), 64-bit and never wrapping; a PM4 queue's write pointer and
    doorbell are dwords, 64-bit and never wrapping, but its read pointer is 32 bits of dwords that wrap at the
    ring's size (kfdtest, PM4Queue.cpp: "still 32-bit even on Vega10").
    """

    gpu: EngineGpu
    memory: AddressSpace
    host: QueueHost
    queue_id: int
    queue_type: QueueType
    ring_address: int
    ring_size: int
    rptr_address: int
    wptr_address: int
    eop_address: int = 0
    eop_size: int = 0
    ctx_save_address: int = 0
    ctx_save_size: int = 0
    """Bytes of each XCC's part of the context save area; `ctl_stack_size` of them are the control stack."""
    ctl_stack_size: int = 0
    priority: int = 7
    active: bool = True
    """False while the percentage or the ring address is 0: doorbells are kept but nothing runs."""
    sdma_engine: int = 0
    """Which SDMA engine the queue sits on (for diagnosis)."""
    xcc: int = 0
    """The XCC that reads a PM4 queue (CREATE_QUEUE `queue_percentage` bits 15:8)."""
    injected: Injected | None = None
    """The defects that its GPU was told to have."""
    wedged: bool = False
    """Whether such a defect keeps it from reading packets."""
    engine_masks: EngineMasks | None = None
    """Which compute units waves may use, as SET_CU_MASK put it into the queue's descriptor; None for all."""
