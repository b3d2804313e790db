"""How dwords reach an engine: a ring in memory, its read and write pointers, and a doorbell.

Positions count bytes and never wrap; the hardware's pointers are the same in units of the queue (SDMA
bytes, PM4 dwords, AQL packets). A PM4 queue reports its read pointer modulo the ring, the others do not,
so only the difference modulo the ring is used, and the ring is never filled to the last unit.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from pytest_amdgpu.driver.arguments import check_timeout
from pytest_amdgpu.driver.errors import CommandError, WaitTimeoutError

if TYPE_CHECKING:
    from pytest_amdgpu.kernel.protocol import Kernel

_SHORTEST_NAP = 20e-6
_LONGEST_NAP = 1e-3

_REMEMBERED = 16
"""Submissions whose places are remembered, to show what was read last."""

_RESERVE = 64
"""Bytes that stay free, so that a full ring differs from an empty one (one AQL packet)."""


class Ring:
    """The ring of one queue. One thread at a time may use it."""

    def __init__(
        self,
        kernel: Kernel,
        memory: memoryview,
        read_pointer: memoryview,
        write_pointer: memoryview,
        doorbell: int,
        *,
        unit: int,
        doorbell_bias: int,
        padding: Callable[[int], bytes],
    ) -> None:
        """`memory` holds bytes, the pointers one 64-bit word each.

        `unit` is the bytes that a pointer counts by one; `doorbell_bias` is subtracted from the write
        pointer for the doorbell; `padding(n)` makes `n` bytes that the engine skips.
        """
        self.size = len(memory)
        self._memory = memory
        self._mask = self.size - 1
        self._unit = unit
        self._bias = doorbell_bias
        self._padding = padding
        self._read_pointer = read_pointer
        self._write_pointer = write_pointer
        self._store_doorbell = kernel.store_doorbell
        self._doorbell = doorbell
        self._position = 0
        self._placed: deque[tuple[int, int]] = deque(maxlen=_REMEMBERED)
        self._free = self.size - _RESERVE

    @property
    def longest(self) -> int:
        """Bytes that can be placed at once, wherever the ring's end is."""
        return self.size // 2 - _RESERVE

    @property
    def read_pointer(self) -> int:
        """The engine's read pointer, in units of the queue."""
        return int(self._read_pointer[0])

    @property
    def write_pointer(self) -> int:
        """What was published last, in units of the queue."""
        return int(self._write_pointer[0])

    @property
    def drained(self) -> bool:
        """Whether the engine has read all that was published (not: finished it)."""
        return self._used() == 0

    def place(self, code: bytes | bytearray | memoryview, wait_for_space: Callable[[], SpaceWait]) -> int:
        """Write contiguous commands behind the others and return the byte at which they begin.

        Where they do not fit before the end of the ring the rest of it is padded. Nothing is visible to
        the engine before `publish`. `wait_for_space` makes what waits while the ring is full, and gives up.
        """
        size = len(code)
        start = self._position & self._mask
        rest = self.size - start
        needed = size if size <= rest else size + rest
        if needed > self._free:
            self._make_room(needed, wait_for_space)
        if size > rest:
            self._memory[start:] = self._padding(rest)
            start = 0
        self._memory[start : start + size] = code
        self._position += needed
        self._free -= needed
        self._placed.append((self._position, size))
        return start

    def publish(self) -> None:
        """Let the engine see what was placed: write pointer first, then the doorbell."""
        pointer = self._position // self._unit
        self._write_pointer[0] = pointer
        self._store_doorbell(self._doorbell, pointer - self._bias)

    def pending_words(self) -> memoryview:
        """The dwords from the read pointer on: published ones, or up to the ring's end."""
        start = (self.read_pointer * self._unit) & self._mask
        end = min(start + self._used(), self.size)
        return self._memory[start:end].cast("I")

    def read_words(self) -> list[memoryview]:
        """The dwords of the last submissions as far as the engine has read them, oldest first.

        Each view begins where a command begins, and may end inside of one that is being read.
        """
        read = self._position - self._used()
        views = []
        for end, size in self._placed:
            begin = end - size
            # What is older may be overwritten.
            if begin < read and self._position - begin <= self.size:
                start = begin & self._mask
                views.append(self._memory[start : start + min(end, read) - begin].cast("I"))
        return views

    def close(self) -> None:
        """Let go of the memory, which may then be unmapped."""
        for view in (self._memory, self._read_pointer, self._write_pointer):
            view.release()

    def _used(self) -> int:
        return (self._position - self.read_pointer * self._unit) & self._mask

    def _make_room(self, needed: int, wait_for_space: Callable[[], SpaceWait]) -> None:
        limit = self.size - _RESERVE
        if needed > limit:
            raise CommandError(
                f"{needed} bytes of commands and padding cannot fit a ring of {self.size} bytes"
            )
        if (free := limit - self._used()) < needed:
            nap = wait_for_space()
            while (free := limit - self._used()) < needed:
                nap()
        self._free = free


class SpaceWait:
    """Waits with growing naps for a full ring to drain, until a deadline."""

    def __init__(self, timeout: float, check: Callable[[], None], describe: Callable[[], str]) -> None:
        """`timeout` is in seconds; `check` raises if the device faulted; `describe` tells of the queue.

        Raises `TimeoutValueError`.
        """
        self._timeout = check_timeout(timeout)
        self._check = check
        self._describe = describe
        self._deadline = time.monotonic() + self._timeout
        self._nap = _SHORTEST_NAP

    def __call__(self) -> None:
        """Nap once; raises `WaitTimeoutError` when the time is over."""
        self._check()
        if time.monotonic() > self._deadline:
            raise WaitTimeoutError(f"the ring stayed full for {self._timeout:g} s\n{self._describe()}")
        time.sleep(self._nap)
        self._nap = min(self._nap * 2, _LONGEST_NAP)
