"""The ioctls of an amdgpu render node that a compute driver needs: structures, request numbers, constants.

Source: the kernel's `include/uapi/drm/drm.h` and `include/uapi/drm/amdgpu_drm.h` of Linux 6.16 to 7.0.
A structure `drm_x` is called `X` here (`drm_version` keeps its prefix: `DrmVersion`); members have the
kernel's names. The results of AMDGPU_INFO are in `drm_info`. unit_tests/abi compares every offset, size
and number with the C compiler's.
"""

from __future__ import annotations

import ctypes
import enum
from typing import Any

from pytest_amdgpu.abi import ioctl
from pytest_amdgpu.abi.ioctl import READ, WRITE, IoctlSpec
from pytest_amdgpu.abi.layout import members

IOCTL_TYPE = ord("d")
COMMAND_BASE = 0x40
"""Requests of the amdgpu driver itself start at this number."""


class GemDomain(enum.IntFlag):
    """`AMDGPU_GEM_DOMAIN_*`: where a buffer may lie."""

    CPU = 0x01
    GTT = 0x02
    VRAM = 0x04
    GDS = 0x08
    GWS = 0x10
    OA = 0x20
    DOORBELL = 0x40


class GemCreateFlag(enum.IntFlag):
    """`AMDGPU_GEM_CREATE_*`."""

    CPU_ACCESS_REQUIRED = 1 << 0
    NO_CPU_ACCESS = 1 << 1
    CPU_GTT_USWC = 1 << 2
    VRAM_CLEARED = 1 << 3
    VRAM_CONTIGUOUS = 1 << 5
    VM_ALWAYS_VALID = 1 << 6
    EXPLICIT_SYNC = 1 << 7
    CP_MQD_GFX9 = 1 << 8
    VRAM_WIPE_ON_RELEASE = 1 << 9
    ENCRYPTED = 1 << 10
    PREEMPTIBLE = 1 << 11
    DISCARDABLE = 1 << 12
    COHERENT = 1 << 13
    UNCACHED = 1 << 14
    EXT_COHERENT = 1 << 15
    GFX12_DCC = 1 << 16


class GemUserptrFlag(enum.IntFlag):
    """`AMDGPU_GEM_USERPTR_*`."""

    READONLY = 1 << 0
    ANONONLY = 1 << 1
    VALIDATE = 1 << 2
    REGISTER = 1 << 3


class VaOp(enum.IntEnum):
    """`AMDGPU_VA_OP_*`."""

    MAP = 1
    UNMAP = 2
    CLEAR = 3
    REPLACE = 4


class VmFlag(enum.IntFlag):
    """`AMDGPU_VM_*`: flags of a mapping, beside one `VmMtype`."""

    DELAY_UPDATE = 1 << 0
    PAGE_READABLE = 1 << 1
    PAGE_WRITEABLE = 1 << 2
    PAGE_EXECUTABLE = 1 << 3
    PAGE_PRT = 1 << 4
    PAGE_NOALLOC = 1 << 9


VM_MTYPE_MASK = 0xF << 5
"""The bits of a mapping's flags that are its `VmMtype`."""


class VmMtype(enum.IntEnum):
    """`AMDGPU_VM_MTYPE_*`: caching of a mapping, in place in its flags."""

    DEFAULT = 0 << 5
    NC = 1 << 5
    WC = 2 << 5
    CC = 3 << 5
    UC = 4 << 5
    RW = 5 << 5


class HwIp(enum.IntEnum):
    """`AMDGPU_HW_IP_*`: the engines of compute."""

    GFX = 0
    COMPUTE = 1
    DMA = 2


class CtxOp(enum.IntEnum):
    """`AMDGPU_CTX_OP_*`."""

    ALLOC_CTX = 1
    FREE_CTX = 2
    QUERY_STATE = 3
    QUERY_STATE2 = 4
    GET_STABLE_PSTATE = 5
    SET_STABLE_PSTATE = 6


class CtxQuery2Flag(enum.IntFlag):
    """`AMDGPU_CTX_QUERY2_FLAGS_*`: what happened since the context was made."""

    RESET = 1 << 0
    VRAMLOST = 1 << 1
    GUILTY = 1 << 2
    RAS_CE = 1 << 3
    RAS_UE = 1 << 4


class ChunkId(enum.IntEnum):
    """`AMDGPU_CHUNK_ID_*`: parts of a command submission."""

    IB = 0x01
    FENCE = 0x02
    DEPENDENCIES = 0x03
    SYNCOBJ_IN = 0x04
    SYNCOBJ_OUT = 0x05
    BO_HANDLES = 0x06
    SCHEDULED_DEPENDENCIES = 0x07
    SYNCOBJ_TIMELINE_WAIT = 0x08
    SYNCOBJ_TIMELINE_SIGNAL = 0x09


class UserqOp(enum.IntEnum):
    """`AMDGPU_USERQ_OP_*`."""

    CREATE = 1
    FREE = 2


class SyncobjCreateFlag(enum.IntFlag):
    """`DRM_SYNCOBJ_CREATE_*`."""

    SIGNALED = 1 << 0


class SyncobjWaitFlag(enum.IntFlag):
    """`DRM_SYNCOBJ_WAIT_FLAGS_*`."""

    WAIT_ALL = 1 << 0
    WAIT_FOR_SUBMIT = 1 << 1
    WAIT_AVAILABLE = 1 << 2
    WAIT_DEADLINE = 1 << 3


class DrmVersion(ctypes.Structure):
    """Name and version of the driver; pointers are addresses of the caller's buffers."""

    _fields_ = members(
        "s32 version_major version_minor version_patchlevel",
        "u64 name_len name date_len date desc_len desc",
    )


class GemClose(ctypes.Structure):
    """Drops a handle."""

    _fields_ = members("u32 handle pad")


class PrimeHandle(ctypes.Structure):
    """A handle and its dma-buf; `flags` as for open(2)."""

    _fields_ = members("u32 handle flags", "s32 fd")


class SyncobjCreate(ctypes.Structure):
    """A synchronization object."""

    _fields_ = members("u32 handle flags")


class SyncobjDestroy(ctypes.Structure):
    """Ends a synchronization object."""

    _fields_ = members("u32 handle pad")


class SyncobjHandle(ctypes.Structure):
    """A synchronization object and its descriptor."""

    _fields_ = members("u32 handle flags", "s32 fd", "u32 pad")


class SyncobjWait(ctypes.Structure):
    """Waits until the absolute time `timeout_nsec` (CLOCK_MONOTONIC); `deadline_nsec` since Linux 6.6."""

    _fields_ = members(
        "u64 handles",
        "s64 timeout_nsec",
        "u32 count_handles flags first_signaled pad",
        "u64 deadline_nsec",
    )


class SyncobjTimelineWait(ctypes.Structure):
    """Waits for points until the absolute time `timeout_nsec`; `deadline_nsec` since Linux 6.6."""

    _fields_ = members(
        "u64 handles points",
        "s64 timeout_nsec",
        "u32 count_handles flags first_signaled pad",
        "u64 deadline_nsec",
    )


class SyncobjArray(ctypes.Structure):
    """Synchronization objects to reset or signal."""

    _fields_ = members("u64 handles", "u32 count_handles pad")


class SyncobjTimelineArray(ctypes.Structure):
    """Points of synchronization objects to read or signal."""

    _fields_ = members("u64 handles points", "u32 count_handles flags")


class SyncobjTransfer(ctypes.Structure):
    """Copies a fence from one point to another."""

    _fields_ = members("u32 src_handle dst_handle", "u64 src_point dst_point", "u32 flags pad")


class AmdgpuGemCreateIn(ctypes.Structure):
    """What to allocate, in bytes."""

    _fields_ = members("u64 bo_size alignment domains domain_flags")


class AmdgpuGemCreateOut(ctypes.Structure):
    """The handle of the new buffer."""

    _fields_ = members("u32 handle _pad")


def _in_out(in_type: Any, out_type: Any) -> list[tuple[str, Any]]:
    """Return the members of a union of argument and result, which the kernel calls `in` and `out`."""
    return [("in", in_type), ("out", out_type)]


class AmdgpuGemCreate(ctypes.Union):
    """Allocates a buffer."""

    _fields_ = _in_out(AmdgpuGemCreateIn, AmdgpuGemCreateOut)


class AmdgpuGemMmapIn(ctypes.Structure):
    """The buffer to map."""

    _fields_ = members("u32 handle _pad")


class AmdgpuGemMmapOut(ctypes.Structure):
    """The offset to give mmap(2)."""

    _fields_ = members("u64 addr_ptr")


class AmdgpuGemMmap(ctypes.Union):
    """Asks where to map a buffer."""

    _fields_ = _in_out(AmdgpuGemMmapIn, AmdgpuGemMmapOut)


class AmdgpuGemVa(ctypes.Structure):
    """Changes the GPU's page tables; 40 bytes up to `map_size` before Linux 6.16."""

    _fields_ = members(
        "u32 handle _pad operation flags",
        "u64 va_address offset_in_bo map_size vm_timeline_point",
        "u32 vm_timeline_syncobj_out num_syncobj_handles",
        "u64 input_fence_syncobj_handles",
    )


class AmdgpuGemUserptr(ctypes.Structure):
    """Makes a buffer of the process's own memory."""

    _fields_ = members("u64 addr size", "u32 flags handle")


class AmdgpuCtxIn(ctypes.Structure):
    """An operation on a context."""

    _fields_ = members("u32 op flags ctx_id", "s32 priority")


class _CtxAlloc(ctypes.Structure):
    _fields_ = members("u32 ctx_id _pad")


class _CtxState(ctypes.Structure):
    _fields_ = members("u64 flags", "u32 hangs reset_status")


class _CtxPstate(ctypes.Structure):
    _fields_ = members("u32 flags _pad")


class AmdgpuCtxOut(ctypes.Union):
    """The new context, its state, or its power state."""

    _fields_ = members(("alloc", _CtxAlloc), ("state", _CtxState), ("pstate", _CtxPstate))


class AmdgpuCtx(ctypes.Union):
    """Makes, ends or examines a context."""

    _fields_ = _in_out(AmdgpuCtxIn, AmdgpuCtxOut)


class AmdgpuCsIn(ctypes.Structure):
    """A submission: `chunks` is the address of an array of addresses of `AmdgpuCsChunk`s."""

    _fields_ = members("u32 ctx_id bo_list_handle num_chunks flags", "u64 chunks")


class AmdgpuCsOut(ctypes.Structure):
    """The sequence number of the submission."""

    _fields_ = members("u64 handle")


class AmdgpuCs(ctypes.Union):
    """Submits commands through the kernel."""

    _fields_ = _in_out(AmdgpuCsIn, AmdgpuCsOut)


class AmdgpuCsChunk(ctypes.Structure):
    """One part of a submission; `length_dw` in 32-bit words."""

    _fields_ = members("u32 chunk_id length_dw", "u64 chunk_data")


class AmdgpuCsChunkIb(ctypes.Structure):
    """An indirect buffer to run."""

    _fields_ = members("u32 _pad flags", "u64 va_start", "u32 ib_bytes ip_type ip_instance ring")


class AmdgpuCsChunkSyncobj(ctypes.Structure):
    """A point of a synchronization object."""

    _fields_ = members("u32 handle flags", "u64 point")


class AmdgpuWaitCsIn(ctypes.Structure):
    """Which submission to wait for, until the absolute time `timeout` in ns."""

    _fields_ = members("u64 handle timeout", "u32 ip_type ip_instance ring ctx_id")


class AmdgpuWaitCsOut(ctypes.Structure):
    """0: completed, 1: still busy."""

    _fields_ = members("u64 status")


class AmdgpuWaitCs(ctypes.Union):
    """Waits for a submission."""

    _fields_ = _in_out(AmdgpuWaitCsIn, AmdgpuWaitCsOut)


class _ModeCrtc(ctypes.Structure):
    _fields_ = members("u32 id _pad")


class _QueryHwIp(ctypes.Structure):
    _fields_ = members("u32 type ip_instance")


class _ReadMmrReg(ctypes.Structure):
    _fields_ = members("u32 dword_offset count instance flags")


class AmdgpuQueryFw(ctypes.Structure):
    """Which firmware's version to read."""

    _fields_ = members("u32 fw_type ip_instance index _pad")


class _VbiosInfo(ctypes.Structure):
    _fields_ = members("u32 type offset")


class _SensorInfo(ctypes.Structure):
    _fields_ = members("u32 type")


class _VideoCap(ctypes.Structure):
    _fields_ = members("u32 type")


class _InfoUnion(ctypes.Union):
    _fields_ = members(
        ("mode_crtc", _ModeCrtc),
        ("query_hw_ip", _QueryHwIp),
        ("read_mmr_reg", _ReadMmrReg),
        ("query_fw", AmdgpuQueryFw),
        ("vbios_info", _VbiosInfo),
        ("sensor_info", _SensorInfo),
        ("video_cap", _VideoCap),
    )


class AmdgpuInfo(ctypes.Structure):
    """Asks for `query` (an `InfoQuery`); at most `return_size` bytes go to `return_pointer`."""

    _anonymous_ = ("argument",)
    _fields_ = members("u64 return_pointer", "u32 return_size query", ("argument", _InfoUnion))


class AmdgpuUserqMqdGfx11(ctypes.Structure):
    """What a graphics queue needs besides its ring."""

    _fields_ = members("u64 shadow_va csa_va")


class AmdgpuUserqMqdSdmaGfx11(ctypes.Structure):
    """What a DMA queue needs besides its ring."""

    _fields_ = members("u64 csa_va")


class AmdgpuUserqMqdComputeGfx11(ctypes.Structure):
    """What a compute queue needs besides its ring."""

    _fields_ = members("u64 eop_va")


class AmdgpuUserqIn(ctypes.Structure):
    """A user queue; `doorbell_offset` counts 64-bit doorbells of the doorbell buffer."""

    _fields_ = members(
        "u32 op queue_id ip_type doorbell_handle doorbell_offset flags",
        "u64 queue_va queue_size rptr_va wptr_va mqd mqd_size",
    )


class AmdgpuUserqOut(ctypes.Structure):
    """The id of the new user queue."""

    _fields_ = members("u32 queue_id _pad")


class AmdgpuUserq(ctypes.Union):
    """Makes or ends a user queue."""

    _fields_ = _in_out(AmdgpuUserqIn, AmdgpuUserqOut)


class AmdgpuUserqSignal(ctypes.Structure):
    """Attaches a fence at the queue's write pointer to synchronization objects and buffers."""

    _fields_ = members(
        "u32 queue_id pad",
        "u64 syncobj_handles num_syncobj_handles bo_read_handles bo_write_handles",
        "u32 num_bo_read_handles num_bo_write_handles",
    )


class AmdgpuUserqFenceInfo(ctypes.Structure):
    """An address and the value that it will hold."""

    _fields_ = members("u64 va value")


class AmdgpuUserqWait(ctypes.Structure):
    """Turns fences into `AmdgpuUserqFenceInfo`s to wait for on the GPU."""

    _fields_ = members(
        "u32 waitq_id pad",
        "u64 syncobj_handles syncobj_timeline_handles syncobj_timeline_points",
        "u64 bo_read_handles bo_write_handles",
        "u16 num_syncobj_timeline_handles num_fences",
        "u32 num_syncobj_handles num_bo_read_handles num_bo_write_handles",
        "u64 out_fences",
    )


_Row = tuple[int, str, int, type[ctypes.Structure] | type[ctypes.Union]]


def _table(prefix: str, base: int, *rows: _Row) -> dict[int, IoctlSpec]:
    return {
        base + nr: IoctlSpec(
            prefix + name, ioctl.encode(direction, ctypes.sizeof(struct), IOCTL_TYPE, base + nr), struct
        )
        for nr, name, direction, struct in rows
    }


_W, _WR = WRITE, READ | WRITE

DRM_IOCTLS: dict[int, IoctlSpec] = _table(
    "DRM_IOCTL_",
    0,
    (0x00, "VERSION", _WR, DrmVersion),
    (0x09, "GEM_CLOSE", _W, GemClose),
    (0x2D, "PRIME_HANDLE_TO_FD", _WR, PrimeHandle),
    (0x2E, "PRIME_FD_TO_HANDLE", _WR, PrimeHandle),
    (0xBF, "SYNCOBJ_CREATE", _WR, SyncobjCreate),
    (0xC0, "SYNCOBJ_DESTROY", _WR, SyncobjDestroy),
    (0xC1, "SYNCOBJ_HANDLE_TO_FD", _WR, SyncobjHandle),
    (0xC2, "SYNCOBJ_FD_TO_HANDLE", _WR, SyncobjHandle),
    (0xC3, "SYNCOBJ_WAIT", _WR, SyncobjWait),
    (0xC4, "SYNCOBJ_RESET", _WR, SyncobjArray),
    (0xC5, "SYNCOBJ_SIGNAL", _WR, SyncobjArray),
    (0xCA, "SYNCOBJ_TIMELINE_WAIT", _WR, SyncobjTimelineWait),
    (0xCB, "SYNCOBJ_QUERY", _WR, SyncobjTimelineArray),
    (0xCC, "SYNCOBJ_TRANSFER", _WR, SyncobjTransfer),
    (0xCD, "SYNCOBJ_TIMELINE_SIGNAL", _WR, SyncobjTimelineArray),
) | _table(
    "DRM_IOCTL_AMDGPU_",
    COMMAND_BASE,
    (0x00, "GEM_CREATE", _WR, AmdgpuGemCreate),
    (0x01, "GEM_MMAP", _WR, AmdgpuGemMmap),
    (0x02, "CTX", _WR, AmdgpuCtx),
    (0x04, "CS", _WR, AmdgpuCs),
    (0x05, "INFO", _W, AmdgpuInfo),
    (0x08, "GEM_VA", _W, AmdgpuGemVa),
    (0x09, "WAIT_CS", _WR, AmdgpuWaitCs),
    (0x11, "GEM_USERPTR", _WR, AmdgpuGemUserptr),
    (0x16, "USERQ", _WR, AmdgpuUserq),
    (0x17, "USERQ_SIGNAL", _WR, AmdgpuUserqSignal),
    (0x18, "USERQ_WAIT", _WR, AmdgpuUserqWait),
)
"""The ioctls of a render node by the low byte of their requests."""


class DrmIoctl(enum.IntEnum):
    """Request numbers of the newest argument structures, by the kernel's names without `DRM_IOCTL_`."""

    VERSION = DRM_IOCTLS[0x00].request
    GEM_CLOSE = DRM_IOCTLS[0x09].request
    PRIME_HANDLE_TO_FD = DRM_IOCTLS[0x2D].request
    PRIME_FD_TO_HANDLE = DRM_IOCTLS[0x2E].request
    SYNCOBJ_CREATE = DRM_IOCTLS[0xBF].request
    SYNCOBJ_DESTROY = DRM_IOCTLS[0xC0].request
    SYNCOBJ_HANDLE_TO_FD = DRM_IOCTLS[0xC1].request
    SYNCOBJ_FD_TO_HANDLE = DRM_IOCTLS[0xC2].request
    SYNCOBJ_WAIT = DRM_IOCTLS[0xC3].request
    SYNCOBJ_RESET = DRM_IOCTLS[0xC4].request
    SYNCOBJ_SIGNAL = DRM_IOCTLS[0xC5].request
    SYNCOBJ_TIMELINE_WAIT = DRM_IOCTLS[0xCA].request
    SYNCOBJ_QUERY = DRM_IOCTLS[0xCB].request
    SYNCOBJ_TRANSFER = DRM_IOCTLS[0xCC].request
    SYNCOBJ_TIMELINE_SIGNAL = DRM_IOCTLS[0xCD].request
    AMDGPU_GEM_CREATE = DRM_IOCTLS[0x40].request
    AMDGPU_GEM_MMAP = DRM_IOCTLS[0x41].request
    AMDGPU_CTX = DRM_IOCTLS[0x42].request
    AMDGPU_CS = DRM_IOCTLS[0x44].request
    AMDGPU_INFO = DRM_IOCTLS[0x45].request
    AMDGPU_GEM_VA = DRM_IOCTLS[0x48].request
    AMDGPU_WAIT_CS = DRM_IOCTLS[0x49].request
    AMDGPU_GEM_USERPTR = DRM_IOCTLS[0x51].request
    AMDGPU_USERQ = DRM_IOCTLS[0x56].request
    AMDGPU_USERQ_SIGNAL = DRM_IOCTLS[0x57].request
    AMDGPU_USERQ_WAIT = DRM_IOCTLS[0x58].request
