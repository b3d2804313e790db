"""What the installed headers are too old for, against numbers that were recorded from newer ones."""

from __future__ import annotations

from pathlib import Path

import pytest
from abi_expectations import drm_numbers, kfd_numbers, layout_expectations

from pytest_amdgpu.abi import drm, drm_info, ioctl, kfd, kfd_debug

# Request numbers that gcc computed from the kfd_ioctl.h of AMD's driver (interface 1.18 and numbers
# from 0x80 on of amdgpu-dkms 6.12), by the kernel's names without AMDKFD_IOC_.
_KFD_REQUESTS = """
GET_VERSION 0x80084b01 CREATE_QUEUE 0xc0604b02 DESTROY_QUEUE 0xc0084b03 SET_MEMORY_POLICY 0x40204b04
GET_CLOCK_COUNTERS 0xc0284b05 GET_PROCESS_APERTURES 0x81904b06 UPDATE_QUEUE 0x40184b07
CREATE_EVENT 0xc0204b08 DESTROY_EVENT 0x40084b09 SET_EVENT 0x40084b0a RESET_EVENT 0x40084b0b
WAIT_EVENTS 0xc0184b0c DBG_REGISTER_DEPRECATED 0x40084b0d DBG_UNREGISTER_DEPRECATED 0x40084b0e
DBG_ADDRESS_WATCH_DEPRECATED 0x40104b0f DBG_WAVE_CONTROL_DEPRECATED 0x40104b10
SET_SCRATCH_BACKING_VA 0xc0104b11 GET_TILE_CONFIG 0xc0284b12 SET_TRAP_HANDLER 0x40184b13
GET_PROCESS_APERTURES_NEW 0xc0104b14 ACQUIRE_VM 0x40084b15 ALLOC_MEMORY_OF_GPU 0xc0284b16
FREE_MEMORY_OF_GPU 0x40084b17 MAP_MEMORY_TO_GPU 0xc0184b18 UNMAP_MEMORY_FROM_GPU 0xc0184b19
SET_CU_MASK 0x40104b1a GET_QUEUE_WAVE_STATE 0xc0184b1b GET_DMABUF_INFO 0xc0204b1c
IMPORT_DMABUF 0xc0184b1d ALLOC_QUEUE_GWS 0xc0104b1e SMI_EVENTS 0xc0084b1f SVM 0xc0184b20
SET_XNACK_MODE 0xc0044b21 CRIU_OP 0xc0384b22 AVAILABLE_MEMORY 0xc0104b23 EXPORT_DMABUF 0xc0104b24
RUNTIME_ENABLE 0xc0104b25 DBG_TRAP 0xc0204b26 CREATE_PROCESS 0x00004b27
PROFILER 0xc0284b28 IPC_IMPORT_HANDLE 0xc0304b80 IPC_EXPORT_HANDLE 0xc0204b81
DBG_TRAP_DEPRECATED 0xc0284b82 CROSS_MEMORY_COPY_DEPRECATED 0xc0304b83 RLC_SPM 0xc0204b84
PC_SAMPLE 0xc0204b85 PROFILER_DKMS 0xc0284b86
"""

# Request numbers of Linux 6.16 to 7.0, by the kernel's names without DRM_IOCTL_.
_DRM_REQUESTS = """
VERSION 0xc0406400 GEM_CLOSE 0x40086409 PRIME_HANDLE_TO_FD 0xc00c642d PRIME_FD_TO_HANDLE 0xc00c642e
SYNCOBJ_CREATE 0xc00864bf SYNCOBJ_DESTROY 0xc00864c0 SYNCOBJ_WAIT 0xc02864c3
SYNCOBJ_TIMELINE_WAIT 0xc03064ca AMDGPU_GEM_CREATE 0xc0206440 AMDGPU_GEM_MMAP 0xc0086441
AMDGPU_CTX 0xc0106442 AMDGPU_CS 0xc0186444 AMDGPU_INFO 0x40206445 AMDGPU_GEM_VA 0x40406448
AMDGPU_WAIT_CS 0xc0206449 AMDGPU_GEM_USERPTR 0xc0186451 AMDGPU_USERQ 0xc0486456
AMDGPU_USERQ_SIGNAL 0xc0306457 AMDGPU_USERQ_WAIT 0xc0486458
"""

# Offsets of amdgpu_drm.h of Linux 7.0, for what libdrm's header of 2022 does not have.
_DRM_OFFSETS = {
    drm_info.AmdgpuInfoDevice: (
        "pcie_gen 132 ids_flags 136 pcie_num_lanes 268 cu_ao_bitmap 272 min_engine_clock 368 "
        "min_memory_clock 376 tcp_cache_size 384 num_sqc_per_wgp 388 sqc_data_cache_size 392 "
        "sqc_inst_cache_size 396 gl1c_cache_size 400 gl2c_cache_size 404 mall_size 408 "
        "enabled_rb_pipes_mask_hi 416 shadow_size 420 shadow_alignment 424 csa_size 428 "
        "csa_alignment 432 userq_ip_mask 436"
    ),
    drm_info.AmdgpuInfoHwIp: "ip_discovery_version 28 userq_num_slots 32",
    drm_info.AmdgpuInfoGpuvmFault: "addr 0 status 8 vmhub 12",
    drm.AmdgpuGemVa: (
        "vm_timeline_point 40 vm_timeline_syncobj_out 48 num_syncobj_handles 52 "
        "input_fence_syncobj_handles 56"
    ),
    drm.AmdgpuUserqIn: (
        "op 0 queue_id 4 ip_type 8 doorbell_handle 12 doorbell_offset 16 flags 20 queue_va 24 "
        "queue_size 32 rptr_va 40 wptr_va 48 mqd 56 mqd_size 64"
    ),
    kfd.CreateQueueArgs: "sdma_engine_id 88 pad 92",
    kfd.ProfilerArgs: "op 0 version 8",
}


def _pairs(text: str) -> list[tuple[str, int]]:
    words = text.split()
    return [(name, int(number, 0)) for name, number in zip(words[::2], words[1::2], strict=True)]


def test_kfd_layouts_recorded_from_interface_1_16() -> None:
    expected = layout_expectations([kfd, kfd_debug]) | kfd_numbers()
    lines = (Path(__file__).parent / "recorded_kfd.txt").read_text().splitlines()
    recorded = {
        expression: int(number)
        for number, expression in (line.split(" ", 1) for line in lines if not line.startswith("#"))
    }
    assert len(recorded) > 300
    assert {expression: expected[expression] for expression in recorded} == recorded


def test_every_kfd_request_number() -> None:
    assert {member.name: int(member) for member in kfd.KfdIoctl} == dict(_pairs(_KFD_REQUESTS))


@pytest.mark.parametrize(("name", "request_number"), _pairs(_DRM_REQUESTS))
def test_drm_request_number(name: str, request_number: int) -> None:
    assert drm.DrmIoctl[name] == request_number


def test_drm_numbers_have_no_duplicates() -> None:
    assert len(drm.DrmIoctl.__members__) == len(drm.DRM_IOCTLS)
    assert set(drm.DRM_IOCTLS) == {ioctl.decode(spec.request).nr for spec in drm.DRM_IOCTLS.values()}
    assert "DRM_IOCTL_AMDGPU_INFO" in drm_numbers()


@pytest.mark.parametrize("struct", _DRM_OFFSETS)
def test_offsets_of_newer_members(struct: type) -> None:
    pairs = _pairs(_DRM_OFFSETS[struct])
    assert {name: getattr(struct, name).offset for name, _ in pairs} == dict(pairs)


@pytest.mark.parametrize("request_number", [0xC0604B02, 0x80084B01, 0x40206445, 0x4B27])
def test_request_arithmetic_round_trips(request_number: int) -> None:
    assert ioctl.encode(*ioctl.decode(request_number)) == request_number


def test_with_size_gives_the_older_request() -> None:
    # 88 bytes: CREATE_QUEUE before interface 1.17.
    assert ioctl.with_size(kfd.KfdIoctl.CREATE_QUEUE, 88) == 0xC0584B02
