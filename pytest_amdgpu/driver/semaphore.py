"""Timeline semaphores: a 64-bit value that only grows, signalled and waited for by GPU engines and the host.

A signal from the GPU is complete only with all of: caches written back, the value written, the event's
slot written, an interrupt with the event's id. The host's wait sleeps on that event and reads the value.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from pytest_amdgpu.driver.arguments import check_timeout, whole_number
from pytest_amdgpu.driver.backend import PAGE, Event, Location, MemoryRequest, QueueKind
from pytest_amdgpu.driver.buffer import Buffer
from pytest_amdgpu.driver.errors import (
    PeerAccessError,
    SemaphoreValueError,
    UseAfterFreeError,
    WaitTimeoutError,
)
from pytest_amdgpu.driver.resources import creation_site

if TYPE_CHECKING:
    from pytest_amdgpu.driver.device import Device

MAX_VALUE = (1 << 64) - 1

_SLOT = 64
"""Bytes per semaphore: a cache line each, so that polls of one do not slow writes of another."""

_FIRST_AGE = 1
"""What the kernel counts signals of an event from."""
_REMEMBERED_SIGNALS = 128


class TimelineSemaphore:
    """A 64-bit counter in memory that all engines and the host can reach."""

    def __init__(self, device: Device, page: Buffer, offset: int, event: Event, initial: int) -> None:
        """Made by `SemaphorePool.create`."""
        self._device = device
        self._backend = device.backend
        self._page = page
        self._offset = offset
        self._event = event
        self._word = page.memory[offset : offset + 8].cast("Q")
        self._word[0] = initial
        self._age = _FIRST_AGE
        self._signals: list[tuple[int, str, int]] = []
        self._narrow_wait = 0
        self._freed = False
        self._peers: list[Device] = []
        self.site = creation_site()
        self.label = "timeline semaphore"
        """What messages call it."""
        self.address = page.address + offset
        """Where the value is, for the GPU."""
        self.event_id = event.event_id
        self.slot_address = event.slot_address

    @property
    def value(self) -> int:
        """The value now."""
        if self._freed:
            self._refuse_freed()
        return int(self._word[0])

    def signal(self, value: int) -> None:
        """Set the value from the host and wake those who wait on the host.

        Raises `SemaphoreValueError` for a value that is not beyond the present one.
        """
        value = self.check_signal(value)
        if value <= self.value:
            raise SemaphoreValueError(f"{self.describe()} cannot go to {value}: it only grows")
        self._word[0] = value
        self._backend.signal_event(self._event)

    def wait(self, value: int, timeout: float) -> None:
        """Sleep until the value is at least `value`.

        Raises `WaitTimeoutError` after `timeout` seconds, with all that is known about why, `GpuFaultError`
        as soon as the GPU faulted, and `TimeoutValueError` for a timeout that would not end the wait.
        """
        value = self.check_value(value)
        timeout = check_timeout(timeout)
        word = self._word
        age = self._age
        if word[0] >= value:
            return
        deadline = time.monotonic() + timeout
        while True:
            self._device.raise_fault({queue for signalled, queue, _ in self._signals if signalled >= value})
            for peer in self._peers:
                # Its faults are told to its own listener; a wait here ends for faults of all GPUs.
                if not peer.closed:
                    peer.check_health()
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                raise WaitTimeoutError(self._diagnosis(value, timeout))
            # The age is taken before the value is read: a signal in between changes the age and so
            # ends the next sleep at once.
            age = self._age = self._backend.wait_event(self._event, age, remaining)
            if word[0] >= value:
                return

    def was_interrupted(self, timeout: float) -> bool:
        """Sleep until a signal has come since it was made: from the GPU an interrupt; False if none came.

        `wait` does not tell, because it looks at the value. Other than there, `timeout` is no error.
        """
        return self._backend.wait_event(self._event, _FIRST_AGE, timeout) != _FIRST_AGE

    def check_value(self, value: int) -> int:
        """Return `value` as an int; raises `SemaphoreValueError` unless a 64-bit counter can have it."""
        if self._freed:
            self._refuse_freed()
        return _counter_value(value)

    def check_signal(self, value: int) -> int:
        """Return `value` as an int, if no engine's pending wait could miss a signal of it.

        SDMA and the command processor of gfx9 compare 32 bits. They wait for the upper half of the value
        and then for the lower, so a step into the next 2**32 past a value that they wait for must stop at
        that value first: else `SemaphoreValueError` is raised.
        """
        value = self.check_value(value)
        waited = self._narrow_wait
        if value >> 32 > waited >> 32 and int(self._word[0]) < waited:
            raise SemaphoreValueError(
                f"{self.describe()} cannot step to {value} while an engine that compares 32 bits waits for"
                f" {waited}: signal {waited} first"
            )
        return value

    def check_reach(self, device: Device) -> None:
        """Raise `PeerAccessError` if a device's engines would fault on it."""
        if device is self._device or device.node.gpu_id in self._page.allocation.mapped_gpus:
            return
        raise PeerAccessError(
            f"{device.name} does not reach {self.describe()} of {self._device.name}: map_to() gives it access"
        )

    def note_narrow_wait(self, value: int) -> None:
        """Remember that an engine which compares 32 bits waits for `value`."""
        self._narrow_wait = max(self._narrow_wait, value)

    def note_signal(self, value: int, queue: str, submission: int) -> None:
        """Remember which submission signals `value`, to tell it when a wait times out."""
        signals = self._signals
        signals.append((value, queue, submission))
        if len(signals) > _REMEMBERED_SIGNALS:
            reached = int(self._word[0])
            signals[:] = [entry for entry in signals if entry[0] > reached][-_REMEMBERED_SIGNALS // 2 :]

    def map_to(self, device: Device) -> None:
        """Let the engines of another GPU reach it (with the other semaphores of its page).

        A wait on the host ends for faults of that GPU, too.
        """
        self._page.map_to(device)
        if device not in self._peers and device is not self._device:
            self._peers.append(device)

    def free(self) -> None:
        """Give it back; a second call raises `UseAfterFreeError`."""
        if self._freed:
            self._refuse_freed()
        self._device.semaphores.take_back(self, self._page, self._offset, self._event)
        self._freed = True
        self._word.release()

    def release(self) -> None:
        """Free it unless that was done before."""
        if not self._freed:
            self.free()

    def describe(self) -> str:
        """One line that says what it is."""
        value = "freed" if self._freed else f"value {int(self._word[0])}"
        return f"{self.label} at {self.address:#x} ({value})"

    def _refuse_freed(self) -> None:
        raise UseAfterFreeError(f"timeline semaphore at {self.address:#x}, made at {self.site}, was freed")

    def _diagnosis(self, value: int, timeout: float) -> str:
        lines = [f"waited {timeout:g} s for {value} of {self.describe()}, made at {self.site}"]
        expected = [
            f"submission {submission} of {queue} signals {signalled}"
            for signalled, queue, submission in self._signals
            if signalled >= value
        ]
        if expected:
            lines.append("would have been signalled by: " + "; ".join(expected[:4]))
        else:
            lines.append(f"nothing that was submitted signals {value} or more")
        devices = [self._device, *(peer for peer in self._peers if not peer.closed)]
        lines += [line for device in devices for line in device.describe_queues()]
        faults = [fault.text for device in devices for fault in device.backend.faults]
        lines.append("faults seen: " + ("; ".join(faults) or "none"))
        if self._waits_for_waves(value):
            lines.append("of a wave that met an illegal instruction no fault tells, only the kernel's log")
        return "\n".join(lines)

    def _waits_for_waves(self, value: int) -> bool:
        """Whether a compute queue would signal `value`."""
        names = {queue for signalled, queue, _ in self._signals if signalled >= value}
        return any(
            queue.name in names and queue.kind is not QueueKind.SDMA for queue in self._device.queues()
        )


def _counter_value(value: int) -> int:
    if type(value) is not int:
        value = whole_number(value, "the value of a timeline semaphore")
    if not 0 <= value <= MAX_VALUE:
        raise SemaphoreValueError(f"{value} is not a value of a timeline semaphore (0 to 2**64 - 1)")
    return value


class SemaphorePool:
    """Hands out semaphores of one device from pages of uncached system memory."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._pages: list[Buffer] = []
        self._free: list[tuple[Buffer, int]] = []

    def create(self, initial: int, track: Callable[[TimelineSemaphore], None] | None) -> TimelineSemaphore:
        """Make a semaphore; `track` records it as handed out to a test."""
        initial = _counter_value(initial)
        if not self._free:
            self._add_page()
        event = self._device.backend.create_event()
        page, offset = self._free.pop()
        semaphore = TimelineSemaphore(self._device, page, offset, event, initial)
        if track is not None:
            track(semaphore)
        return semaphore

    def take_back(self, semaphore: TimelineSemaphore, page: Buffer, offset: int, event: Event) -> None:
        """Destroy the event of a semaphore and reuse its slot."""
        self._device.backend.destroy_event(event)
        self._device.tracker.discard(semaphore)
        self._free.append((page, offset))

    def close(self) -> None:
        """Free the pages, when no semaphore is out."""
        while self._pages:
            self._pages.pop().free()
        self._free.clear()

    def _add_page(self) -> None:
        backend = self._device.backend
        request = MemoryRequest(Location.GTT, PAGE, uncached=True)
        page = Buffer(backend, backend.allocate(request), PAGE)
        self._pages.append(page)
        self._free.extend((page, offset) for offset in range(PAGE - _SLOT, -1, -_SLOT))
