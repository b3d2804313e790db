"""The life of a queue: its thread, doorbell, eviction, waiting and death.

`QueueThread` knows nothing of packets. A subclass counts its ring in a unit of its own (bytes, dwords,
packets), and `run` executes what lies between `rptr` and a limit. Two methods bound every piece of work:
`checkpoint`, called between packets and between pieces of long ones, where the queue can be evicted or
stopped, and `wait_until`, which polls memory as the hardware's polling packets do.
"""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING

from pytest_amdgpu.emulator.engine.errors import BadPacketError, EngineStuckError, QueueStoppedError
from pytest_amdgpu.emulator.isa.errors import IllegalInstruction
from pytest_amdgpu.emulator.memory import VmFault
from pytest_amdgpu.packets.layout import PacketError

if TYPE_CHECKING:
    from pytest_amdgpu.emulator.engine.context import QueueContext

STOP_TIMEOUT = 10.0
"""Seconds within which a thread must reach a checkpoint; pieces of work between two take milliseconds."""

_POLL_FIRST = 50e-6
_POLL_LONGEST = 2e-3
"""Seconds between two looks at polled memory. Engines' writes wake a poller at once, the host's cannot."""


class _EngineThread(threading.Thread):
    """A queue's thread, told apart from the client's."""


class QueueThread(ABC):
    """A queue with a thread of its own; see `factory.EngineQueue` for what its callers rely on."""

    name: str
    """What the queue is, for messages: `SDMA queue 3`."""
    unit: int
    """Bytes of the ring that one count of the pointers stands for."""

    def __init__(self, context: QueueContext, kind: str, unit: int) -> None:
        self.context = context
        self.memory = context.memory
        self.name = f"{kind} queue {context.queue_id}"
        self.unit = unit
        self.rptr = 0
        """First count that has not been executed; it never wraps."""
        self._condition = threading.Condition()
        self._doorbell: int | None = None
        self._limit = 0
        self._refused_doorbell: str | None = None
        self._evicted = False
        self._attention = not context.active
        self._parked = False
        self._stopping = False
        self._ended = False
        self._reload = False
        self._halted: str | None = None
        self._activity = "idle"
        self._warned: set[str] = set()
        self._published = 0
        self._thread = _EngineThread(target=self._main, name=self.name, daemon=True)

    def start(self) -> None:
        """Start the thread; nothing runs before."""
        self._thread.start()

    # What a subclass provides.

    @abstractmethod
    def run(self, limit: int) -> None:
        """Execute what is published between `rptr` and `limit`, moving `rptr`.

        It may return early, with `rptr` short of `limit`, where it must wait for another doorbell.
        """

    @abstractmethod
    def write_rptr(self) -> None:
        """Store `free_up_to` to the queue's read pointer as this kind of queue reports it."""

    @property
    def free_up_to(self) -> int:
        """First count of the ring that is still in use: what is executed, unless it is needed for longer."""
        return self.rptr

    def limit_of(self, doorbell: int) -> int:
        """Return the write pointer that a doorbell value stands for."""
        return doorbell

    def advance(self) -> bool:
        """Do a slice of the work that goes on behind the read pointer; False when there is none.

        Called whenever the queue would sleep, so that shaders make progress while a packet waits.
        """
        return False

    def describe_position(self) -> str:
        """Say what is at the read pointer, for diagnosis."""
        return ""

    # What callers of any thread use.

    def ring_doorbell(self, value: int) -> None:
        """Take a store to the doorbell."""
        with self._condition:
            previous = self._doorbell
            if previous is not None and value < previous and self._refused_doorbell is None:
                self._take_lower_doorbell(previous, value)
                if self._refused_doorbell is None:
                    return
            self._doorbell = value
            self._condition.notify_all()

    def evict(self) -> None:
        """Preempt the queue and wait until it has let go of memory (not when an engine's thread calls)."""
        with self._condition:
            self._evicted = True
            self._attention = True
            self._condition.notify_all()
        self._wait_until_parked()

    def restore(self) -> None:
        """Let an evicted queue go on."""
        with self._condition:
            self._evicted = False
            self._condition.notify_all()

    def update(self, ring_address: int, ring_size: int, *, priority: int = 7, active: bool = True) -> None:
        """Change ring, priority and activity while the queue is preempted."""
        with self._condition:
            self.context.active = False
            self._attention = True
            self._condition.notify_all()
        self._wait_until_parked()
        with self._condition:
            self.context.ring_address = ring_address
            self.context.ring_size = ring_size
            self.context.priority = priority
            self.context.active = active
            self._condition.notify_all()

    def stop(self) -> None:
        """Abandon what runs and join the thread."""
        with self._condition:
            self._stopping = True
            self._attention = True
            self._condition.notify_all()
        self.memory.notify()
        self._thread.join(STOP_TIMEOUT)
        if self._thread.is_alive():
            raise EngineStuckError(f"{self.name} did not stop within {STOP_TIMEOUT} s: {self.state()}")

    def state(self) -> str:
        """Describe pointers and activity in one line."""
        with self._condition:
            doorbell = "never rung" if self._doorbell is None else f"doorbell {self._doorbell:#x}"
            if self._halted is not None:
                doing = f"halted: {self._halted}"
            elif self._ended:
                doing = "destroyed"
            elif self._evicted:
                doing = f"evicted while {self._activity}"
            elif not self.context.active:
                doing = "inactive"
            else:
                doing = self._activity
            if self._halted is None and self.rptr < self._limit and doing != "idle":
                doing += self.describe_position()
        return f"{self.name}: rptr {self.rptr:#x}, wptr {self._limit:#x}, {doorbell}, {doing}"

    # What subclasses use in the queue's thread.

    def checkpoint(self) -> None:
        """Give way to eviction, update and destruction. Memory may be unmapped meanwhile."""
        if self._attention:
            self._park()

    def activity(self, text: str) -> None:
        """Set what `state` says the queue is doing."""
        self._activity = text

    def wait_until(self, ready: Callable[[], bool], what: str, tries: int | None = None) -> bool:
        """Poll until `ready`; False if it is not after `tries` looks (None: any number).

        Between looks the thread sleeps until an engine of the process writes memory, at most 2 ms.
        """
        if ready():
            return True
        before = self._activity
        self._activity = what
        self.publish_rptr()
        delay = _POLL_FIRST
        looks = 1
        while tries is None or looks < tries:
            self.checkpoint()
            if not self.advance():
                with self.memory.changed:
                    self.memory.changed.wait(delay)
                delay = min(delay * 1.5, _POLL_LONGEST)
                looks += 1
            if ready():
                self._activity = before
                return True
        return False

    def publish_rptr(self) -> None:
        """Report the read pointer to memory if it has moved."""
        free = self.free_up_to
        if self._published != free:
            self.write_rptr()
            self._published = free

    def warn_once(self, text: str) -> None:
        """Report a driver's misuse, once per queue and text."""
        if text not in self._warned:
            self._warned.add(text)
            self.context.host.misuse(f"{self.name}: {text}")

    # The thread.

    def _take_lower_doorbell(self, previous: int, value: int) -> None:
        """Judge a doorbell below the last one (called under the lock); the default refuses it."""
        self._refused_doorbell = f"the doorbell went back from {previous:#x} to {value:#x}"

    def _main(self) -> None:
        host = self.context.host
        try:
            while True:
                limit = self._await_work()
                self._activity = "running"
                self.run(limit)
                self.publish_rptr()
        except QueueStoppedError:
            pass
        except VmFault as fault:
            self._halt(str(fault))
            host.vm_fault(fault)
        except IllegalInstruction as error:
            self._halt(str(error))
            host.illegal_instruction(f"{self.name}: {error}")
        except (BadPacketError, PacketError) as error:
            self._halt(str(error))
            host.bad_packet(f"{self.name}: {error}{self.describe_position()}")
        except BaseException as error:
            # A bug of the emulator: the client must not wait for ever, and the traceback must be seen.
            self._halt(f"the emulator failed: {error!r}")
            host.bad_packet(f"{self.name}: the emulator failed: {error!r}{self.describe_position()}")
            raise
        finally:
            with self._condition:
                self._ended = True
                self._condition.notify_all()

    def _halt(self, text: str) -> None:
        with self._condition:
            self._halted = text

    def _await_work(self) -> int:
        """Sleep until there is something between the pointers, and return the write pointer."""
        while True:
            busy = self.advance()
            with self._condition:
                if not busy:
                    self._activity = (
                        "idle" if self._limit <= self.rptr else "waiting for the rest of a packet"
                    )
                while True:
                    doorbell = self._doorbell
                    rung = doorbell is not None and self.limit_of(doorbell) > self._limit
                    if busy or rung or self._attention or self._reload or self._refused_doorbell:
                        break
                    self._condition.wait()
                refused = self._refused_doorbell
            if refused is not None:
                raise BadPacketError(refused)
            if self._attention:
                self._park()
                continue
            if (rung or self._reload) and self._take_limit(doorbell):
                return self._limit

    def _take_limit(self, doorbell: int | None) -> bool:
        """Move the write pointer to what the doorbell and, after an eviction, memory say."""
        limit = self._limit if doorbell is None else max(self._limit, self.limit_of(doorbell))
        written = self.memory.read_u64(self.context.wptr_address)
        if self._reload:
            # A queue that is mapped again reads its write pointer from memory, so a doorbell missed meanwhile
            # does no harm (cp_hqd_pq_wptr_poll_addr, SDMA RB_WPTR_POLL_ADDR).
            self._reload = False
            limit = max(limit, written)
        elif written < limit:
            self.warn_once(
                f"the doorbell announced write pointer {limit:#x} before it was stored to memory"
                f" (at {self.context.wptr_address:#x} is {written:#x}); an eviction would lose the packets"
            )
        size = self.context.ring_size // self.unit
        if limit - self.free_up_to > size:
            raise BadPacketError(
                f"write pointer {limit:#x} is {limit - self.free_up_to:#x} ahead of read pointer"
                f" {self.free_up_to:#x},"
                f" but the ring holds {size:#x} (this queue counts in units of {self.unit} bytes)"
            )
        if limit * self.unit % 4:
            raise BadPacketError(f"write pointer {limit:#x} is in the middle of a dword")
        moved = limit != self._limit
        self._limit = limit
        return moved

    def _park(self) -> None:
        with self._condition:
            while True:
                if self._stopping:
                    raise QueueStoppedError
                if not self._evicted and self.context.active:
                    self._attention = False
                    self._parked = False
                    return
                self._parked = True
                self._reload = True
                self._condition.notify_all()
                self._condition.wait()

    def _wait_until_parked(self) -> None:
        self.memory.notify()
        if isinstance(threading.current_thread(), _EngineThread):
            return
        deadline = time.monotonic() + STOP_TIMEOUT
        with self._condition:
            while not (self._parked or self._ended or self._halted):
                left = deadline - time.monotonic()
                if left <= 0:
                    break
                self._condition.wait(left)
            else:
                return
        raise EngineStuckError(f"{self.name} could not be preempted within {STOP_TIMEOUT} s: {self.state()}")
