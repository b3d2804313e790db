"""Work that is being put together for a queue: a chain of commands, submitted or recorded as a whole."""

from __future__ import annotations

import struct
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Self

from pytest_amdgpu.driver.arguments import check_type, shown, whole_number
from pytest_amdgpu.driver.buffer import Buffer, BufferSlice
from pytest_amdgpu.driver.errors import ArgumentTypeError, BufferBoundsError, CommandError
from pytest_amdgpu.driver.recording import Recording
from pytest_amdgpu.driver.semaphore import TimelineSemaphore

if TYPE_CHECKING:
    from pytest_amdgpu.driver.queue import Queue

_PACK = tuple(struct.Struct(f"<{count}I").pack for count in range(64))
_ADDRESS = struct.Struct("<Q")

_PART = 1024
"""Bytes of code after which a place to split a long submission is noted."""

_SHOWN_PACKETS = 3

_PLACES = (Buffer, BufferSlice)

PAYLOAD_ALIGNMENT = 64
"""Kernel arguments want 16 bytes (LLVM AMDGPU guide), dispatch packets 64, indirect buffers 4."""


def encode(words: tuple[int, ...]) -> bytes:
    """Return the bytes of a packet of up to 63 dwords."""
    return _PACK[len(words)](*words)


LONGEST_NOP = 1 << 14
"""Dwords of the longest NOP of SDMA and of PM4, whose counts have 14 bits."""


def nops(nop: Callable[[int], tuple[int, ...]], size: int) -> bytes:
    """Return NOP packets of `size` bytes; `nop(n)` is the packet with `n` dwords behind the first."""
    packets = []
    left = size // 4
    while left:
        dwords = min(left, LONGEST_NOP)
        packets.append(nop(dwords - 1)[0].to_bytes(4, "little") + bytes(4 * dwords - 4))
        left -= dwords
    return b"".join(packets)


Link = tuple[bytearray, int, int]
"""A 64-bit place that is to hold an address: in what, at which byte, and of which byte of the payload."""


class Commands(ABC):
    """A chain of commands for one queue.

    Nothing reaches the GPU before `submit`. `code` is what the queue's ring takes; `payload` is what
    the commands point to (kernel arguments, dispatch packets, indirect buffers) and is placed in memory
    at submission, so its addresses are links until then.
    """

    CODE_ALIGNMENT = 4
    """Bytes; code is padded to a multiple of this where it can be split, and at its end."""

    def __init__(self, queue: Queue[Any]) -> None:
        self.queue = queue
        self.code = bytearray()
        self.payload = bytearray()
        self.links: list[Link] = []
        self.signals: list[tuple[TimelineSemaphore, int]] = []
        self._splits: list[int] = []
        self._last_split = 0
        self.done = False
        """Whether it was submitted or recorded."""

    @abstractmethod
    def wait(self, semaphore: TimelineSemaphore, value: int) -> Self:
        """Do nothing of what follows before the semaphore is at least `value`, then see what it guards."""

    @abstractmethod
    def signal(self, semaphore: TimelineSemaphore, value: int) -> Self:
        """When all that precedes is done and visible, set the semaphore and wake the host's waiters."""

    @abstractmethod
    def timestamp(self, buffer: Buffer | BufferSlice, offset: int = 0) -> Self:
        """When all that precedes is done, store the GPU's constant counter (64 bits) in a buffer."""

    def run(self, recording: Recording) -> Self:
        """Do what was recorded on this queue."""
        check_type(recording, Recording, "what a queue runs is a recording, as finish() makes it")
        recording.check_usable()
        if recording.queue is not self.queue:
            raise CommandError(f"a recording of {recording.queue.name} cannot run on {self.queue.name}")
        self._append_recording(recording.invocation)
        self.signals.extend(recording.signals)
        return self

    def submit(self) -> None:
        """Hand the chain to the queue, which begins when it has done what was submitted before."""
        self._finish()
        self.queue.execute(self)

    def finish(self) -> Recording:
        """Keep the chain as a recording, which can be submitted any number of times."""
        self._finish()
        return self.queue.record_commands(self)

    @property
    def pending(self) -> bool:
        """Whether it holds commands that were neither submitted nor recorded."""
        return bool(self.code) and not self.done

    def describe(self) -> str:
        """The first of its packets, decoded."""
        packets = list(self.queue.decode_all(memoryview(self.code).cast("I")))
        shown = "; ".join(map(str, packets[:_SHOWN_PACKETS]))
        return f"{shown}; and {len(packets) - _SHOWN_PACKETS} more" if packets[_SHOWN_PACKETS:] else shown

    def parts(self, limit: int) -> Iterator[memoryview]:
        """Cut the code, where commands end, into parts of at most `limit` bytes."""
        code = memoryview(self.code)
        start = end = 0
        for split in (*self._splits, len(code)):
            if split - start > limit:
                if end > start:
                    yield code[start:end]
                    start = end
                if split - start > limit:
                    raise CommandError(
                        f"a command of {split - start} bytes does not fit the ring of {self.queue.name}"
                    )
            end = split
        if end > start:
            yield code[start:end]

    def align(self) -> None:
        """Pad the code to a multiple of `CODE_ALIGNMENT`."""
        missing = -len(self.code) % self.CODE_ALIGNMENT
        if missing:
            self.code += self.queue.padding(missing)

    def _finish(self) -> None:
        if self.done:
            raise CommandError("this chain was submitted; record() one that is to run several times")
        self.done = True
        self.align()

    def _append_recording(self, invocation: bytes) -> None:
        self.align()
        self.code += invocation
        self._note_split()

    def _note_split(self) -> None:
        """Called where a command ends: note now and then that the chain can be cut here."""
        if len(self.code) - self._last_split >= _PART:
            self.align()
            self._last_split = len(self.code)
            self._splits.append(self._last_split)

    def _add_payload(self, data: bytes) -> int:
        """Append aligned data to the payload and return its offset."""
        payload = self.payload
        payload += bytes(-len(payload) % PAYLOAD_ALIGNMENT)
        offset = len(payload)
        payload += data
        return offset


def resolve(links: list[Link], base: int) -> None:
    """Fill in the addresses of a payload that will lie at `base`."""
    for place, position, target in links:
        _ADDRESS.pack_into(place, position, base + target)


def timestamp_address(buffer: Buffer | BufferSlice, offset: int) -> int:
    """Return where in a buffer a time stamp of 64 bits goes, if it fits there."""
    check_place(buffer, "what a time stamp goes to")
    offset = whole_number(offset, "the offset of a time stamp in bytes")
    if not 0 <= offset <= buffer.size - _ADDRESS.size:
        raise BufferBoundsError(f"a time stamp at byte {offset} is not inside {buffer.describe()}")
    return buffer.address + offset


def check_place(place: object, what: str) -> None:
    """Raise `ArgumentTypeError` unless a command was given a buffer, or what else has address and size."""
    if not isinstance(place, _PLACES) and not (hasattr(place, "address") and hasattr(place, "size")):
        raise ArgumentTypeError(f"{what} is a buffer or a slice of one, not {shown(place)}")


def check_semaphore(semaphore: object) -> None:
    """Raise `ArgumentTypeError` unless a command was given a semaphore."""
    check_type(semaphore, TimelineSemaphore, "what a queue waits for and signals is a timeline semaphore")


def transfer_size(
    destination: Buffer | BufferSlice, source: Buffer | BufferSlice | None, size: int | None
) -> int:
    """Check a transfer's size (default: all of the source, else of the destination) and return it."""
    check_place(destination, "the destination")
    if source is not None:
        check_place(source, "the source")
    if size is None:
        size = destination.size if source is None else source.size
    elif type(size) is not int:
        size = whole_number(size, "the size of a transfer in bytes")
    for place in (destination, source):
        if place is not None and not 0 < size <= place.size:
            raise BufferBoundsError(f"cannot transfer {size} bytes: {place.describe()}")
    return size
