"""The render node of a software GPU: version, queries and refusals."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterator
from typing import Any

import pytest

from pytest_amdgpu.abi import drm_info, ioctl
from pytest_amdgpu.abi.drm import AmdgpuInfo, DrmIoctl, DrmVersion, GemClose
from pytest_amdgpu.abi.drm_info import InfoQuery
from pytest_amdgpu.emulator.kernel import EmulatedKernel
from pytest_amdgpu.families.models import model
from pytest_amdgpu.kernel.protocol import KernelError

MI300X, RX7900XTX = 0, 1


@pytest.fixture
def kernel() -> Iterator[EmulatedKernel]:
    made = EmulatedKernel([model("mi300x"), model("rx7900xtx")])
    yield made
    made.shutdown()


@pytest.fixture
def nodes(kernel: EmulatedKernel) -> list[int]:
    return [kernel.open(f"/dev/dri/renderD{minor}", os.O_RDWR) for minor in (128, 129)]


def info(kernel: EmulatedKernel, fd: int, query: int, result: Any, **argument: int) -> Any:
    args = AmdgpuInfo(return_pointer=ctypes.addressof(result), return_size=ctypes.sizeof(result), query=query)
    for name, value in argument.items():
        union, _, field = name.partition("__")
        setattr(getattr(args, union), field, value)
    kernel.ioctl(fd, DrmIoctl.AMDGPU_INFO, args)
    return result


def errno_of(kernel: EmulatedKernel, fd: int, request: int, argument: Any) -> int | None:
    with pytest.raises(KernelError) as caught:
        kernel.ioctl(fd, request, argument)
    return caught.value.errno


def test_version_names_amdgpu(kernel: EmulatedKernel, nodes: list[int]) -> None:
    name = ctypes.create_string_buffer(b"?" * 16, 16)
    args = DrmVersion(name_len=16, name=ctypes.addressof(name))
    kernel.ioctl(nodes[0], DrmIoctl.VERSION, args)
    assert (args.version_major, args.version_minor, args.name_len) == (3, 58, 6)
    assert name.raw == b"amdgpu" + b"?" * 10


def test_version_cuts_what_does_not_fit(kernel: EmulatedKernel, nodes: list[int]) -> None:
    name = ctypes.create_string_buffer(b"?" * 8, 8)
    args = DrmVersion(name_len=3, name=ctypes.addressof(name))
    kernel.ioctl(nodes[0], DrmIoctl.VERSION, args)
    assert (args.name_len, name.raw) == (6, b"amd?????")


def test_device_info(kernel: EmulatedKernel, nodes: list[int]) -> None:
    device = info(kernel, nodes[RX7900XTX], InfoQuery.DEV_INFO, drm_info.AmdgpuInfoDevice())
    assert (device.device_id, device.family, device.gpu_counter_freq) == (0x744C, 145, 100_000)
    assert (device.num_shader_engines, device.num_shader_arrays_per_engine) == (6, 2)
    assert sum(mask.bit_count() for row in device.cu_bitmap for mask in row) == 96
    assert device.virtual_address_offset == 0x10000


def test_answer_is_cut_to_the_room(kernel: EmulatedKernel, nodes: list[int]) -> None:
    raw = ctypes.create_string_buffer(b"\xee" * 8, 8)
    args = AmdgpuInfo(return_pointer=ctypes.addressof(raw), return_size=4, query=InfoQuery.DEV_INFO)
    kernel.ioctl(nodes[RX7900XTX], DrmIoctl.AMDGPU_INFO, args)
    assert raw.raw == (0x744C).to_bytes(4, "little") + b"\xee" * 4


@pytest.mark.parametrize(
    ("node", "kind", "version", "rings"),
    [
        (MI300X, 0, (9, 4, 3), False),
        (MI300X, 1, (9, 4, 3), True),
        (MI300X, 2, (4, 4, 2), True),
        (RX7900XTX, 0, (11, 0, 0), True),
        (RX7900XTX, 2, (6, 0, 0), True),
    ],
)
def test_hw_ip_info(
    kernel: EmulatedKernel,
    nodes: list[int],
    node: int,
    kind: int,
    version: tuple[int, int, int],
    rings: bool,
) -> None:
    result = info(
        kernel, nodes[node], InfoQuery.HW_IP_INFO, drm_info.AmdgpuInfoHwIp(), query_hw_ip__type=kind
    )
    major, minor, revision = version
    assert result.ip_discovery_version == major << 16 | minor << 8 | revision
    assert (result.hw_ip_version_major, result.hw_ip_version_minor) == (major, minor)
    assert bool(result.available_rings) == rings


def test_hw_ip_count(kernel: EmulatedKernel, nodes: list[int]) -> None:
    counts = [
        info(kernel, nodes[0], InfoQuery.HW_IP_COUNT, ctypes.c_uint32(), query_hw_ip__type=kind).value
        for kind in (1, 2)
    ]
    assert counts == [1, 16]


def test_memory_and_usage(kernel: EmulatedKernel, nodes: list[int]) -> None:
    memory = info(kernel, nodes[RX7900XTX], InfoQuery.MEMORY, drm_info.AmdgpuMemoryInfo())
    assert memory.vram.total_heap_size == memory.cpu_accessible_vram.total_heap_size == 25753026560
    assert memory.gtt.total_heap_size > 0
    kernel.gpus[RX7900XTX].vram_used = 12345
    for query in (InfoQuery.VRAM_USAGE, InfoQuery.VIS_VRAM_USAGE):
        assert info(kernel, nodes[RX7900XTX], query, ctypes.c_uint64()).value == 12345
    assert info(kernel, nodes[RX7900XTX], InfoQuery.GTT_USAGE, ctypes.c_uint64()).value == 0
    sizes = info(kernel, nodes[RX7900XTX], InfoQuery.VRAM_GTT, drm_info.AmdgpuInfoVramGtt())
    assert sizes.vram_size == 25753026560


def test_small_answers(kernel: EmulatedKernel, nodes: list[int]) -> None:
    assert info(kernel, nodes[0], InfoQuery.ACCEL_WORKING, ctypes.c_uint32()).value == 1
    assert info(kernel, nodes[0], InfoQuery.VRAM_LOST_COUNTER, ctypes.c_uint32(9)).value == 0
    firmware = info(
        kernel, nodes[0], InfoQuery.FW_VERSION, drm_info.AmdgpuInfoFirmware(), query_fw__fw_type=8
    )
    assert firmware.ver == 166
    first = info(kernel, nodes[0], InfoQuery.TIMESTAMP, ctypes.c_uint64()).value
    assert info(kernel, nodes[0], InfoQuery.TIMESTAMP, ctypes.c_uint64()).value >= first > 0


def test_last_page_fault(kernel: EmulatedKernel, nodes: list[int]) -> None:
    assert info(kernel, nodes[0], InfoQuery.GPUVM_FAULT, drm_info.AmdgpuInfoGpuvmFault()).addr == 0
    kernel.gpus[0].last_fault = drm_info.AmdgpuInfoGpuvmFault(0x1000, 5, 0)
    assert info(kernel, nodes[0], InfoQuery.GPUVM_FAULT, drm_info.AmdgpuInfoGpuvmFault()).addr == 0x1000


@pytest.mark.parametrize("query", [0x01, 0x99, InfoQuery.SENSOR])
def test_info_query_unknown_or_not_emulated_einval(
    kernel: EmulatedKernel, nodes: list[int], query: int
) -> None:
    with pytest.raises(KernelError) as caught:
        info(kernel, nodes[0], query, ctypes.c_uint64())
    assert caught.value.errno == errno.EINVAL


@pytest.mark.parametrize(
    ("query", "argument"),
    [(InfoQuery.HW_IP_INFO, {"query_hw_ip__type": 77}), (InfoQuery.FW_VERSION, {"query_fw__fw_type": 0xFF})],
)
def test_info_argument_unknown_einval(
    kernel: EmulatedKernel, nodes: list[int], query: int, argument: dict[str, int]
) -> None:
    with pytest.raises(KernelError) as caught:
        info(kernel, nodes[0], query, ctypes.c_uint64(), **argument)
    assert caught.value.errno == errno.EINVAL


def test_info_without_room_einval(kernel: EmulatedKernel, nodes: list[int]) -> None:
    result = ctypes.c_uint64()
    for args in (AmdgpuInfo(return_pointer=0, return_size=8), AmdgpuInfo(ctypes.addressof(result), 0)):
        assert errno_of(kernel, nodes[0], DrmIoctl.AMDGPU_INFO, args) == errno.EINVAL


def test_info_bad_pointer_efault(kernel: EmulatedKernel, nodes: list[int]) -> None:
    args = AmdgpuInfo(return_pointer=0x1234_5678_0000, return_size=4)
    assert errno_of(kernel, nodes[0], DrmIoctl.AMDGPU_INFO, args) == errno.EFAULT


@pytest.mark.parametrize("handle", [0, 1])
def test_gem_close_unknown_handle_einval(kernel: EmulatedKernel, nodes: list[int], handle: int) -> None:
    assert errno_of(kernel, nodes[0], DrmIoctl.GEM_CLOSE, GemClose(handle)) == errno.EINVAL


@pytest.mark.parametrize(
    "request_number", [ioctl.encode(3, 8, ord("d"), 0x3F), ioctl.encode(3, 8, ord("K"), 0x00)]
)
def test_unknown_ioctl_einval(kernel: EmulatedKernel, nodes: list[int], request_number: int) -> None:
    argument = ctypes.create_string_buffer(8)
    assert errno_of(kernel, nodes[0], request_number, argument) == errno.EINVAL


def test_ioctl_that_is_not_emulated_is_refused_and_logged(kernel: EmulatedKernel, nodes: list[int]) -> None:
    argument = ctypes.create_string_buffer(64)
    assert errno_of(kernel, nodes[0], DrmIoctl.AMDGPU_CS, argument) == errno.EINVAL
    assert any("DRM_IOCTL_AMDGPU_CS is not emulated" in line for line in kernel.log)


def test_argument_smaller_than_the_request_says(kernel: EmulatedKernel, nodes: list[int]) -> None:
    with pytest.raises(ValueError, match="the request says 64 bytes, the argument has 8"):
        kernel.ioctl(nodes[0], DrmIoctl.VERSION, ctypes.create_string_buffer(8))
