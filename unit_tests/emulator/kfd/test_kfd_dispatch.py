"""How ioctls are taken: numbers, sizes, copies in and out, and who may call (kfd_ioctl in kfd_chardev.c)."""

from __future__ import annotations

import ctypes
import errno
import os

import pytest
from kfd_client import GTT, Client

from pytest_amdgpu.abi import ioctl
from pytest_amdgpu.abi.kfd import (
    AllocMemoryOfGpuArgs,
    CreateQueueArgs,
    GetClockCountersArgs,
    GetVersionArgs,
    KfdIoctl,
    QueueType,
)
from pytest_amdgpu.emulator.refusal import KfdMisuse, Refusal
from pytest_amdgpu.kernel.protocol import KernelError


def errno_of(client: Client, request: int, size: int = 8, fd: int | None = None) -> int:
    """Expect a refusal that changes neither the argument nor the state, and return its errno."""
    given = b"\xa5" * 4 + bytes(size - 4)
    argument, before = ctypes.create_string_buffer(given, size), client.state()
    with pytest.raises(KernelError) as caught:
        client.kernel.ioctl(client.fd if fd is None else fd, request, argument)
    assert (argument.raw, client.state()) == (given, before)
    assert caught.value.errno is not None
    return caught.value.errno


@pytest.mark.parametrize("nr", [0x00, 0x27, 0x28, 0x29, 0x7F, 0x82, 0x83, 0x87, 0xFF])
def test_unknown_number_einval(client: Client, nr: int) -> None:
    assert errno_of(client, ioctl.encode(3, 8, ord("K"), nr)) == errno.EINVAL


@pytest.mark.parametrize("request_number", [KfdIoctl.PROFILER, KfdIoctl.RLC_SPM, KfdIoctl.PC_SAMPLE])
def test_ioctl_that_is_not_emulated_is_refused_and_logged(client: Client, request_number: KfdIoctl) -> None:
    assert errno_of(client, request_number, 64) == errno.EINVAL
    assert any(f"AMDKFD_IOC_{request_number.name} is not emulated" in line for line in client.kernel.log)


@pytest.mark.parametrize("nr", [0x0D, 0x0E, 0x0F, 0x10])
def test_old_debugger_interface_eperm(client: Client, nr: int) -> None:
    assert errno_of(client, ioctl.encode(1, 8, ord("K"), nr)) == errno.EPERM


@pytest.mark.parametrize("fd", [-1, 12345])
def test_descriptor_that_is_not_open_ebadf(client: Client, fd: int) -> None:
    assert errno_of(client, KfdIoctl.GET_VERSION, fd=fd) == errno.EBADF


def test_closed_descriptor_ebadf(client: Client) -> None:
    other = client.kernel.open("/dev/kfd", os.O_RDWR)
    client.kernel.close(other)
    assert errno_of(client, KfdIoctl.GET_VERSION, fd=other) == errno.EBADF


def test_direction_bits_are_the_kernels_own(client: Client) -> None:
    args = GetVersionArgs()
    client.kernel.ioctl(client.fd, ioctl.encode(0, 8, ord("K"), 1), args)
    assert (args.major_version, args.minor_version) == (1, 17)


def test_shorter_argument_is_extended_with_zeros_and_loses_outputs(client: Client) -> None:
    args = GetVersionArgs(7, 9)
    client.kernel.ioctl(client.fd, ioctl.with_size(KfdIoctl.GET_VERSION, 4), args)
    assert (args.major_version, args.minor_version) == (1, 9)


def test_create_queue_of_88_bytes_works(client: Client) -> None:
    args = CreateQueueArgs(**client.queue_fields(QueueType.SDMA), sdma_engine_id=99, pad=99)
    assert ioctl.with_size(KfdIoctl.CREATE_QUEUE, 88) == 0xC0584B02
    client.kernel.ioctl(client.fd, 0xC0584B02, args)
    assert args.queue_id == 0
    assert (args.sdma_engine_id, args.pad) == (99, 99)


def test_longer_argument_is_cleared_where_the_kernel_only_writes(client: Client) -> None:
    raw = ctypes.create_string_buffer(b"\xff" * 16, 16)
    client.kernel.ioctl(client.fd, ioctl.with_size(KfdIoctl.GET_VERSION, 16), raw)
    assert raw.raw == (1).to_bytes(4, "little") + (17).to_bytes(4, "little") + bytes(8)


def test_longer_argument_keeps_its_tail_where_the_kernel_reads(client: Client) -> None:
    raw = ctypes.create_string_buffer(bytes(40) + b"\xff" * 8, 48)
    client.kernel.ioctl(client.fd, ioctl.with_size(KfdIoctl.GET_CLOCK_COUNTERS, 48), raw)
    assert raw.raw[40:] == b"\xff" * 8
    assert GetClockCountersArgs.from_buffer_copy(raw).system_clock_freq == 10**9


def test_argument_smaller_than_the_request_says(client: Client) -> None:
    with pytest.raises(ValueError, match="the request says 8 bytes, the argument has 4"):
        client.kernel.ioctl(client.fd, KfdIoctl.GET_VERSION, ctypes.create_string_buffer(4))


def test_output_is_copied_back_also_when_the_call_fails(client: Client) -> None:
    fields = client.queue_fields() | {"ring_size": 512, "queue_type": 5}
    client.refused(524, KfdIoctl.CREATE_QUEUE, out={"ring_size": 1024}, **fields)


def test_write_only_argument_is_not_copied_back(client: Client) -> None:
    queue = client.create_queue()
    args = client.call(KfdIoctl.UPDATE_QUEUE, queue_id=queue.queue_id, ring_size=512)
    assert args.ring_size == 512


def test_pad_that_is_not_zero_is_a_driver_bug(client: Client) -> None:
    with pytest.warns(KfdMisuse, match="AMDKFD_IOC_DESTROY_QUEUE with pad 0x7"):
        client.refused(errno.EINVAL, KfdIoctl.DESTROY_QUEUE, queue_id=5, pad=7)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_forked_child_ebadf(client: Client) -> None:
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            client.kernel.ioctl(client.fd, KfdIoctl.GET_VERSION, GetVersionArgs())
        except KernelError as error:
            status = 0 if error.errno == errno.EBADF else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_forked_child_does_not_free_its_parents_memory(client: Client) -> None:
    args = client.buffer(4096, GTT)
    ctypes.memset(args.va_addr, 0x5A, 4096)
    pid = os.fork()
    if pid == 0:
        client.process.devices[client.gpu_id].teardown()
        os._exit(0)
    os.waitpid(pid, 0)
    assert client.process.devices[client.gpu_id].space.read(args.va_addr, 4) == b"ZZZZ"


def test_error_tells_call_arguments_and_reason(client: Client) -> None:
    args = AllocMemoryOfGpuArgs(size=0, gpu_id=client.gpu_id)
    with pytest.raises(
        KernelError, match=r"AMDKFD_IOC_ALLOC_MEMORY_OF_GPU\(fd=\d+, .*size=0.*EINVAL"
    ) as caught:
        client.kernel.ioctl(client.fd, KfdIoctl.ALLOC_MEMORY_OF_GPU, args)
    assert caught.value.__notes__ == ["software kernel: size is 0"]
    assert client.kernel.log[-1] == "AMDKFD_IOC_ALLOC_MEMORY_OF_GPU: EINVAL: size is 0"


@pytest.mark.parametrize("why", ["", " "])
def test_a_refusal_says_why(why: str) -> None:
    with pytest.raises(ValueError, match="errno 22 must say why"):
        Refusal(errno.EINVAL, why)
