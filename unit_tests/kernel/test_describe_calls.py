"""Arguments become text in which nothing is hidden: unknown bits, unknown requests, overlaid payloads."""

from __future__ import annotations

import ctypes
import os

import pytest

from pytest_amdgpu.abi import drm, drm_info, ioctl, kfd, kfd_debug
from pytest_amdgpu.kernel.describe import describe, describe_mmap, describe_open


def test_unknown_flag_bits_are_shown() -> None:
    argument = kfd.AllocMemoryOfGpuArgs(flags=kfd.AllocFlag.GTT | 0x40)
    assert "flags=GTT|0x40" in describe(kfd.KfdIoctl.ALLOC_MEMORY_OF_GPU, argument)[1]


def test_unknown_enumeration_values_are_shown() -> None:
    assert "queue_type=9" in describe(kfd.KfdIoctl.CREATE_QUEUE, kfd.CreateQueueArgs(queue_type=9))[1]


def test_a_request_nobody_knows_shows_its_bytes() -> None:
    request = ioctl.encode(3, 4, ord("K"), 0x7F)
    argument = ctypes.create_string_buffer(b"\x01\x02\x03\x04", 4)
    assert describe(request, argument) == ("ioctl 0xc0044b7f", "argument=01020304")


def test_a_request_without_argument() -> None:
    empty = ctypes.create_string_buffer(0)
    assert describe(kfd.KfdIoctl.CREATE_PROCESS, empty) == ("AMDKFD_IOC_CREATE_PROCESS", "")


def test_an_older_shorter_argument_is_zero_extended() -> None:
    data = bytes(kfd.CreateQueueArgs(gpu_id=0x1234, sdma_engine_id=5))[:88]
    request = ioctl.with_size(kfd.KfdIoctl.CREATE_QUEUE, 88)
    name, text = describe(request, ctypes.create_string_buffer(data, 88))
    assert name == "AMDKFD_IOC_CREATE_QUEUE"
    assert "gpu_id=0x1234" in text
    assert "sdma_engine_id=0" in text


def test_padding_is_shown_only_where_it_is_not_zero() -> None:
    assert "pad" not in describe(kfd.KfdIoctl.DESTROY_QUEUE, kfd.DestroyQueueArgs(queue_id=1))[1]
    assert "pad=7" in describe(kfd.KfdIoctl.DESTROY_QUEUE, kfd.DestroyQueueArgs(queue_id=1, pad=7))[1]


def test_the_payload_of_a_debugger_request_is_the_operations() -> None:
    argument = kfd_debug.DbgTrapArgs(pid=1, op=kfd_debug.DbgTrapOp.SET_FLAGS)
    argument.set_flags.flags = kfd_debug.DbgTrapFlag.SINGLE_MEM_OP
    text = describe(kfd.KfdIoctl.DBG_TRAP, argument)[1]
    assert text == "pid=1, op=SET_FLAGS, flags=SINGLE_MEM_OP"


def test_the_payload_of_an_unknown_operation_is_bytes() -> None:
    argument = kfd_debug.DbgTrapArgs(pid=1, op=99)
    argument.set_flags.flags = 0xAB
    assert "op=99, payload=ab" in describe(kfd.KfdIoctl.DBG_TRAP, argument)[1]


@pytest.mark.parametrize("operation", kfd_debug.DbgTrapOp)
def test_every_debugger_operation_can_be_described(operation: kfd_debug.DbgTrapOp) -> None:
    assert f"op={operation.name}" in describe(kfd.KfdIoctl.DBG_TRAP, kfd_debug.DbgTrapArgs(op=operation))[1]


def test_query_of_amdgpu_info() -> None:
    argument = drm.AmdgpuInfo(return_size=40, query=drm_info.InfoQuery.HW_IP_INFO)
    argument.query_hw_ip.type = 2
    text = describe(drm.DrmIoctl.AMDGPU_INFO, argument)[1]
    assert text == "return_pointer=0, return_size=40, query=HW_IP_INFO, type=2, ip_instance=0"


def test_memory_type_of_a_mapping_is_a_number_not_bits() -> None:
    argument = drm.AmdgpuGemVa(operation=1, flags=drm.VmFlag.PAGE_READABLE | drm.VmMtype.CC)
    text = describe(drm.DrmIoctl.AMDGPU_GEM_VA, argument)[1]
    assert "operation=MAP, flags=PAGE_READABLE|MTYPE_CC" in text


def test_result_of_an_overlaid_argument() -> None:
    argument = drm.AmdgpuGemMmap()
    argument.out.addr_ptr = 0x100000000
    assert describe(drm.DrmIoctl.AMDGPU_GEM_MMAP, argument, result=True)[1] == "addr_ptr=0x100000000"


@pytest.mark.parametrize("spec", [*kfd.KFD_IOCTLS.values(), *drm.DRM_IOCTLS.values()], ids=lambda s: s.name)
def test_every_ioctl_can_be_described(spec: ioctl.IoctlSpec) -> None:
    argument = spec.struct() if spec.struct else ctypes.create_string_buffer(0)
    assert describe(spec.request, argument)[0] == spec.name


def test_open_and_mmap() -> None:
    assert describe_open("/dev/kfd", os.O_RDWR | os.O_CLOEXEC) == "'/dev/kfd', O_RDWR|O_CLOEXEC"
    assert describe_mmap(0x1000, 4096, 3, 0x11, 5, 0x2000) == (
        "address=0x1000, length=0x1000, protection=PROT_READ|PROT_WRITE, flags=MAP_SHARED|MAP_FIXED, fd=5, "
        "offset=0x2000"
    )
