"""What all queues share: taking in chains of commands, waiting for the end of them, coming and going."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, Protocol, Self, TypeVar

from pytest_amdgpu.driver import queue_memory
from pytest_amdgpu.driver.arena import Arena
from pytest_amdgpu.driver.arguments import check_timeout
from pytest_amdgpu.driver.backend import NORMAL_PRIORITY, PAGE, Location, MemoryRequest, QueueKind
from pytest_amdgpu.driver.buffer import Buffer
from pytest_amdgpu.driver.commands import Commands, resolve
from pytest_amdgpu.driver.errors import CommandError, QueueClosedError
from pytest_amdgpu.driver.recording import Recording
from pytest_amdgpu.driver.resources import creation_site
from pytest_amdgpu.driver.ring import Ring, SpaceWait
from pytest_amdgpu.driver.scheduling import Schedulable, priority_number
from pytest_amdgpu.packets.layout import Packet, PacketError

if TYPE_CHECKING:
    from pytest_amdgpu.driver.buffer import BufferSlice
    from pytest_amdgpu.driver.device import Device
    from pytest_amdgpu.driver.semaphore import TimelineSemaphore

ARENA_SIZE = 1 << 20
_LONGEST_SHOWN = 1 << 14
"""Dwords of a submission whose packets are shown."""

C = TypeVar("C", bound=Commands)
"""The chain of commands that a kind of queue takes."""


class QueueWatcher(Protocol):
    """Is told of queues that come and go."""

    def queue_made(self, queue: Queue[Any]) -> None:
        """Know of a new queue."""

    def queue_closed(self, queue: Queue[Any]) -> None:
        """Know that a queue is about to be destroyed."""


class Queue(Generic[C], Schedulable):
    """A user-mode queue of one engine. One thread at a time may submit to it.

    Commands given to a queue gather in one open chain until `submit`, whether they are written as one
    expression or as several statements.
    """

    kind: QueueKind
    UNIT: int
    """Bytes that the read and write pointer count by one."""
    DOORBELL_BIAS = 0
    NOT_SHOWN: frozenset[str] = frozenset()
    """Packets that `history` leaves out."""

    def __init__(
        self,
        device: Device,
        ring_size: int,
        *,
        engine: int | None = None,
        xgmi: bool = False,
        priority: int | str = NORMAL_PRIORITY,
    ) -> None:
        """Create the hardware queue; whatever fails, nothing is left behind."""
        self._priority, self._paused = priority_number(priority), False
        self.device = device
        self.site = creation_site()
        self.name = f"{self.kind.value} queue {device.next_queue_number()}"
        self.full_timeout = 10.0
        """Seconds that a submission may wait for a full ring to drain."""
        self._submissions = 0
        self._idle_submissions = 0
        self._closed = False
        self._open: C | None = None
        self._mark = 0
        self._arena: Arena | None = None
        self._held: list[Buffer] = []
        self._retired: list[tuple[int, Buffer]] = []
        with ExitStack() as undo:
            self._progress = device.semaphores.create(0, None)
            self._progress.label = f"end of work of {self.name}"
            undo.callback(self._progress.free)
            memory = queue_memory.create(
                device.backend,
                self.kind,
                ring_size,
                self.name,
                engine=engine,
                xgmi=xgmi,
                priority=self._priority,
            )
            undo.callback(memory.close)
            self.queue_id = memory.hardware.queue_id
            self.address = memory.pointers.address
            """Address of the page with the pointers, which for compute queues is an amd_queue_t."""
            self._memory = memory
            self.ring = Ring(
                device.kernel,
                memory.ring.memory,
                memory.pointer(queue_memory.READ_POINTER),
                memory.pointer(queue_memory.WRITE_POINTER),
                memory.hardware.doorbell,
                unit=self.UNIT,
                doorbell_bias=self.DOORBELL_BIAS,
                padding=self.padding,
            )
            undo.pop_all()
        device.tracker.add(self)
        if device.queue_watcher is not None:
            device.queue_watcher.queue_made(self)

    def record(self) -> C:
        """Begin a chain of its own, which is to be recorded with `finish()`."""
        return self._commands()

    def wait(self, semaphore: TimelineSemaphore, value: int) -> C:
        """Go on with the open chain: `Commands.wait`."""
        return self._chain().wait(semaphore, value)

    def signal(self, semaphore: TimelineSemaphore, value: int) -> C:
        """Go on with the open chain: `Commands.signal`."""
        return self._chain().signal(semaphore, value)

    def timestamp(self, buffer: Buffer | BufferSlice, offset: int = 0) -> C:
        """Go on with the open chain: `Commands.timestamp`."""
        return self._chain().timestamp(buffer, offset)

    def run(self, recording: Recording) -> C:
        """Go on with the open chain: `Commands.run`."""
        return self._chain().run(recording)

    def submit(self) -> None:
        """Submit the open chain; raises `CommandError` if nothing was given to the queue."""
        if self._open is None or not self._open.pending:
            raise CommandError(f"{self.describe()} was given no commands to submit")
        self._open.submit()

    @property
    def place(self) -> tuple[int, int, int, int]:
        """Address and bytes of the ring, addresses of the read and of the write pointer."""
        pointers = self._memory.pointers.address
        return (
            self._memory.ring.address,
            self.ring.size,
            pointers + queue_memory.READ_POINTER,
            pointers + queue_memory.WRITE_POINTER,
        )

    def discard(self) -> None:
        """Forget the open chain, for instance after one of its commands was refused."""
        self._open = None

    def execute(self, commands: Commands) -> None:
        """Put a finished chain into the ring and ring the doorbell; `Commands.submit` calls this.

        Blocks while the ring is full, at most `full_timeout` seconds (`WaitTimeoutError`).
        """
        self.check_open()
        self.device.refuse_lost(self.name)
        if commands.payload:
            self._place_payload(commands)
        ring = self.ring
        if len(commands.code) <= ring.longest:
            self._put(commands.code)
        else:
            for part in commands.parts(ring.longest):
                self._put(part)
        self._note(commands.signals)

    def execute_recording(self, recording: Recording) -> None:
        """Put a recording's invocation into the ring; `Recording.submit` calls this."""
        self.check_open()
        self.device.refuse_lost(self.name)
        self._put(recording.invocation)
        self._note(recording.signals)

    @abstractmethod
    def record_commands(self, commands: Commands) -> Recording:
        """Make a recording of a finished chain; `Commands.finish` calls this."""

    def wait_idle(self, timeout: float) -> None:
        """Wait until all that was submitted is done; raises `WaitTimeoutError` or `GpuFaultError`.

        Raises `CommandError` if there are commands that were not submitted: they would never be done.
        """
        timeout = check_timeout(timeout)
        self.check_open()
        self._refuse_forgotten_commands()
        self.device.raise_fault([self.name])
        if self._submissions == self._idle_submissions:
            return
        if self._paused:
            raise CommandError(f"{self.describe()} is paused and has work: resume() it before wait_idle()")
        mark = self.mark()
        done = self._submissions
        self._progress.wait(mark, timeout)
        self._idle_submissions = done
        while self._retired and self._retired[0][0] <= mark:
            self._retired.pop(0)[1].free()

    def mark(self) -> int:
        """Submit a mark behind all work; `wait_mark` waits for it."""
        if self._arena is not None:
            # A mark may be made here, too, so the number of this one is taken afterwards.
            self._arena.make_room_for_mark()
        mark = self._mark = self._mark + 1
        self._commands().signal(self._progress, mark).submit()
        return mark

    def wait_mark(self, mark: int) -> None:
        """Wait, at most `full_timeout` seconds, until the queue has reached a mark."""
        self._progress.wait(mark, self.full_timeout)

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def check_open(self) -> None:
        """Raise `QueueClosedError` after `close`."""
        if self._closed:
            raise QueueClosedError(f"{self.describe()}, made at {self.site}, was closed")

    def close(self) -> None:
        """Destroy the queue and then free its memory. Work that it has not done is abandoned.

        Raises `CommandError`, when all that is done, if commands were given to the queue and never submitted.
        """
        if self._closed:
            return
        self._closed = True
        self.device.tracker.discard(self)
        if self.device.queue_watcher is not None:
            self.device.queue_watcher.queue_closed(self)
        with ExitStack() as undo:
            undo.callback(self._progress.free)
            for buffer in (*self.held_memory(), *(buffer for _, buffer in self._retired)):
                undo.callback(buffer.free)
            # Runs first: only then does the GPU touch none of the others any more.
            undo.callback(self._memory.close)
            undo.callback(self.ring.close)
            if self._arena is not None:
                undo.callback(self._arena.close)
        self._refuse_forgotten_commands()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_exception: object) -> None:
        if kind is not None:
            self.discard()
        self.close()

    def release(self) -> None:
        """The same as `close`."""
        self.close()

    def describe(self) -> str:
        """One line that says what it is."""
        return f"{self.name} on {self.device.name}"

    def state(self) -> str:
        """Say where the queue is: pointers, and the packet at the read pointer."""
        ring = self.ring
        text = f"{self.name}: write pointer {ring.write_pointer:#x}, read pointer {ring.read_pointer:#x}"
        if self._paused:
            text += ", paused"
        if ring.drained:
            return f"{text}, all read"
        words = ring.pending_words()
        try:
            packet = self.decode(words)
        except PacketError as error:
            packet = f"{error.reason} ({' '.join(f'{word:08x}' for word in words[:8])})"
        return f"{text}, at the read pointer: {packet}"

    def history(self, packets: int = 8) -> list[str]:
        """Return the last packets that the engine has read, oldest first, of the submissions known yet."""
        texts: list[str] = []
        for words in reversed(self.ring.read_words()):
            texts = [*self._texts(words), *texts]
            if len(texts) >= packets:
                break
        return texts[-packets:]

    def _texts(self, words: memoryview) -> Iterator[str]:
        if len(words) > _LONGEST_SHOWN:
            yield f"{len(words)} dwords of one submission, too many to show"
            return
        at = 0
        try:
            for packet in self.decode_all(words):
                if packet.name not in self.NOT_SHOWN:
                    yield self.decode(words[at:])
                at += packet.words
        except PacketError as error:
            # The engine has read a part of the last packet, or it is none.
            yield str(error)

    @abstractmethod
    def decode_all(self, words: memoryview) -> Iterable[Packet]:
        """Decode the commands of the queue in `words`, which ends where a command ends."""

    @abstractmethod
    def decode(self, words: memoryview) -> str:
        """Return the text of the packet at the beginning of `words`."""

    @abstractmethod
    def padding(self, size: int) -> bytes:
        """Return commands of `size` bytes that do nothing."""

    @abstractmethod
    def _commands(self) -> C:
        """Begin a chain."""

    def _chain(self) -> C:
        """Return the open chain, a new one if there is none."""
        chain = self._open
        if chain is None or chain.done:
            chain = self._open = self._commands()
        return chain

    def _refuse_forgotten_commands(self) -> None:
        chain, self._open = self._open, None
        if chain is not None and chain.pending:
            raise CommandError(
                f"{self.describe()}, made at {self.site}, was given commands that were never submitted: "
                f"{chain.describe()}"
            )

    def _put(self, code: bytes | bytearray | memoryview) -> None:
        self.ring.place(code, self._wait_for_space)
        if self.device.host_writes_vram:
            self.device.backend.flush_host_writes()
        self.ring.publish()
        self._submissions += 1

    def _wait_for_space(self) -> SpaceWait:
        return SpaceWait(self.full_timeout, partial(self.device.raise_fault, [self.name]), self.state)

    def _note(self, signals: list[tuple[TimelineSemaphore, int]]) -> None:
        for semaphore, value in signals:
            semaphore.note_signal(value, self.name, self._submissions)

    def _place_payload(self, commands: Commands) -> None:
        """Give the payload a place in memory and tell the commands where."""
        payload = commands.payload
        arena = self._arena
        if arena is None:
            memory = self.hold(ARENA_SIZE)
            arena = self._arena = Arena(self, memory)
        if len(payload) <= arena.largest:
            offset = arena.reserve(len(payload))
            resolve(commands.links, arena.address(offset))
            arena.write(offset, payload)
        else:
            buffer = self.system_memory(len(payload))
            resolve(commands.links, buffer.address)
            buffer.write(payload)
            self._retired.append((self._mark + 1, buffer))

    def held_memory(self) -> list[Buffer]:
        """All memory that lives as long as the queue, besides that of the hardware queue itself."""
        return self._held

    def hold(self, size: int) -> Buffer:
        """Allocate system memory for the GPU that lives as long as the queue."""
        buffer = self.system_memory(size)
        self._held.append(buffer)
        return buffer

    def system_memory(self, size: int) -> Buffer:
        """Allocate memory that commands may point to, apart from what tests allocate."""
        backend = self.device.backend
        rounded = -(-size // PAGE) * PAGE
        request = MemoryRequest(Location.GTT, rounded, executable=True, uncached=True)
        return Buffer(backend, backend.allocate(request), size)
