"""GEM handles of dma-bufs on a render node: what libdrm does with memory that KFD exported, and refusals."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
from collections.abc import Iterator
from typing import Any

import pytest

from pytest_amdgpu.abi.drm import AmdgpuGemMmap, DrmIoctl, GemClose, PrimeHandle
from pytest_amdgpu.driver.buffer import Buffer
from pytest_amdgpu.driver.device import Device
from pytest_amdgpu.driver.kfd_process import disconnect
from pytest_amdgpu.driver.topology import discover
from pytest_amdgpu.emulator.kernel import EmulatedKernel
from pytest_amdgpu.families.models import model
from pytest_amdgpu.kernel.protocol import KernelError

PAGE = 4096
READ_WRITE = mmap.PROT_READ | mmap.PROT_WRITE


@pytest.fixture
def kernel() -> Iterator[EmulatedKernel]:
    made = EmulatedKernel([model("rx7900xtx")])
    yield made
    disconnect(made)
    made.shutdown()


@pytest.fixture
def buffer(kernel: EmulatedKernel) -> Iterator[Buffer]:
    """Two pages of VRAM, from the driver."""
    device = Device.open(kernel, discover(kernel)[0])
    yield device.vram(2 * PAGE)
    device.close()


@pytest.fixture
def node(kernel: EmulatedKernel) -> int:
    """A render node whose VM is no compute VM, as libdrm's second descriptor."""
    return kernel.open("/dev/dri/renderD128", os.O_RDWR)


def call(kernel: EmulatedKernel, node: int, request: DrmIoctl, argument: Any) -> Any:
    kernel.ioctl(node, request, argument)
    return argument


def refused(kernel: EmulatedKernel, node: int, request: DrmIoctl, argument: Any) -> int | None:
    with pytest.raises(KernelError) as caught:
        kernel.ioctl(node, request, argument)
    return caught.value.errno


def import_handle(kernel: EmulatedKernel, node: int, fd: int) -> int:
    handle: int = call(kernel, node, DrmIoctl.PRIME_FD_TO_HANDLE, PrimeHandle(fd=fd)).handle
    return handle


def mmap_offset(kernel: EmulatedKernel, node: int, handle: int) -> int:
    argument = AmdgpuGemMmap()
    getattr(argument, "in").handle = handle
    offset: int = call(kernel, node, DrmIoctl.AMDGPU_GEM_MMAP, argument).out.addr_ptr
    return offset


@pytest.mark.parametrize("copied", [False, True], ids=["own", "received"])
def test_a_handle_maps_what_the_dma_buf_holds(
    kernel: EmulatedKernel, buffer: Buffer, node: int, copied: bool
) -> None:
    buffer.write(b"exported")
    with buffer.export() as shared:
        fd = os.dup(shared.fd) if copied else shared.fd
        handle = import_handle(kernel, node, fd)
        assert import_handle(kernel, node, fd) == handle == 1
        if copied:
            os.close(fd)
    offset = mmap_offset(kernel, node, handle)
    assert mmap_offset(kernel, node, handle) == offset
    address = kernel.mmap(0, 2 * PAGE, READ_WRITE, mmap.MAP_SHARED, node, offset)
    assert ctypes.string_at(address, 8) == b"exported"
    ctypes.memset(address, ord("E"), 1)
    assert buffer.read(0, 8) == b"Exported"
    kernel.munmap(address, 2 * PAGE)
    call(kernel, node, DrmIoctl.GEM_CLOSE, GemClose(handle))
    with pytest.raises(KernelError, match="EACCES" if not copied else "EINVAL"):
        kernel.mmap(0, 2 * PAGE, READ_WRITE, mmap.MAP_SHARED, node, offset)


def test_a_handle_can_be_exported_again(kernel: EmulatedKernel, buffer: Buffer, node: int) -> None:
    with buffer.export() as shared:
        handle = import_handle(kernel, node, shared.fd)
    flags = os.O_CLOEXEC | os.O_RDWR
    fd = call(kernel, node, DrmIoctl.PRIME_HANDLE_TO_FD, PrimeHandle(handle=handle, flags=flags)).fd
    assert not os.get_inheritable(fd)
    buffer.write(b"again")
    address = kernel.mmap(0, PAGE, READ_WRITE, mmap.MAP_SHARED, fd, 0)
    assert ctypes.string_at(address, 5) == b"again"
    kernel.munmap(address, PAGE)
    kernel.close(fd)


def test_a_closed_handle_is_given_again(kernel: EmulatedKernel, buffer: Buffer, node: int) -> None:
    with buffer.export() as shared:
        for _ in range(2):
            handle = import_handle(kernel, node, shared.fd)
            assert handle == 1
            call(kernel, node, DrmIoctl.GEM_CLOSE, GemClose(handle))
            assert refused(kernel, node, DrmIoctl.GEM_CLOSE, GemClose(handle)) == errno.EINVAL


def test_handles_of_another_descriptor_are_unknown(kernel: EmulatedKernel, buffer: Buffer, node: int) -> None:
    with buffer.export() as shared:
        handle = import_handle(kernel, node, shared.fd)
    other = kernel.open("/dev/dri/renderD128", os.O_RDWR)
    assert refused(kernel, other, DrmIoctl.GEM_CLOSE, GemClose(handle)) == errno.EINVAL


def test_prime_fd_to_handle_not_open_ebadf(kernel: EmulatedKernel, node: int) -> None:
    assert refused(kernel, node, DrmIoctl.PRIME_FD_TO_HANDLE, PrimeHandle(fd=99_999)) == errno.EBADF


def test_prime_fd_to_handle_not_a_dma_buf_einval(kernel: EmulatedKernel, node: int) -> None:
    assert refused(kernel, node, DrmIoctl.PRIME_FD_TO_HANDLE, PrimeHandle(fd=node)) == errno.EINVAL


def test_prime_handle_to_fd_unknown_handle_enoent(kernel: EmulatedKernel, node: int) -> None:
    assert refused(kernel, node, DrmIoctl.PRIME_HANDLE_TO_FD, PrimeHandle(handle=5)) == errno.ENOENT


def test_prime_handle_to_fd_unknown_flags_einval(kernel: EmulatedKernel, node: int) -> None:
    argument = PrimeHandle(handle=5, flags=os.O_NONBLOCK)
    assert refused(kernel, node, DrmIoctl.PRIME_HANDLE_TO_FD, argument) == errno.EINVAL


def test_gem_mmap_unknown_handle_enoent(kernel: EmulatedKernel, node: int) -> None:
    argument = AmdgpuGemMmap()
    getattr(argument, "in").handle = 5
    assert refused(kernel, node, DrmIoctl.AMDGPU_GEM_MMAP, argument) == errno.ENOENT
