"""What saving the waves of a queue (CWSR) takes, by generation.

The sizes are those of kfd_queue_ctx_save_restore_size and what it calls in amdkfd's kfd_queue.c: the most
that a queue can need. They are of Linux 6.12 with two changes of December 2025: of gfx1151's vector registers
(commit b42f3bf9536c), and of all of gfx1250 ("drm/amdkfd: Update CWSR area calculations for GFX 12.1",
amd-gfx of 2025-12-10).
"""

from __future__ import annotations

from typing import NamedTuple


class ContextSave(NamedTuple):
    """Sizes in bytes; a unit is a compute unit as the node's topology counts them."""

    vgpr_bytes: int
    """Of a unit's vector registers (kfd_get_vgpr_size_per_cu)."""
    sgpr_bytes: int
    """Of a unit's scalar registers (SGPR_SIZE_PER_CU, later kfd_get_sgpr_size_per_cu)."""
    lds_bytes: int | None
    """Of a unit's LDS (LDS_SIZE_PER_CU, later kfd_get_lds_size_per_cu); None if it is what the node says."""
    hardware_register_bytes: int
    """Of a unit's hardware registers (HWREG_SIZE_PER_CU, later kfd_get_hwreg_size_per_cu)."""
    waves_per_unit: int
    """Most waves on a unit (wave_num, later get_num_waves)."""
    waves_per_engine: int | None
    """Most waves on a shader engine; None where only units limit them (wave_num, later get_num_waves)."""
    control_bytes_per_wave: int
    """What a wave takes of the control stack (CNTL_STACK_BYTES_PER_WAVE)."""
    control_stack_limit: int | None
    """The largest control stack that hardware can address (kfd_queue_ctx_save_restore_size: the SPI of
    gfx10); None where there is no such limit."""
    control_stack_in_area: bool
    """Whether the control stack is in the area already, where the process sees it, rather than behind the
    queue's descriptor in memory of the kernel (get_wave_state in kfd_mqd_manager_v10.c, copied to user
    space by that in kfd_mqd_manager_v9.c)."""


_LARGE, _MEDIUM, _SMALL = 0x80000, 0x60000, 0x40000
"""Vector registers of CDNA, of the larger RDNA parts since gfx1100, and of the others."""

GFX9 = ContextSave(
    vgpr_bytes=_LARGE,
    sgpr_bytes=0x4000,
    lds_bytes=0x10000,
    hardware_register_bytes=0x1000,
    waves_per_unit=40,
    waves_per_engine=512,
    control_bytes_per_wave=8,
    control_stack_limit=None,
    control_stack_in_area=False,
)
GFX950 = GFX9._replace(lds_bytes=None)
GFX10 = ContextSave(
    vgpr_bytes=_SMALL,
    sgpr_bytes=0x4000,
    lds_bytes=0x10000,
    hardware_register_bytes=0x1000,
    waves_per_unit=32,
    waves_per_engine=None,
    control_bytes_per_wave=12,
    control_stack_limit=0x7000,
    control_stack_in_area=True,
)
GFX11 = GFX10._replace(control_stack_limit=None)
GFX11_LARGE = GFX11._replace(vgpr_bytes=_MEDIUM)
"""gfx1100, gfx1101, gfx1151 and gfx12."""
GFX1250 = GFX11._replace(
    vgpr_bytes=_LARGE,
    sgpr_bytes=0x8000,
    lds_bytes=None,
    hardware_register_bytes=0x8000,
    waves_per_unit=64,
)
