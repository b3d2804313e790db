"""The life of a queue: its doorbell and pointers, waiting, and what its errors mean.

`QueueThread` knows nothing of packets. A subclass counts its ring in a unit of its own (bytes, dwords,
packets), and `run` executes what lies between `rptr` and a limit. Two methods bound every piece of work:
`checkpoint`, called between packets and between pieces of long ones, where the queue can be evicted or
stopped, and `wait_until`, which polls memory as the hardware's polling packets do.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from pytest_amdgpu.abi.kfd_debug import ExceptionCode
from pytest_amdgpu.emulator.engine.errors import BadPacketError, QueueStoppedError
from pytest_amdgpu.emulator.engine.hardware_queues import Seat
from pytest_amdgpu.emulator.engine.preemption import Preemptible
from pytest_amdgpu.emulator.isa.errors import IllegalInstruction, NotEmulatedError
from pytest_amdgpu.emulator.memory import PoisonConsumed, VmFault
from pytest_amdgpu.packets.layout import PacketError

if TYPE_CHECKING:
    from pytest_amdgpu.emulator.compute_units import EngineMasks
    from pytest_amdgpu.emulator.engine.context import QueueContext
    from pytest_amdgpu.emulator.engine.wave_save import SavedWaves

_POLL_FIRST = 50e-6
_POLL_LONGEST = 2e-3
"""Seconds between two looks at polled memory. Engines' writes wake a poller at once, the host's cannot."""

_SEAT_WAIT = 2e-3
"""Seconds between two looks at whether the queue must give way, while it waits for a slot of the hardware."""

EXECUTING = "executing packets"
_PACKET_INCOMPLETE = "waiting for the rest of a packet"


class QueueThread(Preemptible):
    """A queue with a thread of its own; see `factory.EngineQueue` for what its callers rely on."""

    def __init__(self, context: QueueContext, kind: str, unit: int) -> None:
        """`kind` is for messages, `unit` the bytes of the ring that one count of the pointers stands for."""
        super().__init__(f"{kind} queue {context.queue_id}", context.active, context.memory.notify)
        self.context = context
        self.memory = context.memory
        self.unit = unit
        self.rptr = 0
        """First count that has not been executed; it never wraps."""
        self._doorbell: int | None = None
        self._limit = 0
        self._refused_doorbell: str | None = None
        self._activity = "idle"
        self._warned: set[str] = set()
        self._published = 0
        self.seat: Seat | None = None
        """The queue's claim to a slot of the hardware, for kinds of queues that there may be too many of."""

    # What a subclass provides.

    @abstractmethod
    def run(self, limit: int) -> None:
        """Execute what is published between `rptr` and `limit`, moving `rptr`.

        It may return early, with `rptr` short of `limit`, where it must wait for another doorbell.
        """

    @abstractmethod
    def write_rptr(self) -> None:
        """Store `free_up_to` to the queue's read pointer as this kind of queue reports it."""

    @abstractmethod
    def describe_position(self) -> str:
        """Say what is at the read pointer, for diagnosis."""

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

    # What callers of any thread use, with what `Preemptible` has.

    def ring_doorbell(self, value: int) -> None:
        """Take a store to the doorbell."""
        with self.condition:
            previous = self._doorbell
            if previous is not None and value < previous:
                self.take_lower_doorbell(previous, value)
            else:
                self._doorbell = value
            self.condition.notify_all()

    def update(self, ring_address: int, ring_size: int, *, priority: int = 7, active: bool = True) -> None:
        """Change ring, priority and activity while the queue is preempted."""

        def change() -> bool:
            context = self.context
            context.ring_address, context.ring_size = ring_address, ring_size
            context.priority, context.active = priority, active
            return active

        self.change(change)

    def state(self) -> str:
        """Describe pointers and activity in one line."""
        with self.condition:
            doorbell = "never rung" if self._doorbell is None else f"doorbell {self._doorbell:#x}"
            if self.halted is not None:
                doing = f"halted: {self.halted}"
            elif self.ended:
                doing = "destroyed"
            elif self.evicted:
                doing = f"evicted while {self._activity}"
            elif not self.active:
                doing = "inactive"
            else:
                doing = self._activity
        return f"{self.name}: rptr {self.rptr:#x}, wptr {self._limit:#x}, {doorbell}, {doing}"

    def set_engine_masks(self, masks: EngineMasks) -> None:
        """Restrict the compute units that waves use; preempts the queue, so also those that run."""
        was_active = self.active

        def change() -> bool:
            self.context.engine_masks = masks
            return was_active

        self.change(change)

    def saved_waves(self) -> Sequence[SavedWaves]:
        """Return what the last preemption saved to the context save area, by XCC; nothing without waves."""
        return ()

    # What subclasses use in the queue's thread.

    def checkpoint(self) -> None:
        """Give way if asked to, and if other queues are to have the slot of the hardware."""
        super().checkpoint()
        seat = self.seat
        if seat is not None and (not seat.taken or seat.must_yield()):
            self._wait_for_seat(seat)

    def set_aside(self) -> None:
        """Leave the slot of the hardware."""
        if self.seat is not None:
            self.seat.leave()

    def abandon(self) -> None:
        """Leave the slot of the hardware for good."""
        if self.seat is not None:
            self.seat.leave()

    def _wait_for_seat(self, seat: Seat) -> None:
        before = self._activity
        if seat.taken:
            self.set_aside()
            self.resumed = True
        while not seat.take(0 if self.attention else _SEAT_WAIT):
            self._activity = (
                f"waiting for one of the {self.context.gpu.hardware_queues.count} hardware queues"
            )
            super().checkpoint()
        self._activity = before

    def take_lower_doorbell(self, previous: int, value: int) -> None:
        """Judge a doorbell below the last one (called under the lock); the default refuses it."""
        self._refused_doorbell = f"the doorbell went back from {previous:#x} to {value:#x}"

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
        self.publish_rptr()
        delay = _POLL_FIRST
        looks = 1
        while tries is None or looks < tries:
            self._activity = what
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

    def live(self) -> None:
        """Run what doorbells announce until the queue is stopped or must halt."""
        host = self.context.host
        try:
            while True:
                limit = self._await_work()
                self._activity = EXECUTING
                self.run(limit)
                self.publish_rptr()
        except QueueStoppedError:
            raise
        except VmFault as fault:
            self._point_at_packet()
            text = f"{fault}, while {self._activity}"
            # The process's queues are evicted, which saves what runs and what the trap handler has halted.
            self._leave_for_good()
            self._halt(text)
            host.log(f"{self.halted}{self.describe_position()}")
            host.vm_fault(fault)
        except PoisonConsumed as error:
            self._point_at_packet()
            self._halt(f"{error}, while {self._activity}")
            host.log(f"{self.name}: {self.halted}")
            host.poison_consumed(error.address)
        except NotEmulatedError as error:
            self._point_at_packet()
            self._halt(f"{error}, while {self._activity}")
            host.not_emulated(f"{self.name}: {self.halted}")
        except IllegalInstruction as error:
            self._point_at_packet()
            self.lingers = True
            self._halt(f"{error}, while {self._activity}")
            host.illegal_instruction(f"{self.name}: {self.halted}")
            self._linger()
        except (BadPacketError, PacketError) as error:
            self._point_at_packet()
            self._halt(str(error))
            code = error.code if isinstance(error, BadPacketError) else ExceptionCode.QUEUE_PACKET_UNSUPPORTED
            host.bad_packet(f"{self.name}: {error}{self.describe_position()}", code)
        except BaseException as error:
            # A bug of the emulator: the client must not wait for ever, and the traceback must be seen.
            self._halt(f"the emulator failed: {error!r}, while {self._activity}")
            host.bad_packet(f"{self.name}: {self.halted}", ExceptionCode.QUEUE_PACKET_UNSUPPORTED)
            raise

    def _leave_for_good(self) -> None:
        """Save the waves, as far as the context save area is there."""
        try:
            self.set_aside()
        except VmFault as fault:
            self.context.host.log(f"{self.name}: the waves cannot be saved: {fault}")

    def _linger(self) -> None:
        """Keep halted waves on the hardware until they are preempted or the queue ends (QueueStoppedError).

        Their queue needs no slot meanwhile: it has nothing to do.
        """
        if self.seat is not None:
            self.seat.leave()
        while True:
            with self.condition:
                while not self.attention:
                    self.condition.wait()
            super().checkpoint()

    def _point_at_packet(self) -> None:
        """Report how far the queue came, for whoever asks what stopped it."""
        try:
            self.publish_rptr()
        except VmFault as fault:
            self.context.host.log(f"{self.name}: the read pointer cannot be reported: {fault}")

    def _halt(self, text: str) -> None:
        with self.condition:
            self.halted = text

    def _await_work(self) -> int:
        """Sleep until there is something between the pointers, and return the write pointer."""
        while True:
            busy = self.advance()
            if not busy and self.seat is not None:
                self.seat.leave()
            with self.condition:
                if not busy:
                    self._activity = (
                        "idle" if self._limit <= self.rptr else "waiting for the rest of a packet"
                    )
                while True:
                    doorbell = self._doorbell
                    rung = doorbell is not None and self.limit_of(doorbell) > self._limit
                    if busy or rung or self.attention or self.resumed or self._refused_doorbell:
                        break
                    self.condition.wait()
                refused = self._refused_doorbell
            if refused is not None:
                raise BadPacketError(refused)
            if self.attention:
                super().checkpoint()
            elif (rung or self.resumed) and self._take_limit(doorbell):
                return self._limit

    def _take_limit(self, doorbell: int | None) -> bool:
        """Move the write pointer to what the doorbell and, after an eviction, memory say."""
        limit = self._limit if doorbell is None else max(self._limit, self.limit_of(doorbell))
        written = self.memory.read_u64(self.context.wptr_address)
        if self.resumed:
            # A queue that is mapped again reads its write pointer from memory, so a doorbell missed meanwhile
            # does no harm (cp_hqd_pq_wptr_poll_addr, SDMA RB_WPTR_POLL_ADDR).
            self.resumed = False
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
                f" {self.free_up_to:#x}, but the ring holds {size:#x} (in units of {self.unit} bytes)"
            )
        if limit * self.unit % 4:
            raise BadPacketError(f"write pointer {limit:#x} is in the middle of a dword")
        moved = limit != self._limit
        self._limit = limit
        return moved
