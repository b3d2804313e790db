"""What AMDGPU_INFO answers: the facts of a software GPU in the structures of amdgpu_drm.h."""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING

from pytest_amdgpu.abi.drm import AmdgpuInfo, HwIp
from pytest_amdgpu.abi.drm_info import (
    AmdgpuHeapInfo,
    AmdgpuInfoDevice,
    AmdgpuInfoFirmware,
    AmdgpuInfoGpuvmFault,
    AmdgpuInfoHwIp,
    AmdgpuInfoVramGtt,
    AmdgpuMemoryInfo,
    InfoFirmware,
    InfoQuery,
)
from pytest_amdgpu.emulator.refusal import Refusal

if TYPE_CHECKING:
    from pytest_amdgpu.emulator.drm import RenderFile

_IB_ALIGNMENT = {HwIp.GFX: (32, 32), HwIp.COMPUTE: (32, 32), HwIp.DMA: (256, 4)}
_RINGS = {HwIp.GFX: 0x1, HwIp.COMPUTE: 0xF, HwIp.DMA: 0x3}
_MEMORY_SHARE = (3, 4)
"""One allocation may have at most 3/4 of a heap (amdgpu_kms.c)."""


def answer(file: RenderFile, args: AmdgpuInfo) -> bytes:
    """Return the answer to a query; EINVAL for a query that is unknown or not emulated."""
    try:
        query = InfoQuery(args.query)
    except ValueError:
        raise Refusal(errno.EINVAL, f"AMDGPU_INFO knows no query {args.query:#x}") from None
    handler = _QUERIES.get(query)
    if handler is None:
        file.machine.log(f"amdgpu {file.gpu.pci_address}: AMDGPU_INFO {query.name} is not emulated, refused")
        raise Refusal(errno.EINVAL, f"AMDGPU_INFO {query.name} is not emulated")
    return handler(file, args)


def _u64(value: int) -> bytes:
    return struct.pack("Q", value)


def _device(file: RenderFile, args: AmdgpuInfo) -> bytes:
    model = file.gpu.model
    info = AmdgpuInfoDevice(**model.drm)
    info.device_id, info.pci_rev = model.pci["device"], model.pci["revision"]
    for row, masks in enumerate(model.cu_bitmap):
        info.cu_bitmap[row][:] = masks
    return bytes(info)


def _hw_ip(args: AmdgpuInfo) -> HwIp | None:
    kind = args.query_hw_ip.type
    return HwIp(kind) if kind in tuple(HwIp) else None


def _hw_ip_info(file: RenderFile, args: AmdgpuInfo) -> bytes:
    kind = _hw_ip(args)
    info = AmdgpuInfoHwIp()
    if kind is None:
        if args.query_hw_ip.type > 9:
            raise Refusal(errno.EINVAL, f"there is no hardware block of type {args.query_hw_ip.type}")
        return bytes(info)
    major, minor, revision = file.gpu.model.ip_versions["sdma" if kind is HwIp.DMA else "gc"]
    info.hw_ip_version_major, info.hw_ip_version_minor = major, minor
    info.ip_discovery_version = major << 16 | minor << 8 | revision
    info.ib_start_alignment, info.ib_size_alignment = _IB_ALIGNMENT[kind]
    if kind is not HwIp.GFX or file.gpu.family.kernel.graphics:
        info.available_rings = _RINGS[kind]
    return bytes(info)


def _hw_ip_count(file: RenderFile, args: AmdgpuInfo) -> bytes:
    kind = _hw_ip(args)
    count = sum(file.gpu.sdma_engines) if kind is HwIp.DMA else 1 if kind is not None else 0
    return struct.pack("I", count)


def _firmware(file: RenderFile, args: AmdgpuInfo) -> bytes:
    properties = file.gpu.properties
    versions = {
        InfoFirmware.GFX_MEC: properties["fw_version"],
        InfoFirmware.SDMA: properties["sdma_fw_version"],
    }
    kind = args.query_fw.fw_type
    if kind not in tuple(InfoFirmware):
        raise Refusal(errno.EINVAL, f"there is no firmware of type {kind}")
    return bytes(AmdgpuInfoFirmware(versions.get(InfoFirmware(kind), 0), 0))


def _vram_gtt(file: RenderFile, args: AmdgpuInfo) -> bytes:
    return bytes(
        AmdgpuInfoVramGtt(file.gpu.vram_size, file.gpu.visible_vram_size, file.machine.system_memory)
    )


def _memory(file: RenderFile, args: AmdgpuInfo) -> bytes:
    gpu, machine = file.gpu, file.machine
    part, whole = _MEMORY_SHARE

    def heap(total: int, used: int) -> AmdgpuHeapInfo:
        return AmdgpuHeapInfo(total, total, used, total * part // whole)

    return bytes(
        AmdgpuMemoryInfo(
            heap(gpu.vram_size, gpu.vram_resident),
            heap(file.gpu.visible_vram_size, min(gpu.vram_resident, file.gpu.visible_vram_size)),
            heap(machine.system_memory, machine.system_memory_used),
        )
    )


_QUERIES: dict[InfoQuery, Callable[[RenderFile, AmdgpuInfo], bytes]] = {
    InfoQuery.ACCEL_WORKING: lambda file, args: struct.pack("I", 1),
    InfoQuery.HW_IP_INFO: _hw_ip_info,
    InfoQuery.HW_IP_COUNT: _hw_ip_count,
    InfoQuery.TIMESTAMP: lambda file, args: _u64(file.gpu.clock()),
    InfoQuery.FW_VERSION: _firmware,
    InfoQuery.VRAM_USAGE: lambda file, args: _u64(file.gpu.vram_resident),
    InfoQuery.VIS_VRAM_USAGE: lambda file, args: _u64(
        min(file.gpu.vram_resident, file.gpu.visible_vram_size)
    ),
    InfoQuery.GTT_USAGE: lambda file, args: _u64(file.machine.system_memory_used),
    InfoQuery.VRAM_GTT: _vram_gtt,
    InfoQuery.DEV_INFO: _device,
    InfoQuery.MEMORY: _memory,
    InfoQuery.VRAM_LOST_COUNTER: lambda file, args: struct.pack("I", file.gpu.vram_losses),
    InfoQuery.GPUVM_FAULT: lambda file, args: bytes(file.gpu.last_fault or AmdgpuInfoGpuvmFault()),
}
