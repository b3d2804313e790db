"""Commands that were put into memory once and can be submitted many times."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_amdgpu.driver.errors import UseAfterFreeError
from pytest_amdgpu.driver.resources import creation_site

if TYPE_CHECKING:
    from pytest_amdgpu.driver.buffer import Buffer
    from pytest_amdgpu.driver.queue import Queue
    from pytest_amdgpu.driver.semaphore import TimelineSemaphore


class Recording:
    """A chain of commands in the GPU's memory. Arguments and semaphore values are those of its making."""

    def __init__(
        self,
        queue: Queue[Any],
        memory: Buffer | None,
        invocation: bytes,
        signals: list[tuple[TimelineSemaphore, int]],
    ) -> None:
        """`invocation` is what the ring takes to run it; `memory` holds what that points to, if anything."""
        self.queue = queue
        self.invocation = invocation
        self.signals = signals
        self.site = creation_site()
        self._memory = memory
        self._freed = False
        queue.device.tracker.add(self)

    def submit(self) -> None:
        """Run it behind all that was submitted to its queue."""
        self.check_usable()
        self.queue.execute_recording(self)

    def free(self) -> None:
        """Free its memory; the queue must have done it by then."""
        self.check_usable()
        self._freed = True
        self.queue.device.tracker.discard(self)
        if self._memory is not None:
            self._memory.free()

    def check_usable(self) -> None:
        """Raise `UseAfterFreeError` after `free`."""
        if self._freed:
            raise UseAfterFreeError(f"{self.describe()}, made at {self.site}, was freed")

    def release(self) -> None:
        """Free it unless that was done before."""
        if not self._freed:
            self.free()

    def describe(self) -> str:
        """One line that says what it is."""
        return f"a recording for {self.queue.name}"
