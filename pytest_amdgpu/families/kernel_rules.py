"""What amdgpu and amdkfd decide by the version of the graphics block, by generation.

Sources are files of drivers/gpu/drm/amd in Linux 7.0, those without a directory of its amdkfd.
"""

from __future__ import annotations

from typing import NamedTuple


class FaultLog(NamedTuple):
    """How a page fault is logged (amdgpu/gmc_v9_0.c to gmc_v12_1.c, the function process_interrupt; the names
    of senders from soc15_ih_clientid.h)."""

    kind: str
    gfx_hub: str
    """The hub through which waves reach memory."""
    gfx_sender: str
    sdma_hub: str
    """The hub through which SDMA reaches memory (`ring->vm_hub` in amdgpu/sdma_v4_0.c to sdma_v7_1.c)."""
    sdma_sender: str
    sdma_client: tuple[int, str]
    """Number and name of SDMA as a client of its hub (`gfxhub_client_ids` in amdgpu/gfxhub_v2_1.c); those of
    the MMHUB are not known."""
    status_register: str


class KernelRules(NamedTuple):
    """What the kernel does differently."""

    mes: bool
    """Whether the firmware that schedules queues is MES (amdgpu/mes_v11_0.c and later) rather than HWS."""
    first_vmid: int
    """The first VMID of amdkfd (`first_kfd_vmid` in amdgpu/gmc_v9_0.c to gmc_v12_0.c)."""
    graphics: bool
    """Whether there is a ring for graphics (`num_gfx_rings` in amdgpu/gfx_v9_0.c to gfx_v12_1.c)."""
    last_reserved_doorbell: int
    """The last of the slots that are not for compute queues, of 8 bytes each (`last_non_cp`, the enums
    *_DOORBELL_ASSIGNMENT of amdgpu/amdgpu_doorbell.h)."""
    max_queues: int
    """Queues of a process on a GPU (`max_queues` of pqm_create_queue, kfd_process_queue_manager.c)."""
    gws_is_a_buffer: bool
    """Whether the global wave sync is a buffer object, which the kernel gives to a process and takes from it
    (pqm_set_gws, kfd_process_queue_manager.c: not with MES, and not on GC 9.4.3, 9.4.4 and 9.5.0)."""
    xnack_per_process: bool
    """Whether a process chooses if page faults are retried (KFD_SUPPORT_XNACK_PER_PROCESS, kfd_priv.h)."""
    poison: bool
    """Whether reading poisoned memory is told to processes, as emulated here. Before gfx90a an uncorrectable
    error is fatal (event_interrupt_poison_consumption_v9, kfd_int_process_v9.c), gfx10 has no such interrupt
    (kfd_int_process_v10.c), and the flow of kfd_int_process_v11.c is not emulated."""
    cwsr_workaround: bool
    """Whether saving a context goes wrong unless waves run with the bit PRIV, which a debugger needs all
    compute units for, too (kfd_dbg_has_cwsr_workaround, kfd_debug.h; kfdtest, Dispatch.cpp)."""
    cu_bitmap_step: int
    """Columns of an engine in `cu_bitmap` of drm_amdgpu_info_device (get_cu_info in amdgpu/gfx_v9_0.c to
    gfx_v12_1.c)."""
    fault_log: FaultLog


_UNNAMED, _SDMA0 = (0, ""), (0xD, "SDMA0")

_GFX9_FAULT_LOG = FaultLog(
    kind="no-retry page fault",
    gfx_hub="gfxhub0",
    gfx_sender="IH client 0x1b (UTCL2)",
    sdma_hub="mmhub0",
    sdma_sender="IH client 0x12 (VMC)",
    sdma_client=_UNNAMED,
    status_register="VM_L2_PROTECTION_FAULT_STATUS",
)
_GFX10_FAULT_LOG = FaultLog(
    kind="page fault",
    gfx_hub="gfxhub",
    gfx_sender="client 0x1b (UTCL2)",
    sdma_hub="gfxhub",
    sdma_sender="client 0x1b (UTCL2)",
    sdma_client=_SDMA0,
    status_register="GCVM_L2_PROTECTION_FAULT_STATUS",
)
_GFX11_FAULT_LOG = _GFX10_FAULT_LOG._replace(gfx_sender="client 10", sdma_sender="client 10")
_GFX1250_FAULT_LOG = FaultLog(
    kind="no-retry page fault",
    gfx_hub="gfxhub0",
    gfx_sender="IH client 10",
    sdma_hub="gfxhub0",
    sdma_sender="IH client 10",
    sdma_client=_SDMA0,
    status_register="GCVM_L2_PROTECTION_FAULT_STATUS_LO32",
)

GFX908 = KernelRules(
    mes=False,
    first_vmid=3,
    graphics=False,
    # AMDGPU_VEGA20_DOORBELL64_LAST_NON_CP
    last_reserved_doorbell=0x18F,
    max_queues=127,
    gws_is_a_buffer=True,
    xnack_per_process=False,
    poison=False,
    cwsr_workaround=False,
    cu_bitmap_step=1,
    fault_log=_GFX9_FAULT_LOG,
)
GFX90A = GFX908._replace(xnack_per_process=True, poison=True)
# AMDGPU_DOORBELL_LAYOUT1_LAST_NON_CP
GFX942 = GFX90A._replace(last_reserved_doorbell=0x1E8, max_queues=255, gws_is_a_buffer=False)
GFX10 = KernelRules(
    mes=False,
    first_vmid=8,
    graphics=True,
    # AMDGPU_NAVI10_DOORBELL64_LAST_NON_CP
    last_reserved_doorbell=0x190,
    max_queues=127,
    gws_is_a_buffer=True,
    xnack_per_process=False,
    poison=False,
    cwsr_workaround=False,
    cu_bitmap_step=2,
    fault_log=_GFX10_FAULT_LOG,
)
GFX11 = GFX10._replace(mes=True, gws_is_a_buffer=False, cwsr_workaround=True, fault_log=_GFX11_FAULT_LOG)
GFX115 = GFX11._replace(cwsr_workaround=False)
GFX1250 = GFX115._replace(
    first_vmid=3,
    graphics=False,
    # AMDGPU_SOC_V1_0_DOORBELL_LAST_NON_CP
    last_reserved_doorbell=0x1EF,
    fault_log=_GFX1250_FAULT_LOG,
)
