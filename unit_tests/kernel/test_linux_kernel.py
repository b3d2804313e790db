"""LinuxKernel against files, memory and descriptors that every Linux machine has."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import pty
import select
import signal
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_amdgpu.abi import drm, kfd
from pytest_amdgpu.kernel.linux import LinuxKernel
from pytest_amdgpu.kernel.protocol import Kernel, KernelError


@pytest.fixture
def kernel() -> LinuxKernel:
    return LinuxKernel()


@pytest.fixture
def memory_file(kernel: LinuxKernel) -> Iterator[int]:
    fd = os.memfd_create("test")
    os.ftruncate(fd, mmap.PAGESIZE)
    yield fd
    kernel.close(fd)


def test_it_is_a_kernel(kernel: LinuxKernel) -> None:
    boundary: Kernel = kernel
    assert boundary.name == "hardware"


def test_open_names_path_and_flags_of_a_failure(kernel: LinuxKernel) -> None:
    with pytest.raises(KernelError, match=r"open\('/no/such/node', O_RDWR\|O_CLOEXEC\).*ENOENT") as caught:
        kernel.open("/no/such/node", os.O_RDWR | os.O_CLOEXEC)
    assert caught.value.errno == errno.ENOENT
    assert caught.value.call == "open"


def test_ioctl_writes_its_argument_in_place(kernel: LinuxKernel) -> None:
    parent, child = pty.openpty()
    try:
        os.write(parent, b"four\n")
        # The line discipline hands the line over in its own time.
        assert kernel.poll([(child, select.POLLIN)], 30.0)
        waiting = ctypes.create_string_buffer(4)
        assert kernel.ioctl(child, termios.FIONREAD, waiting) == 0
        assert int.from_bytes(waiting.raw, "little") == 5
    finally:
        kernel.close(parent)
        kernel.close(child)


def test_refused_ioctl_carries_errno_name_and_decoded_arguments(
    kernel: LinuxKernel, memory_file: int
) -> None:
    flags = kfd.AllocFlag.VRAM | kfd.AllocFlag.WRITABLE
    argument = kfd.AllocMemoryOfGpuArgs(va_addr=0x7F0000000000, size=8192, gpu_id=0x5F3C, flags=flags)
    with pytest.raises(KernelError) as caught:
        kernel.ioctl(memory_file, kfd.KfdIoctl.ALLOC_MEMORY_OF_GPU, argument)
    assert caught.value.errno == errno.ENOTTY
    assert caught.value.errno_name == "ENOTTY"
    assert caught.value.call == "AMDKFD_IOC_ALLOC_MEMORY_OF_GPU"
    for part in ("va_addr=0x7f0000000000", "size=8192", "gpu_id=0x5f3c", "flags=VRAM|WRITABLE"):
        assert part in caught.value.arguments
        assert part in str(caught.value)


def test_refused_union_argument_shows_what_went_in(kernel: LinuxKernel, memory_file: int) -> None:
    argument = drm.AmdgpuGemCreate()
    getattr(argument, "in").bo_size = 4096
    with pytest.raises(KernelError, match=r"DRM_IOCTL_AMDGPU_GEM_CREATE.*bo_size=4096"):
        kernel.ioctl(memory_file, drm.DrmIoctl.AMDGPU_GEM_CREATE, argument)


def test_mapped_memory_is_the_file(kernel: LinuxKernel, memory_file: int) -> None:
    address = kernel.mmap(0, mmap.PAGESIZE, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_SHARED, memory_file, 0)
    kernel.store_doorbell(address + 8, 0x1122334455667788)
    assert os.pread(memory_file, 16, 0) == bytes(8) + (0x1122334455667788).to_bytes(8, "little")
    kernel.munmap(address, mmap.PAGESIZE)


def test_refused_mmap_decodes_a_doorbell_offset(kernel: LinuxKernel, memory_file: int) -> None:
    offset = kfd.MmapType.DOORBELL << kfd.MMAP_TYPE_SHIFT | 0x5F3C << kfd.MMAP_GPU_ID_SHIFT
    with pytest.raises(KernelError, match=r"mmap\(.*length=0x0.*MAP_SHARED.*DOORBELL of gpu 0x5f3c"):
        kernel.mmap(0, 0, mmap.PROT_READ, mmap.MAP_SHARED, memory_file, offset)


def test_refused_munmap(kernel: LinuxKernel) -> None:
    with pytest.raises(KernelError, match=r"munmap\(address=0x1, length=0x1000\) failed: EINVAL"):
        kernel.munmap(1, mmap.PAGESIZE)


def test_descriptors_are_read_and_written(kernel: LinuxKernel) -> None:
    counter = os.eventfd(0, os.EFD_NONBLOCK)
    try:
        with pytest.raises(KernelError, match=rf"read\({counter}, 8 bytes\) failed: EAGAIN"):
            kernel.read(counter, 8)
        assert kernel.write(counter, (5).to_bytes(8, "little")) == 8
        assert kernel.read(counter, 8) == (5).to_bytes(8, "little")
    finally:
        os.close(counter)


def test_poll_returns_what_is_ready(kernel: LinuxKernel) -> None:
    quiet, ready = os.eventfd(0), os.eventfd(1)
    try:
        wanted = [(quiet, select.POLLIN), (ready, select.POLLIN)]
        assert kernel.poll(wanted, timeout=10.0) == [(ready, select.POLLIN)]
        assert kernel.poll(wanted[:1], timeout=0.0) == []
    finally:
        os.close(quiet)
        os.close(ready)


def test_a_signal_ends_a_poll_with_eintr(kernel: LinuxKernel) -> None:
    fd = os.eventfd(0)
    handled = []
    previous = signal.signal(signal.SIGALRM, lambda *_: handled.append(True))
    try:
        # It repeats, so that a signal that comes before the poll does not leave it waiting.
        signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
        with pytest.raises(KernelError) as caught:
            kernel.poll([(fd, select.POLLIN)], timeout=60.0)
        assert caught.value.errno == errno.EINTR
        assert handled
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
        os.close(fd)


class _InterruptedLibc:
    """Fails an ioctl with EINTR a number of times, as a kernel does that a signal keeps interrupting."""

    def __init__(self, interruptions: int) -> None:
        self.calls = 0
        self._interruptions = interruptions

    def ioctl(self, *_arguments: object) -> int:
        self.calls += 1
        if self.calls > self._interruptions:
            return 0
        ctypes.set_errno(errno.EINTR)
        return -1


def test_an_interrupted_ioctl_is_repeated(kernel: LinuxKernel, monkeypatch: pytest.MonkeyPatch) -> None:
    libc = _InterruptedLibc(interruptions=3)
    monkeypatch.setattr(kernel, "_libc", libc)
    assert kernel.ioctl(3, kfd.KfdIoctl.GET_VERSION, kfd.GetVersionArgs()) == 0
    assert libc.calls == 4


def test_an_interrupted_wait_is_the_callers(kernel: LinuxKernel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "_libc", _InterruptedLibc(interruptions=1))
    with pytest.raises(KernelError) as caught:
        kernel.ioctl(3, kfd.KfdIoctl.WAIT_EVENTS, kfd.WaitEventsArgs())
    assert caught.value.errno == errno.EINTR


def test_sysfs_is_read_as_text(kernel: LinuxKernel, tmp_path: Path) -> None:
    (tmp_path / "gpu_id").write_text("24380\n")
    assert kernel.listdir(str(tmp_path)) == ["gpu_id"]
    assert kernel.read_text(str(tmp_path / "gpu_id")) == "24380\n"
    with pytest.raises(KernelError, match=r"listdir\('/no/such'\).*ENOENT"):
        kernel.listdir("/no/such")
    with pytest.raises(KernelError, match=r"read\('/no/such/file'\).*ENOENT"):
        kernel.read_text("/no/such/file")


def test_closing_twice_is_an_error(kernel: LinuxKernel) -> None:
    fd = kernel.open(os.devnull, os.O_RDONLY)
    kernel.close(fd)
    with pytest.raises(KernelError, match=rf"close\({fd}\) failed: EBADF"):
        kernel.close(fd)
