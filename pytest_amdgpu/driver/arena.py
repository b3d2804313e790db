"""Memory for what commands point to (kernel arguments, indirect buffers), reused as the queue goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_amdgpu.driver.buffer import Buffer
from pytest_amdgpu.driver.commands import PAYLOAD_ALIGNMENT

if TYPE_CHECKING:
    from pytest_amdgpu.driver.queue import Queue

SEGMENTS = 4

_MARK_ROOM = 256
"""Bytes at the end of a segment for what the mark itself points to."""


class Arena:
    """A buffer in segments. One is reused only when the queue has done all that pointed into it.

    When a segment is full, a mark is put into the queue; the oldest segment is free when its mark has
    been reached. That costs one mark per segment and nothing per submission.
    """

    def __init__(self, queue: Queue[Any], buffer: Buffer) -> None:
        self._queue = queue
        self._memory = buffer.memory
        self._address = buffer.address
        self._segment_size = buffer.size // SEGMENTS
        self._marks = [0] * SEGMENTS
        self._segment = 0
        self._next = 0
        self._limit = self._segment_size - _MARK_ROOM

    @property
    def largest(self) -> int:
        """Bytes that can be placed at once."""
        return self._segment_size - _MARK_ROOM

    def reserve(self, size: int) -> int:
        """Return the offset of `size` bytes; waits for the queue, within its limits, if all is in use."""
        start = self._next
        if start + size > self._limit:
            start = self._next_segment()
        self._next = start + size + -size % PAYLOAD_ALIGNMENT
        return start

    def make_room_for_mark(self) -> None:
        """Begin the next segment now unless this one has room for what a mark points to."""
        if self._next + _MARK_ROOM > self._limit:
            self._next = self._next_segment()

    def address(self, offset: int) -> int:
        """The GPU address of an offset."""
        return self._address + offset

    def write(self, offset: int, data: bytearray) -> None:
        """Fill reserved bytes."""
        self._memory[offset : offset + len(data)] = data

    def close(self) -> None:
        """Let go of the memory, which may then be unmapped."""
        self._memory.release()

    def _next_segment(self) -> int:
        self._limit += _MARK_ROOM
        self._marks[self._segment] = self._queue.mark()
        self._segment = (self._segment + 1) % SEGMENTS
        self._queue.wait_mark(self._marks[self._segment])
        start = self._segment * self._segment_size
        self._limit = start + self._segment_size - _MARK_ROOM
        return start
