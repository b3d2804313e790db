"""A GPU on which now and then a test goes wrong."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, ClassVar

from pytest_amdgpu.emulator.injection.corruption import turn_over, written
from pytest_amdgpu.emulator.injection.defect import Defect, Scene

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pytest_amdgpu.emulator.engine.queue import QueueThread
    from pytest_amdgpu.emulator.gpu import SoftwareGpu
    from pytest_amdgpu.packets.layout import Packet

_DISPATCHES = ("DISPATCH_DIRECT", "DISPATCH_INDIRECT", "KERNEL_DISPATCH")


class Flaky(Defect):
    """Spoils the first work of some tests.

    Which tests follows from the seed, the id of the test, and how often the process has run it; so it is the
    same in any order and however tests are dealt to processes, and another run of a test may go well.
    """

    name: ClassVar[str] = "flaky"
    summary: ClassVar[str] = (
        "in some tests the first copy, fill or write has a wrong byte, or the first dispatch does not run; "
        "which tests follows from the seed, the test's id, and how often it has run"
    )
    occasion: ClassVar[str] = "a test"
    defaults: ClassVar[Mapping[str, str]] = {"times": "all", "probability": "0.5"}

    def __init__(self, gpu: SoftwareGpu, values: Mapping[str, Any], scene: Scene) -> None:
        super().__init__(gpu, values, scene)
        self._decided = ("", 0)

    def draw(self) -> float:
        """Return the number that decides about this run of this test."""
        seed, scene = self.values["seed"], self.scene
        return random.Random(f"{seed} {scene.test} {scene.runs}").random()

    def before_packet(self, queue: QueueThread, packet: Packet) -> bool:
        """Drop a dispatch."""
        if packet.name in _DISPATCHES and self._is_now():
            queue.context.host.log(f"injected: {packet} is not executed")
            return False
        return True

    def after_packet(self, queue: QueueThread, packet: Packet) -> None:
        """Spoil the last byte that was written."""
        place = written(packet)
        if place is not None and self._is_now():
            wrong = place.address + place.size - 1
            queue.context.host.log(f"injected: the byte at {wrong:#x} is wrong, by {packet}")
            turn_over(queue, wrong)

    def _is_now(self) -> bool:
        """Whether this is the first work of a test that goes wrong."""
        scene = self.scene
        with self.lock:
            if not (scene.test and self.is_in_scene()):
                return False
            if self._decided != (scene.test, scene.runs):
                self._decided = scene.test, scene.runs
                return self.happens()
            return False
