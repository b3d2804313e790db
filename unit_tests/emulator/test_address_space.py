from __future__ import annotations

import numpy as np
import pytest

from pytest_amdgpu.emulator.memory import Access, AddressSpace, BufferObject, Mapping, Reason, VmFault

BASE = 0x7F00_0000_0000


def buffer(pages: int = 1, *, writable: bool = True, executable: bool = True) -> BufferObject:
    return BufferObject(np.zeros(pages * 4096, np.uint8), writable=writable, executable=executable)


@pytest.fixture
def space() -> AddressSpace:
    return AddressSpace()


@pytest.fixture
def mapping(space: AddressSpace) -> Mapping:
    return space.map(BASE, buffer(2))


def test_access_reaches_the_buffer_at_the_mapped_address(space: AddressSpace, mapping: Mapping) -> None:
    space.write(BASE + 4094, b"\x11\x22\x33\x44")
    assert mapping.data[4094:4098].tolist() == [0x11, 0x22, 0x33, 0x44]
    assert space.read(BASE + 4094, 4) == b"\x11\x22\x33\x44"


def test_words_are_little_endian(space: AddressSpace, mapping: Mapping) -> None:
    space.write_u64(BASE + 8, 0x1122334455667788)
    space.write_u32(BASE + 16, 0xAABBCCDD)
    assert space.read(BASE + 8, 12) == bytes.fromhex("8877665544332211ddccbbaa")
    assert space.read_u32(BASE + 12) == 0x11223344
    assert space.read_u64(BASE + 8) == 0x1122334455667788


@pytest.mark.parametrize(("address", "first_bad"), [(BASE - 1, BASE - 1), (BASE + 8191, BASE + 8192)])
def test_fault_tells_the_first_byte_outside(
    space: AddressSpace, mapping: Mapping, address: int, first_bad: int
) -> None:
    for access in (space.view, space.spans):
        with pytest.raises(VmFault) as caught:
            access(address, 2, Access.WRITE)
        assert (caught.value.address, caught.value.access) == (first_bad, Access.WRITE)
        assert caught.value.reason is Reason.NOT_PRESENT


def test_write_that_faults_writes_nothing(space: AddressSpace, mapping: Mapping) -> None:
    with pytest.raises(VmFault):
        space.write(BASE + 8190, b"\xff" * 4)
    assert not mapping.data.any()


@pytest.mark.parametrize("access", [Access.WRITE, Access.ATOMIC])
def test_read_only_pages_refuse_stores(space: AddressSpace, access: Access) -> None:
    space.map(BASE, buffer(writable=False))
    with pytest.raises(VmFault) as caught:
        space.view(BASE, 4, access)
    assert caught.value.reason is Reason.READ_ONLY
    assert space.view(BASE, 4, Access.READ).size == 4


def test_pages_without_execute_refuse_fetches(space: AddressSpace) -> None:
    space.map(BASE, buffer(executable=False))
    with pytest.raises(VmFault) as caught:
        space.view(BASE + 4, 4, Access.EXECUTE)
    assert (caught.value.address, caught.value.reason) == (BASE + 4, Reason.NO_EXECUTE)


def test_view_stays_in_one_mapping_and_spans_cross(space: AddressSpace, mapping: Mapping) -> None:
    space.map(BASE + 8192, buffer())
    with pytest.raises(VmFault) as caught:
        space.view(BASE + 8188, 8, Access.READ)
    assert caught.value.address == BASE + 8192
    assert [piece.size for piece in space.spans(BASE + 8188, 8, Access.READ)] == [4, 4]


@pytest.mark.parametrize("offset", [-4096, 0, 4096])
def test_overlap_is_refused(space: AddressSpace, mapping: Mapping, offset: int) -> None:
    with pytest.raises(ValueError, match="overlaps"):
        space.map(BASE + offset, buffer(2))
    assert space.mappings == (mapping,)


@pytest.mark.parametrize("address", [BASE + 1, (1 << 48), (1 << 48) - 4096, -4096])
def test_address_that_cannot_be_mapped(space: AddressSpace, address: int) -> None:
    with pytest.raises(ValueError, match="whole pages"):
        space.map(address, buffer(2))


def test_neighbours_do_not_overlap_and_are_found_apart(space: AddressSpace, mapping: Mapping) -> None:
    below, above = space.map(BASE - 4096, buffer()), space.map(BASE + 8192, buffer())
    assert [space.find(BASE + at) for at in (-4097, -4096, -1, 0, 8191, 8192, 12288)] == [
        None, below, below, mapping, mapping, above, None,
    ]  # fmt: skip
    assert space.overlaps(BASE - 1, BASE + 1) is mapping
    assert space.overlaps(BASE + 12288, BASE + 12289) is None


def test_unmap_makes_the_range_fault_and_changes_the_version(space: AddressSpace, mapping: Mapping) -> None:
    version = space.version
    space.unmap(mapping)
    assert space.version != version
    with pytest.raises(VmFault):
        space.read_u32(BASE)


@pytest.mark.parametrize("address", [BASE + 2, BASE + 4])
def test_unaligned_words_are_refused(space: AddressSpace, mapping: Mapping, address: int) -> None:
    with pytest.raises(ValueError, match="unaligned"):
        space.read_u64(address)
    with pytest.raises(ValueError, match="unaligned"):
        space.write_u64(address, 0)
