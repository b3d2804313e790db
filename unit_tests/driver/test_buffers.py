"""Memory: flags by use, unwinding, bounds, views that outlive their buffer, sharing between GPUs."""

from __future__ import annotations

import errno
import gc
from collections.abc import Callable

import numpy as np
import pytest
from fake_kernel import FakeKernel

from pytest_amdgpu.abi.kfd import AllocFlag
from pytest_amdgpu.driver.buffer import Buffer
from pytest_amdgpu.driver.device import Device
from pytest_amdgpu.driver.errors import (
    AllocationError,
    BufferBoundsError,
    NotCpuVisibleError,
    SmallBarError,
    UseAfterFreeError,
)
from pytest_amdgpu.driver.topology import discover
from pytest_amdgpu.kernel.protocol import KernelError

ALWAYS = AllocFlag.NO_SUBSTITUTE | AllocFlag.WRITABLE
MAKERS: dict[str, Callable[[Device, int], Buffer]] = {
    "vram": lambda device, size: device.vram(size),
    "hidden vram": lambda device, size: device.vram(size, cpu_visible=False),
    "gtt": lambda device, size: device.gtt(size),
    "userptr": lambda device, size: device.userptr(size),
}


@pytest.fixture(params=MAKERS)
def make(request: pytest.FixtureRequest) -> Callable[[Device, int], Buffer]:
    return MAKERS[request.param]


def object_of(kernel: FakeKernel, buffer: Buffer) -> AllocFlag:
    return next(held for held in kernel.objects.values() if held.address == buffer.address).flags


def test_flags_follow_use(fake: FakeKernel, device: Device) -> None:
    assert object_of(fake, device.vram(9)) == ALWAYS | AllocFlag.VRAM | AllocFlag.PUBLIC
    assert object_of(fake, device.vram(9, cpu_visible=False)) == ALWAYS | AllocFlag.VRAM
    assert object_of(fake, device.gtt(9)) == ALWAYS | AllocFlag.GTT | AllocFlag.COHERENT
    uncached = ALWAYS | AllocFlag.COHERENT | AllocFlag.UNCACHED
    assert object_of(fake, device.gtt(9, uncached=True)) == uncached | AllocFlag.GTT
    code = ALWAYS | AllocFlag.VRAM | AllocFlag.PUBLIC | AllocFlag.EXECUTABLE
    assert object_of(fake, device.vram(9, executable=True)) == code
    assert object_of(fake, device.userptr(9)) == ALWAYS | AllocFlag.USERPTR | AllocFlag.COHERENT


def test_sizes_are_rounded_to_pages_for_the_kernel_only(fake: FakeKernel, device: Device) -> None:
    buffer = device.gtt(5000)
    assert buffer.size == len(buffer) == buffer.array.size == 5000
    assert next(o.size for o in fake.objects.values() if o.address == buffer.address) == 8192


def test_large_buffers_start_on_huge_pages(device: Device) -> None:
    assert device.gtt(4 << 20).address % (2 << 20) == 0


def test_address_is_the_same_for_cpu_and_gpu(device: Device) -> None:
    buffer = device.vram(64)
    buffer.array[:] = 7
    assert buffer.array.ctypes.data == buffer.address


def test_every_failing_call_of_an_allocation_is_undone(make: Callable[[Device, int], Buffer]) -> None:
    kernel = FakeKernel("mi300x")
    device = Device.open(kernel, discover(kernel)[0])
    before = kernel.held()
    kernel.calls.clear()
    make(device, 3 << 20).free()
    assert kernel.held() == before
    for failing in range(len(kernel.calls)):
        kernel.fail_nth(failing)
        try:
            buffer = make(device, 3 << 20)
        except (KernelError, AllocationError):
            assert kernel.held() == before, failing
            assert not device.leaks()
        else:
            with pytest.raises(KernelError, match="EIO"):
                buffer.free()
            break
    kernel.forgive()


def test_a_mapping_that_fails_after_some_gpus_is_taken_back() -> None:
    kernel = FakeKernel("mi300x", "mi300x")
    first, second = (Device.open(kernel, node) for node in discover(kernel))
    before = kernel.held()
    kernel.map_partially(1)
    kernel.fail("MAP_MEMORY_TO_GPU", errno.ENOMEM, after=1)
    kernel.calls.clear()
    with pytest.raises(KernelError, match="MAP_MEMORY_TO_GPU"):
        first.vram(64, peers=[second])
    assert kernel.calls[-4:] == [
        "UNMAP_MEMORY_FROM_GPU",
        "UNMAP_MEMORY_FROM_GPU",
        "FREE_MEMORY_OF_GPU",
        "munmap",
    ]
    assert kernel.held() == before
    assert not first.leaks()


def test_a_mapping_that_stops_short_without_an_error_is_one() -> None:
    kernel = FakeKernel("mi300x")
    with Device.open(kernel, discover(kernel)[0]) as device:
        before = kernel.held()
        kernel.lie_about_mapping = True
        with pytest.raises(AllocationError, match="on 0 of 1 GPUs and reported no error"):
            device.gtt(64)
        kernel.lie_about_mapping = False
        assert kernel.held() == before


def test_small_bar_is_said_and_hidden_vram_still_works() -> None:
    kernel = FakeKernel("rx7900xtx", small_bar=True)
    with Device.open(kernel, discover(kernel)[0]) as device:
        with pytest.raises(
            SmallBarError, match=r"0000:01:00\.0 \(gfx1100\).*PCI BAR is smaller.*Resizable BAR"
        ):
            device.vram(64, cpu_visible=True)
        device.vram(64, cpu_visible=False).free()


def test_vram_behind_a_small_bar_is_hidden_unless_it_must_not_be() -> None:
    kernel = FakeKernel("rx7900xtx", small_bar=True)
    with Device.open(kernel, discover(kernel)[0]) as device:
        default, hidden = device.vram(64), device.vram(64, cpu_visible=False)
        assert object_of(kernel, default) == object_of(kernel, hidden)
        assert not device.host_writes_vram
        with pytest.raises(SmallBarError, match="cannot see the VRAM"):
            _ = default.array
        with pytest.raises(NotCpuVisibleError, match="cpu_visible=False"):
            _ = hidden.array


def test_a_refusal_on_a_large_bar_is_not_blamed_on_it(fake: FakeKernel, device: Device) -> None:
    fake.fail("ALLOC_MEMORY_OF_GPU", errno.EINVAL)
    with pytest.raises(AllocationError, match="EINVAL") as caught:
        device.vram(64)
    assert not isinstance(caught.value, SmallBarError)


@pytest.mark.parametrize("size", [0, -1])
def test_no_size_is_no_buffer(device: Device, make: Callable[[Device, int], Buffer], size: int) -> None:
    with pytest.raises(AllocationError, match=f"cannot allocate {size} bytes of"):
        make(device, size)


def test_too_much_memory_says_how_much(fake: FakeKernel, device: Device) -> None:
    fake.fail("ALLOC_MEMORY_OF_GPU", errno.ENOMEM)
    with pytest.raises(AllocationError, match=r"cannot allocate 0x1000 bytes of vram: .*ENOMEM"):
        device.vram(1)
    with pytest.raises(AllocationError, match=r"no address range for 0x800000000000 bytes: .*ENOMEM"):
        device.gtt(1 << 47)


def test_views_of_any_type(device: Device) -> None:
    buffer = device.gtt(100)
    words = buffer.view(np.uint32)
    assert words.size == 25
    words[1] = 0x04030201
    assert buffer.read(4, 4) == b"\1\2\3\4"
    assert buffer.view("<u2", offset=6, count=1)[0] == 0x0403
    buffer.write(np.array([1.5]), offset=8)
    assert buffer.view(np.float64, offset=8, count=1)[0] == 1.5
    buffer.fill(0xAB, offset=99)
    assert buffer.array[99] == 0xAB


OUTSIDE: dict[str, Callable[[Buffer], object]] = {
    "read across the end": lambda buffer: buffer.read(60, 5),
    "read before the beginning": lambda buffer: buffer.read(-1, 2),
    "read from beyond": lambda buffer: buffer.read(65),
    "write": lambda buffer: buffer.write(b"12345", 60),
    "view": lambda buffer: buffer.view(np.uint64, 60, 1),
    "view from beyond": lambda buffer: buffer.view(np.uint8, 65),
    "fill": lambda buffer: buffer.fill(1, 10, 60),
    "slice": lambda buffer: buffer[10:65],
    "negative slice": lambda buffer: buffer[-4:],
    "reversed slice": lambda buffer: buffer[8:4],
    "strided slice": lambda buffer: buffer[0:8:2],
}


@pytest.mark.parametrize("access", OUTSIDE.values(), ids=OUTSIDE)
def test_access_outside_is_an_error(device: Device, access: Callable[[Buffer], object]) -> None:
    with pytest.raises(BufferBoundsError):
        access(device.gtt(64))


def test_bounds_error_names_range_and_buffer(device: Device) -> None:
    with pytest.raises(BufferBoundsError, match="bytes 60 to 65 are not inside a vram buffer of 64 bytes at"):
        device.vram(64).read(60, 5)


def test_text_of_buffers(device: Device) -> None:
    buffer = device.gtt(64)
    assert repr(buffer) == f"<Buffer: a gtt buffer of 64 bytes at {buffer.address:#x}>"
    assert repr(buffer[8:]).startswith("<BufferSlice: bytes 8 to 64 of a gtt buffer")
    buffer.free()
    assert repr(buffer).endswith("(freed)>")


def test_slices(device: Device) -> None:
    buffer = device.gtt(64)
    part = buffer[8:24]
    assert (part.address, part.size) == (buffer.address + 8, 16)
    part.array[:] = 5
    assert buffer.array.sum() == 80
    with pytest.raises(TypeError, match="sliced"):
        buffer[3]


def test_hidden_memory_has_no_array(device: Device) -> None:
    with pytest.raises(NotCpuVisibleError, match="cpu_visible=False"):
        _ = device.vram(64, cpu_visible=False).array


def test_use_after_free_is_an_error_that_names_the_line(
    device: Device, make: Callable[[Device, int], Buffer]
) -> None:
    buffer = make(device, 64)
    part = buffer[0:8]
    buffer.free()
    for use in (
        lambda: buffer.address,
        lambda: buffer.array,
        lambda: buffer.view(np.uint8),
        lambda: buffer.read(),
        lambda: buffer.write(b"1"),
        buffer.free,
        lambda: part.address,
        lambda: buffer.map_to(device),
    ):
        with pytest.raises(UseAfterFreeError, match=r"made at .*test_buffers\.py:\d+, was freed"):
            use()


def test_an_array_keeps_its_memory_after_free(fake: FakeKernel, device: Device) -> None:
    buffer = device.gtt(8192)
    part = buffer.array[5000:5010]
    part[:] = 3
    address = buffer.address
    buffer.free()
    assert not any(held.address == address for held in fake.objects.values())
    assert address in fake.mappings
    assert part.sum() == 30
    del part
    gc.collect()
    assert address not in fake.mappings


def test_userptr_of_an_array_covers_its_pages(fake: FakeKernel, device: Device) -> None:
    array = np.zeros(20000, np.uint8)
    part = array[100:9000]
    buffer = device.userptr(part)
    assert buffer.address == part.ctypes.data
    assert buffer.size == 8900
    held = next(o for o in fake.objects.values() if AllocFlag.USERPTR in o.flags)
    assert held.address % 4096 == held.size % 4096 == 0
    assert held.address <= buffer.address < buffer.address + 8900 <= held.address + held.size
    part[0] = 9
    assert buffer.array[0] == 9
    mappings = dict(fake.mappings)
    buffer.free()
    assert fake.mappings == mappings


def test_arrays_that_share_a_page_cannot_both_be_registered(fake: FakeKernel, device: Device) -> None:
    array = np.zeros(8192, np.uint8)
    fake.fail("MAP_MEMORY_TO_GPU", errno.EINVAL)
    with pytest.raises(AllocationError, match=r"array of 10 bytes at 0x.*may be registered already.*EINVAL"):
        device.userptr(array[:10])
    device.userptr(array[:10]).free()


def test_userptr_of_a_strided_array_is_refused(device: Device) -> None:
    with pytest.raises(AllocationError, match="contiguous"):
        device.userptr(np.zeros(100, np.uint8)[::2])


def test_peers_are_mapped_and_all_unmapped_before_free() -> None:
    kernel = FakeKernel("mi300x", "mi300x")
    first, second = (Device.open(kernel, node) for node in discover(kernel))
    with first, second:
        buffers = [first.vram(64, peers=[second]), first.gtt(64, peers=[second])]
        buffers.append(first.userptr(64, peers=[second]))
        buffers.append(first.userptr(np.zeros(64, np.uint8), peers=[second]))
        for buffer in buffers:
            assert set(buffer.allocation.mapped_gpus) == {0x1001, 0x1002}
            buffer.map_to(second)
            kernel.calls.clear()
            buffer.free()
            assert kernel.calls[:2] == ["UNMAP_MEMORY_FROM_GPU", "FREE_MEMORY_OF_GPU"]
