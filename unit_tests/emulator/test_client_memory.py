"""The client's mappings, its pointers, and the host memory behind buffers."""

from __future__ import annotations

import ctypes
import errno
import gc
import mmap
import os
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_amdgpu.emulator import client, host
from pytest_amdgpu.emulator.arena import Arena, borrow
from pytest_amdgpu.emulator.client_maps import ClientMap, ClientMaps
from pytest_amdgpu.emulator.refusal import Refusal

NOBODYS: Any = object()
EXTENT = st.tuples(st.booleans(), st.integers(0, 30), st.integers(1, 12))


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(EXTENT, max_size=30))
def test_client_maps_are_as_a_table_of_single_addresses(operations: list[tuple[bool, int, int]]) -> None:
    maps = ClientMaps()
    expected: dict[int, tuple[int, int]] = {}
    for number, (adds, start, length) in enumerate(operations):
        for address in range(start, start + length):
            expected.pop(address, None)
            if adds:
                expected[address] = (number, 100 + address - start)
        if adds:
            maps.add(ClientMap(start, start + length, NOBODYS, 100, number))
        else:
            maps.remove(start, start + length)
    found = {}
    for address in range(-1, 45):
        item = maps.find(address)
        if item is not None:
            found[address] = (item.owner, item.offset + address - item.start)
    assert found == expected


def test_pointers_are_copied_from_and_to() -> None:
    memory = ctypes.create_string_buffer(b"abcdef", 6)
    address = ctypes.addressof(memory)
    assert client.read(address + 1, 3) == b"bcd"
    client.write(address, b"xyz")
    assert memory.raw == b"xyzdef"


def test_nothing_is_copied_from_or_to_anywhere() -> None:
    assert client.read(0, 0) == b""
    client.write(0, b"")


@pytest.mark.parametrize("address", [0, 8, 0x1234_5678_0000, 0x7FFF_FFFF_F000, (1 << 64) - 8])
def test_bad_pointer_efault(address: int) -> None:
    with pytest.raises(Refusal) as caught:
        client.read(address, 8)
    assert caught.value.errno == errno.EFAULT
    with pytest.raises(Refusal) as caught:
        client.write(address, b"12345678")
    assert caught.value.errno == errno.EFAULT


def test_copy_that_runs_off_the_end_of_a_mapping_efault() -> None:
    address = host.mmap(0, 8192, 3, host.MAP_SHARED | host.MAP_ANONYMOUS, -1, 0)
    host.munmap(address + 4096, 4096)
    try:
        assert client.read(address + 4088, 8) == bytes(8)
        with pytest.raises(Refusal) as caught:
            client.read(address + 4092, 8)
        assert caught.value.errno == errno.EFAULT
    finally:
        host.munmap(address, 4096)


def test_write_to_read_only_memory_efault() -> None:
    address = host.mmap(0, 4096, mmap.PROT_READ, host.MAP_SHARED | host.MAP_ANONYMOUS, -1, 0)
    try:
        with pytest.raises(Refusal):
            client.write(address, b"x")
        with pytest.raises(Refusal, match="mapped r--s, not rw"):
            client.require_mapped(address, 4096)
    finally:
        host.munmap(address, 4096)


def test_host_calls_raise_what_the_host_says() -> None:
    with pytest.raises(OSError, match="mmap") as caught:
        host.mmap(0, 0, 3, host.MAP_SHARED | host.MAP_ANONYMOUS, -1, 0)
    assert caught.value.errno == errno.EINVAL
    with pytest.raises(OSError, match="madvise"):
        host.madvise(1, 4096, host.MADV_DONTFORK)
    with pytest.raises(OSError, match="munmap"):
        host.munmap(1, 4096)


def test_arena_gives_zeroed_memory_and_takes_it_back() -> None:
    arena = Arena()
    first, second = arena.allocate(8192), arena.allocate(4096)
    assert arena.resident() == 0
    assert not first.view().any()
    first.view()[:] = 1
    second.view()[:] = 2
    assert arena.resident() >= 12288
    piece = first.view()[4096:]
    del first
    gc.collect()
    assert piece.all(), "a view keeps its memory"
    del piece
    gc.collect()
    assert arena.resident() == 4096
    assert second.view().all()
    arena.close()
    assert second.view().all(), "closing the arena frees nothing that is in use"


def test_arena_without_allocations_has_no_descriptor() -> None:
    before = os.listdir("/proc/self/fd")
    arena = Arena()
    assert arena.resident() == 0
    assert os.listdir("/proc/self/fd") == before
    arena.close()


@pytest.mark.parametrize("size", [0, -4096, 1, 4095])
def test_arena_allocates_whole_pages(size: int) -> None:
    with pytest.raises(ValueError, match="whole pages"):
        Arena().allocate(size)


def test_borrowed_memory_is_the_clients() -> None:
    memory = np.arange(8, dtype=np.uint8)
    view = borrow(memory.ctypes.data, 8)
    view[3] = 99
    assert memory[3] == 99
    del view
    gc.collect()
    assert memory[3] == 99
