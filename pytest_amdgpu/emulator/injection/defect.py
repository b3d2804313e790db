"""What a defect is: when it happens, and the places of a software GPU where it may.

A GPU that has defects has an `Injected` with an object of each. The kernel side and the engines ask it at a
few places, and at none where a GPU has no defects: its attribute is None then.
"""

from __future__ import annotations

import errno
import random
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from pytest_amdgpu.emulator.injection.options import COMMON, Option
from pytest_amdgpu.emulator.refusal import Refusal

if TYPE_CHECKING:
    from pytest_amdgpu.emulator.engine.queue import QueueThread
    from pytest_amdgpu.emulator.gpu import SoftwareGpu
    from pytest_amdgpu.emulator.kfd.queue import Queue
    from pytest_amdgpu.emulator.process import Machine
    from pytest_amdgpu.packets.layout import Packet

DOORBELL = "DOORBELL"
"""What the store to a doorbell is called among the calls of the kernel boundary."""


_FREEING = ("FREE_MEMORY_OF_GPU", "UNMAP_MEMORY_FROM_GPU", "DESTROY_QUEUE", "WAIT_EVENTS")
"""Calls that still work when the GPU is gone: they take back what the kernel keeps for it."""


@dataclass(slots=True)
class Scene:
    """Which test runs, for defects that happen only in some; empty texts outside of tests."""

    test: str = ""
    phase: str = ""
    runs: int = 0
    """How often this process has begun this test, this time included."""


class Defect:
    """One thing that goes wrong with one GPU. Methods return at once unless it is their occasion."""

    name: ClassVar[str]
    summary: ClassVar[str]
    occasion: ClassVar[str]
    """What `after` counts."""
    options: ClassVar[tuple[Option, ...]] = ()
    defaults: ClassVar[Mapping[str, str]] = {}
    """Defaults of the options that all defects have, where they are not the usual ones."""

    def __init__(self, gpu: SoftwareGpu, values: Mapping[str, Any], scene: Scene) -> None:
        """`values` has a value for every option."""
        self.gpu = gpu
        self.values = values
        self.scene = scene
        self.happened = 0
        """How often it has happened."""
        self._seen = 0
        self.lock = threading.RLock()
        self._random = random.Random(f"{values['seed']} {self.name} {gpu.pci_address}")

    @classmethod
    def all_options(cls) -> tuple[Option, ...]:
        """Return the defect's own options and those that all have."""
        common = (option._replace(default=cls.defaults.get(option.name, option.default)) for option in COMMON)
        return (*cls.options, *common)

    def happens(self) -> bool:
        """Whether this occasion is one at which it happens; counts it."""
        values = self.values
        if not self.is_in_scene():
            return False
        with self.lock:
            if values["times"] is not None and self.happened >= values["times"]:
                return False
            self._seen += 1
            if self._seen < values["after"]:
                return False
            if values["probability"] < 1 and self.draw() >= values["probability"]:
                return False
            self.happened += 1
            return True

    def is_in_scene(self) -> bool:
        """Whether the test and the phase are ones in which it may happen."""
        values, scene = self.values, self.scene
        if values["phase"] not in ("any", scene.phase):
            return False
        return values["test"] is None or bool(scene.test and values["test"].search(scene.test))

    def draw(self) -> float:
        """Return a random number from 0 to 1 that decides where there is a probability."""
        return self._random.random()

    def at_call(self, machine: Machine, call: str) -> None:
        """At a call of the kernel boundary that is about this GPU, in the client's thread; raises Refusal."""

    def at_doorbell(self, queue: Queue) -> bool:
        """At a store to a doorbell, in the client's thread; False if it does not reach the queue."""
        return True

    def before_packet(self, queue: QueueThread, packet: Packet) -> bool:
        """Before a packet, in the queue's thread; False if it is not executed. May change the packet."""
        return True

    def after_packet(self, queue: QueueThread, packet: Packet) -> None:
        """After a packet was executed, in the queue's thread."""

    def undo(self) -> None:
        """Mend what can be mended when the GPU is to have the defect no more."""

    def loses_interrupt(self) -> bool:
        """Whether an interrupt that a queue raises is lost, in the queue's thread."""
        return False


class Injected:
    """The defects of one GPU."""

    def __init__(self, gpu: SoftwareGpu) -> None:
        self._gpu = gpu
        self.defects: tuple[Defect, ...] = ()

    def at_call(self, machine: Machine, call: str) -> None:
        """See `Defect.at_call`."""
        for defect in self.defects:
            defect.at_call(machine, call)
        if self._gpu.gone and call not in (DOORBELL, *_FREEING):
            raise Refusal(errno.ENODEV, f"{self._gpu!r} is gone")

    def at_doorbell(self, queue: Queue) -> bool:
        """See `Defect.at_doorbell`; it is a call, too."""
        self.at_call(queue.device.process.machine, DOORBELL)
        return all(defect.at_doorbell(queue) for defect in self.defects) and not self._gpu.gone

    def before_packet(self, queue: QueueThread, packet: Packet) -> bool:
        """See `Defect.before_packet`. A queue that is wedged stays in here until it is destroyed."""
        if queue.context.wedged:
            queue.wait_until(lambda: False, "wedged by an injected defect")
        return all(defect.before_packet(queue, packet) for defect in self.defects)

    def after_packet(self, queue: QueueThread, packet: Packet) -> None:
        """See `Defect.after_packet`."""
        for defect in self.defects:
            defect.after_packet(queue, packet)

    def loses_interrupt(self) -> bool:
        """See `Defect.loses_interrupt`."""
        return any(defect.loses_interrupt() for defect in self.defects)
