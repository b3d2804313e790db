"""Defects of queues: they stop, and lose or spoil what they were to do."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, cast

from pytest_amdgpu.abi.kfd import QueueType
from pytest_amdgpu.emulator.injection.defect import Defect
from pytest_amdgpu.emulator.injection.options import Option, choice, fraction, number
from pytest_amdgpu.emulator.memory import Access, Reason, VmFault

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_amdgpu.emulator.engine.context import QueueContext
    from pytest_amdgpu.emulator.engine.queue import QueueThread
    from pytest_amdgpu.emulator.kfd.queue import Queue
    from pytest_amdgpu.emulator.kfd.reports import QueueReports
    from pytest_amdgpu.packets.layout import Packet

ENGINES = ("any", "sdma", "compute")
ENGINE = choice("engine", ENGINES, "any", "only on queues of this kind")
_ADDRESS = number(0, (1 << 64) - 1)
_LONGEST_DELAY = 3600.0
_COMPUTE = (QueueType.COMPUTE, QueueType.COMPUTE_AQL)


class QueueDefect(Defect):
    """One that happens on queues of some engine."""

    options: ClassVar[tuple[Option, ...]] = (ENGINE,)

    def concerns(self, queue: QueueContext) -> bool:
        """Whether it may happen on a queue."""
        kind = "compute" if queue.queue_type in _COMPUTE else "sdma"
        return self.values["engine"] in ("any", kind)


class WedgeQueue(QueueDefect):
    """A queue that reads no packet any more until it is destroyed."""

    name: ClassVar[str] = "wedge-queue"
    summary: ClassVar[str] = "a queue hangs before the next packet, until it is destroyed"
    occasion: ClassVar[str] = "a doorbell that is rung"
    options: ClassVar[tuple[Option, ...]] = (
        ENGINE,
        choice(
            "scheduler",
            ("works", "hangs"),
            "works",
            "whether the queue can be preempted; if not, the next call that must do so fails, and the GPU is "
            "reset",
        ),
    )

    def at_doorbell(self, queue: Queue) -> bool:
        """Wedge the queue whose doorbell it is."""
        if self.concerns(queue.context) and self.happens():
            queue.context.host.log("injected: the queue is wedged")
            queue.context.wedged = True
            self.gpu.scheduler_hangs |= self.values["scheduler"] == "hangs"
        return True


class LoseInterrupt(Defect):
    """An interrupt that never reaches the kernel; what else the packet does happens."""

    name: ClassVar[str] = "lose-interrupt"
    summary: ClassVar[str] = "an interrupt of a queue is lost"
    occasion: ClassVar[str] = "an interrupt"

    def loses_interrupt(self) -> bool:
        """Lose it."""
        return self.happens()


class FenceDefect(QueueDefect, ABC):
    """One of fences: packets that write a value behind the work before them, but for slots of events."""

    occasion: ClassVar[str] = "a fence (FENCE of SDMA, RELEASE_MEM with data, an AQL completion signal)"

    def before_packet(self, queue: QueueThread, packet: Packet) -> bool:
        """Let it happen to a fence."""
        if self.concerns(queue.context) and _is_fence(queue, packet) and self.happens():
            queue.context.host.log(f"injected: {self.name} at {packet}")
            return self.spoil(queue, packet)
        return True

    @abstractmethod
    def spoil(self, queue: QueueThread, packet: Packet) -> bool:
        """Do what goes wrong; False if the packet is not executed."""


class DropFence(FenceDefect):
    """A fence that writes nothing; its interrupt is raised."""

    name: ClassVar[str] = "drop-fence"
    summary: ClassVar[str] = "a fence does not write its value"

    def spoil(self, queue: QueueThread, packet: Packet) -> bool:
        """Drop it."""
        for field in ("data_sel", "completion_signal"):
            if field in packet.fields:
                packet.fields[field] = 0
                return True
        return False


class DelayFence(FenceDefect):
    """A fence that comes late; its queue waits with it."""

    name: ClassVar[str] = "delay-fence"
    summary: ClassVar[str] = "a fence comes late, and what is behind it in the queue"
    options: ClassVar[tuple[Option, ...]] = (
        Option(
            "seconds",
            f"a number of seconds from 0 to {_LONGEST_DELAY:g}",
            "0.5",
            "how late",
            fraction(_LONGEST_DELAY),
        ),
        ENGINE,
    )
    defaults: ClassVar[Mapping[str, str]] = {"times": "all"}

    def spoil(self, queue: QueueThread, packet: Packet) -> bool:
        """Wait."""
        end = time.monotonic() + self.values["seconds"]
        queue.wait_until(lambda: time.monotonic() >= end, "delayed by an injected defect")
        return True


class FaultInQueue(QueueDefect):
    """A packet that meets an address which is not mapped."""

    name: ClassVar[str] = "vm-fault"
    summary: ClassVar[str] = "a queue has a VM fault before a packet"
    occasion: ClassVar[str] = "a packet"
    options: ClassVar[tuple[Option, ...]] = (
        Option("address", "a GPU address from 0 to 2**64 - 1", "0xdead0000", "where", _ADDRESS),
        choice("access", ("read", "write"), "read", "kind of access"),
        ENGINE,
    )

    def before_packet(self, queue: QueueThread, packet: Packet) -> bool:
        """Raise the fault."""
        if self.concerns(queue.context) and self.happens():
            access = Access.READ if self.values["access"] == "read" else Access.WRITE
            raise VmFault(self.values["address"], access, Reason.NOT_PRESENT)
        return True


def _is_fence(queue: QueueThread, packet: Packet) -> bool:
    fields = packet.fields
    if fields.get("completion_signal"):
        return True
    if packet.name != "FENCE" and not (packet.name == "RELEASE_MEM" and fields["data_sel"] in (1, 2)):
        return False
    return not cast("QueueReports", queue.context.host).is_event_slot(fields["addr"])
