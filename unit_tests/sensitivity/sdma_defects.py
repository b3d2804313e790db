"""What an SDMA engine can do wrong: copies, fills, fences, polls."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from injection import defect, shorten_waits

from pytest_amdgpu.abi.kfd import EVENT_PAGE_SIZE
from pytest_amdgpu.emulator.engine import transfer
from pytest_amdgpu.emulator.engine.sdma import SdmaInterpreter
from pytest_amdgpu.emulator.memory import Access, AddressSpace
from pytest_amdgpu.packets.layout import Packet

PAGE = 4096

Copy = Callable[[AddressSpace, int, int, int, Callable[[], None]], None]


def _replace_copy(patch: pytest.MonkeyPatch, make: Callable[[Copy], Copy]) -> None:
    patch.setattr(transfer, "copy", make(transfer.copy))


@defect
def a_copy_leaves_out_its_last_byte(patch: pytest.MonkeyPatch) -> None:
    _replace_copy(
        patch,
        lambda copy: lambda memory, source, target, size, rest: copy(memory, source, target, size - 1, rest),
    )


@defect
def a_copy_writes_one_byte_too_many(patch: pytest.MonkeyPatch) -> None:
    def make(copy: Copy) -> Copy:
        def too_much(
            memory: AddressSpace, source: int, target: int, size: int, rest: Callable[[], None]
        ) -> None:
            copy(memory, source, target, size, rest)
            memory.write(target + size, b"\x99")

        return too_much

    _replace_copy(patch, make)


@defect
def a_copy_slips_by_a_byte_at_a_page(patch: pytest.MonkeyPatch) -> None:
    """What lies behind the first page boundary of the target is taken from one byte before its place."""

    def make(copy: Copy) -> Copy:
        def slip(memory: AddressSpace, source: int, target: int, size: int, rest: Callable[[], None]) -> None:
            first = min(size, -target % PAGE)
            copy(memory, source, target, first, rest)
            back = 1 if first else 0
            copy(memory, source + first - back, target + first, size - first, rest)

        return slip

    _replace_copy(patch, make)


@defect
def a_copy_reads_from_whole_dwords(patch: pytest.MonkeyPatch) -> None:
    _replace_copy(
        patch,
        lambda copy: lambda memory, source, target, size, rest: copy(memory, source & ~3, target, size, rest),
    )


@defect
def a_copy_writes_to_whole_dwords(patch: pytest.MonkeyPatch) -> None:
    _replace_copy(
        patch,
        lambda copy: lambda memory, source, target, size, rest: copy(memory, source, target & ~3, size, rest),
    )


@defect
def a_copy_rounds_its_size_up_to_dwords(patch: pytest.MonkeyPatch) -> None:
    _replace_copy(
        patch,
        lambda copy: (
            lambda memory, source, target, size, rest: copy(memory, source, target, size + 3 & ~3, rest)
        ),
    )


@defect
def user_memory_is_read_a_page_too_far(patch: pytest.MonkeyPatch) -> None:
    """The second page of a source in user memory is read where the first should be."""

    def make(copy: Copy) -> Copy:
        def far(memory: AddressSpace, source: int, target: int, size: int, rest: Callable[[], None]) -> None:
            mapping = memory.find(source)
            if mapping is not None and mapping.bo.location.value == "userptr" and size > 2 * PAGE:
                copy(memory, source + PAGE, target, PAGE, rest)
                copy(memory, source + PAGE, target + PAGE, size - PAGE, rest)
            else:
                copy(memory, source, target, size, rest)

        return far

    _replace_copy(patch, make)


@defect
def vram_that_the_cpu_cannot_see_is_not_written(patch: pytest.MonkeyPatch) -> None:
    def make(copy: Copy) -> Copy:
        def skip(memory: AddressSpace, source: int, target: int, size: int, rest: Callable[[], None]) -> None:
            if memory.translate(target, Access.WRITE).bo.cpu_visible:
                copy(memory, source, target, size, rest)

        return skip

    _replace_copy(patch, make)


@defect
def a_packet_that_continues_another_is_not_executed(patch: pytest.MonkeyPatch) -> None:
    """Of a copy or fill that takes several packets only the first is done."""
    ends: dict[int, int] = {}

    def make(execute: Callable[[SdmaInterpreter, Packet], None]) -> Callable[[SdmaInterpreter, Packet], None]:
        def first_only(self: SdmaInterpreter, packet: Packet) -> None:
            if ends.get(id(self)) != packet["dst_addr"]:
                execute(self, packet)
            ends[id(self)] = packet["dst_addr"] + packet["count"] + 1

        return first_only

    for name in ("_copy", "_fill"):
        patch.setattr(SdmaInterpreter, name, make(getattr(SdmaInterpreter, name)))


@defect
def a_copy_overtakes_the_one_before(patch: pytest.MonkeyPatch) -> None:
    """Every second of consecutive copies is done before the first."""
    copy, before = SdmaInterpreter._copy, SdmaInterpreter.before
    held: dict[int, Packet] = {}

    def swapped(self: SdmaInterpreter, packet: Packet) -> None:
        earlier = held.pop(id(self), None)
        if earlier is None:
            held[id(self)] = packet
            return
        copy(self, packet)
        copy(self, earlier)

    def catch_up(self: SdmaInterpreter, packet: Packet) -> None:
        before(self, packet)
        if packet.name != "COPY_LINEAR" and id(self) in held:
            copy(self, held.pop(id(self)))

    patch.setattr(SdmaInterpreter, "_copy", swapped)
    patch.setattr(SdmaInterpreter, "before", catch_up)


@defect
def a_copy_is_done_after_the_signal_behind_it(patch: pytest.MonkeyPatch) -> None:
    copy, trap = SdmaInterpreter._copy, SdmaInterpreter._trap
    held: list[Packet] = []

    def late_copy(self: SdmaInterpreter, packet: Packet) -> None:
        held.append(packet)

    def trap_first(self: SdmaInterpreter, packet: Packet) -> None:
        trap(self, packet)
        time.sleep(0.05)
        while held:
            copy(self, held.pop(0))

    patch.setattr(SdmaInterpreter, "_copy", late_copy)
    patch.setattr(SdmaInterpreter, "_trap", trap_first)


def _replace_fill(patch: pytest.MonkeyPatch, change: Callable[[int, int, int, int], tuple[int, ...]]) -> None:
    """Let `change` alter target, value, width and count of every fill."""
    fill = transfer.fill

    def changed(
        memory: AddressSpace, target: int, value: int, width: int, count: int, rest: Callable[[], None]
    ) -> None:
        fill(memory, *change(target, value, width, count), rest)  # type: ignore[call-arg, arg-type]

    patch.setattr(transfer, "fill", changed)


@defect
def a_fill_leaves_out_its_last_item(patch: pytest.MonkeyPatch) -> None:
    _replace_fill(patch, lambda target, value, width, count: (target, value, width, count - 1))


@defect
def a_fill_writes_one_item_too_many(patch: pytest.MonkeyPatch) -> None:
    _replace_fill(patch, lambda target, value, width, count: (target, value, width, count + 1))


@defect
def a_fill_begins_at_a_whole_dword(patch: pytest.MonkeyPatch) -> None:
    _replace_fill(patch, lambda target, value, width, count: (target & ~3, value, width, count))


@defect
def a_fill_stores_only_the_low_byte(patch: pytest.MonkeyPatch) -> None:
    _replace_fill(patch, lambda target, value, width, count: (target, value & 0xFF, width, count))


@defect
def a_fill_takes_all_widths_for_dwords(patch: pytest.MonkeyPatch) -> None:
    _replace_fill(
        patch, lambda target, value, width, count: (target & ~3, value, 4, max(width * count // 4, 1))
    )


@defect
def a_fence_writes_the_upper_half(patch: pytest.MonkeyPatch) -> None:
    """The low half of a value lands where the high half belongs."""

    def fence(self: SdmaInterpreter, packet: Packet) -> None:
        self.memory.write_u32(packet["addr"] | 4, packet["data"])
        self.memory.notify()

    patch.setattr(SdmaInterpreter, "_fence", fence)


@defect
def an_upper_half_is_never_fenced(patch: pytest.MonkeyPatch) -> None:
    shorten_waits(patch)
    fence = SdmaInterpreter._fence

    def low_only(self: SdmaInterpreter, packet: Packet) -> None:
        if not packet["addr"] & 4:
            fence(self, packet)

    patch.setattr(SdmaInterpreter, "_fence", low_only)


@defect
def event_slots_are_not_fenced(patch: pytest.MonkeyPatch) -> None:
    """A fence to the slot of an event is lost, so that the kernel does not know whom to wake."""
    shorten_waits(patch)
    fence = SdmaInterpreter._fence

    def values_only(self: SdmaInterpreter, packet: Packet) -> None:
        page = self.memory.translate(packet["addr"], Access.WRITE).bo.size
        if page != EVENT_PAGE_SIZE:
            fence(self, packet)

    patch.setattr(SdmaInterpreter, "_fence", values_only)


@defect
def a_fence_is_lost(patch: pytest.MonkeyPatch) -> None:
    shorten_waits(patch)
    patch.setattr(SdmaInterpreter, "_fence", lambda self, packet: None)


@defect
def an_sdma_trap_is_lost(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(SdmaInterpreter, "_trap", lambda self, packet: None)


@defect
def every_tenth_sdma_trap_is_lost(patch: pytest.MonkeyPatch) -> None:
    trap = SdmaInterpreter._trap
    count = 0

    def lossy(self: SdmaInterpreter, packet: Packet) -> None:
        nonlocal count
        count += 1
        if count % 10:
            trap(self, packet)
        time.sleep(0.005)  # so that the host sleeps when the next one comes

    patch.setattr(SdmaInterpreter, "_trap", lossy)


@defect
def sdma_does_not_wait(patch: pytest.MonkeyPatch) -> None:
    shorten_waits(patch)
    patch.setattr(SdmaInterpreter, "_poll", lambda self, packet: None)


@defect
def sdma_does_not_wait_for_upper_halves(patch: pytest.MonkeyPatch) -> None:
    poll = SdmaInterpreter._poll

    def low_only(self: SdmaInterpreter, packet: Packet) -> None:
        if not packet["addr"] & 4:
            poll(self, packet)

    patch.setattr(SdmaInterpreter, "_poll", low_only)


@defect
def an_indirect_buffer_of_sdma_runs_once(patch: pytest.MonkeyPatch) -> None:
    indirect = SdmaInterpreter._indirect
    seen: set[int] = set()

    def once(self: SdmaInterpreter, packet: Packet) -> None:
        if packet["base"] not in seen:
            seen.add(packet["base"])
            indirect(self, packet)

    patch.setattr(SdmaInterpreter, "_indirect", once)


@defect
def sdma_ignores_what_is_not_mapped(patch: pytest.MonkeyPatch) -> None:
    """Transfers from and to unmapped memory are dropped, and no fault is reported."""
    shorten_waits(patch)

    def quiet(name: str) -> Callable[..., None]:
        work = getattr(transfer, name)

        def attempt(memory: AddressSpace, *arguments: Any) -> None:
            places = arguments[:2] if name == "copy" else arguments[:1]
            if all(memory.find(place) is not None for place in places):
                work(memory, *arguments)

        return attempt

    for name in ("copy", "fill"):
        patch.setattr(transfer, name, quiet(name))
