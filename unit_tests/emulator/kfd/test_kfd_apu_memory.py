"""Memory of APUs that prefer GTT, and how what is allocated counts.

Worked out from amdgpu_amdkfd_reserve_mem_limit, amdgpu_amdkfd_get_available_memory and
amdgpu_amdkfd_gpuvm_alloc_memory_of_gpu of amdgpu-dkms 6.12 (amdgpu_amdkfd_gpuvm.c).
"""

from __future__ import annotations

import ctypes
import errno
from collections.abc import Callable

import pytest
from kfd_client import GTT, PAGE, Client

from pytest_amdgpu.abi.drm import AmdgpuInfo, DrmIoctl
from pytest_amdgpu.abi.drm_info import InfoQuery
from pytest_amdgpu.abi.kfd import AllocFlag, KfdIoctl

VRAM = AllocFlag.VRAM | AllocFlag.WRITABLE
BANK = 67148926976
"""Bytes that TTM lets the GPU of the model have."""
RESERVE = BANK >> 14 if BANK >> 14 > 8 << 20 else 8 << 20


@pytest.fixture
def apu(make_client: Callable[..., Client]) -> Client:
    client = make_client("strixhalo", host_memory=1 << 50)
    client.kernel._machine.system_memory = 1 << 50
    return client


def available(client: Client) -> int:
    number: int = client.call(KfdIoctl.AVAILABLE_MEMORY, gpu_id=client.gpu_id).available
    return number


def queried(client: Client, query: InfoQuery) -> int:
    value = ctypes.c_uint64()
    argument = AmdgpuInfo(return_pointer=ctypes.addressof(value), return_size=8, query=query)
    client.kernel.ioctl(client.renders[0], DrmIoctl.AMDGPU_INFO, argument)
    return value.value


def test_vram_of_an_apu_is_system_memory_and_counts_as_both(apu: Client) -> None:
    machine = apu.kernel._machine
    args = apu.alloc(3 * PAGE, VRAM)
    assert (apu.gpu.vram_used, machine.system_memory_used, machine.gtt_used) == (3 * PAGE,) * 3
    assert queried(apu, InfoQuery.VRAM_USAGE) == queried(apu, InfoQuery.VIS_VRAM_USAGE) == 0
    assert queried(apu, InfoQuery.GTT_USAGE) == 3 * PAGE
    path = f"/sys/class/drm/renderD{apu.gpu.render_minor}/device/mem_info_vram_used"
    assert apu.kernel.read_text(path) == "0\n"
    apu.call(KfdIoctl.FREE_MEMORY_OF_GPU, handle=args.handle)
    assert (apu.gpu.vram_used, machine.system_memory_used, machine.gtt_used) == (0, 0, 0)


def test_gtt_of_an_apu_is_not_counted_as_its_vram(apu: Client) -> None:
    apu.alloc(PAGE, GTT)
    assert (apu.gpu.vram_used, apu.kernel._machine.gtt_used) == (0, PAGE)


def test_vram_of_an_apu_need_not_be_public_for_the_cpu(apu: Client) -> None:
    # A misuse would be an error: without the flag, VRAM of other GPUs has none for the CPU.
    apu.cpu_map(apu.alloc(PAGE, VRAM))


def test_vram_of_an_apu_is_exported_as_gtt(apu: Client) -> None:
    args = apu.alloc(PAGE, VRAM)
    fd = apu.call(KfdIoctl.EXPORT_DMABUF, handle=args.handle).dmabuf_fd
    assert apu.call(KfdIoctl.GET_DMABUF_INFO, dmabuf_fd=fd).flags == AllocFlag.GTT
    apu.kernel.close(fd)


def test_other_gpus_reach_vram_of_an_apu_as_system_memory(make_client: Callable[..., Client]) -> None:
    client = make_client("strixhalo", "rx7900xtx")
    client.gpus[0].large_bar = False
    client.map(client.alloc(PAGE, AllocFlag.VRAM, gpu=0).handle, 1)


def test_available_memory_of_an_apu_counts_pages(apu: Client) -> None:
    assert available(apu) == BANK - RESERVE
    apu.alloc(PAGE, VRAM)
    assert available(apu) == BANK - RESERVE - PAGE


def test_available_memory_of_an_apu_is_the_least_of_three_limits(apu: Client) -> None:
    machine = apu.kernel._machine
    apu.alloc(PAGE, VRAM)
    apu.alloc(2 * PAGE, GTT)
    machine.system_memory = 10 * PAGE + 1
    assert available(apu) == 7 * PAGE
    machine.host_memory = 8 * PAGE
    assert available(apu) == 5 * PAGE
    machine.system_memory = 2 * PAGE
    assert available(apu) == 0


def test_available_memory_counts_each_buffer_in_whole_2_mib(make_client: Callable[..., Client]) -> None:
    client = make_client("rx7900xtx", host_memory=1 << 50)
    before = available(client)
    buffers = [client.alloc(PAGE, VRAM), client.alloc((2 << 20) + PAGE, VRAM)]
    assert available(client) == before - (6 << 20)
    assert client.gpu.vram_used == (2 << 20) + 2 * PAGE
    for args in buffers:
        client.call(KfdIoctl.FREE_MEMORY_OF_GPU, handle=args.handle)
    assert available(client) == before


def test_alloc_of_vram_beyond_a_limit_of_an_apu_enomem(apu: Client) -> None:
    machine = apu.kernel._machine
    fields = {"va_addr": 1 << 40, "gpu_id": apu.gpu_id, "flags": VRAM}
    request = KfdIoctl.ALLOC_MEMORY_OF_GPU
    apu.refused(errno.ENOMEM, request, size=BANK - RESERVE + PAGE, **fields)
    machine.system_memory = PAGE
    apu.refused(errno.ENOMEM, request, size=2 * PAGE, **fields)
    machine.system_memory, machine.host_memory = 1 << 50, 8 * PAGE
    apu.refused(errno.ENOMEM, request, size=9 * PAGE, **fields)
    apu.call(request, size=8 * PAGE, **fields)


def test_alloc_beyond_the_limit_of_ttm_enomem(client: Client) -> None:
    client.kernel._machine.host_memory = client.kernel._machine.gtt_used + 8 * PAGE
    client.alloc(PAGE, GTT)
    client.refused(
        errno.ENOMEM,
        KfdIoctl.ALLOC_MEMORY_OF_GPU,
        va_addr=1 << 40,
        size=8 * PAGE,
        gpu_id=client.gpu_id,
        flags=GTT,
    )
