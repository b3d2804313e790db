"""A trace has one line per call: what went in, what came back, and the error's name."""

from __future__ import annotations

import io
import os
import re

import pytest

from pytest_amdgpu.abi import drm, kfd
from pytest_amdgpu.kernel.protocol import Argument, Kernel, KernelError
from pytest_amdgpu.kernel.trace import TracingKernel


class _ScriptedKernel:
    """Answers each call in a fixed way."""

    name = "software"

    def open(self, path: str, flags: int) -> int:
        return 3

    def close(self, fd: int) -> None:
        raise KernelError(9, "close", str(fd))

    def read(self, fd: int, size: int) -> bytes:
        return b"1 2a:task\n"

    def write(self, fd: int, data: bytes) -> int:
        return len(data)

    def ioctl(self, fd: int, request: int, argument: Argument) -> int:
        if isinstance(argument, kfd.AllocMemoryOfGpuArgs):
            argument.handle = 0x5F3C00000001
            argument.mmap_offset = 0x10000
        elif isinstance(argument, drm.AmdgpuGemCreate):
            argument.out.handle = 7
        elif isinstance(argument, kfd.MapMemoryToGpuArgs):
            argument.n_success = 1
            raise KernelError(22, "AMDKFD_IOC_MAP_MEMORY_TO_GPU", "")
        return 0

    def mmap(self, address: int, length: int, protection: int, flags: int, fd: int, offset: int) -> int:
        return 0x7F0000000000

    def munmap(self, address: int, length: int) -> None:
        pass

    def poll(self, fds: object, timeout: float | None) -> list[tuple[int, int]]:
        return [(4, 1)]

    def listdir(self, path: str) -> list[str]:
        return ["0", "1"]

    def read_text(self, path: str) -> str:
        return "4\n"

    def store_doorbell(self, address: int, value: int) -> None:
        pass


@pytest.fixture
def out() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def kernel(out: io.StringIO) -> Kernel:
    return TracingKernel(_ScriptedKernel(), out)


def _calls(out: io.StringIO) -> list[str]:
    lines = out.getvalue().splitlines()
    matches = [re.fullmatch(r"\d+\.\d{6} MainThread (.*) <\d+ us>", line) for line in lines]
    assert all(matches), lines
    return [match[1] for match in matches if match]


def test_every_call_is_a_line(kernel: Kernel, out: io.StringIO) -> None:
    assert kernel.name == "software"
    assert kernel.open("/dev/kfd", os.O_RDWR) == 3
    assert kernel.mmap(0, 4096, 3, 1, 3, 0) == 0x7F0000000000
    kernel.munmap(0x7F0000000000, 4096)
    assert kernel.poll([(4, 1)], 0.5) == [(4, 1)]
    assert kernel.listdir("/sys") == ["0", "1"]
    assert kernel.read_text("/sys/gpu_id") == "4\n"
    assert kernel.read(4, 96) == b"1 2a:task\n"
    assert kernel.write(4, bytes(8)) == 8
    kernel.store_doorbell(0x1000, 64)
    assert _calls(out) == [
        "open('/dev/kfd', O_RDWR) = 3",
        "mmap(address=0x0, length=0x1000, protection=PROT_READ|PROT_WRITE, flags=MAP_SHARED, fd=3, "
        "offset=0x0) = 0x7f0000000000",
        "munmap(0x7f0000000000, 0x1000) = 0",
        "poll([(4, 1)], 0.5) = [(4, 1)]",
        "listdir('/sys') = 2 names",
        "read('/sys/gpu_id') = 2 characters",
        r"read(4, 96) = b'1 2a:task\n'",
        "write(4, 00000000 00000000) = 8",
        "doorbell(0x1000, 0x40) = 0",
    ]


def test_an_ioctl_shows_what_the_kernel_changed(kernel: Kernel, out: io.StringIO) -> None:
    argument = kfd.AllocMemoryOfGpuArgs(size=4096, flags=kfd.AllocFlag.GTT)
    kernel.ioctl(3, kfd.KfdIoctl.ALLOC_MEMORY_OF_GPU, argument)
    assert _calls(out) == [
        "ioctl(3, AMDKFD_IOC_ALLOC_MEMORY_OF_GPU, va_addr=0, size=4096, handle=0, mmap_offset=0, gpu_id=0x0, "
        "flags=GTT) = 0 -> handle=0x5f3c00000001, mmap_offset=0x10000"
    ]


def test_an_overlaid_answer_is_shown_after_success(kernel: Kernel, out: io.StringIO) -> None:
    kernel.ioctl(3, drm.DrmIoctl.AMDGPU_GEM_CREATE, drm.AmdgpuGemCreate())
    assert _calls(out)[0].endswith("domain_flags=0) = 0 -> handle=7")


def test_a_failed_ioctl_shows_errno_and_partial_result(kernel: Kernel, out: io.StringIO) -> None:
    with pytest.raises(KernelError):
        kernel.ioctl(3, kfd.KfdIoctl.MAP_MEMORY_TO_GPU, kfd.MapMemoryToGpuArgs(n_devices=2))
    assert _calls(out)[0].endswith("n_devices=2, n_success=0) = -1 EINVAL -> n_success=1")


def test_a_failed_call_is_passed_on(kernel: Kernel, out: io.StringIO) -> None:
    with pytest.raises(KernelError, match="EBADF"):
        kernel.close(3)
    assert _calls(out) == ["close(3) = -1 EBADF"]


def test_a_record_that_cannot_be_written_is_told_at_its_end_and_fails_no_call() -> None:
    kernel = TracingKernel(_ScriptedKernel(), open("/dev/full", "w"))  # noqa: SIM115
    assert [kernel.open("/dev/kfd", 0), kernel.open("/dev/kfd", 0)] == [3, 3]
    with pytest.raises(OSError, match="No space left on device"):
        kernel.stop()
    assert kernel.open("/dev/kfd", 0) == 3
