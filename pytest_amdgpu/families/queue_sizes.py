"""Sizes that a compute queue must bring along: context save area, control stack, debug area, EOP buffer.

amdkfd computes the same numbers (kfd_queue_ctx_save_restore_size in kfd_queue.c of Linux 6.12 and up; what
differs by generation is in context_save.py) and refuses a queue whose sizes differ. Newer kernels print them
in sysfs (commit 71776e0965f9); those win over the formula, because the formula for gfx1151 changed in
December 2025 (commit b42f3bf9536c).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pytest_amdgpu.families.registry import Family, nearest_family

PAGE = 4096
_SAVE_AREA_HEADER_BYTES = 40
"""sizeof(struct kfd_context_save_area_header), at the start of the area of each XCC."""
_CONTROL_STACK_END_BYTES = 8
_DEBUG_BYTES_PER_WAVE = 32
_EOP_BYTES = 4096


@dataclass(frozen=True, slots=True)
class QueueSizes:
    """Sizes in bytes. All but the mapping are of one XCC, as CREATE_QUEUE wants them.

    `cwsr_size` includes the control stack. `cwsr_mapping_size` is the size of the one buffer that
    holds the save areas of all XCCs back to back and the debug areas behind them.
    """

    eop_size: int
    ctl_stack_size: int
    cwsr_size: int
    debug_size: int
    cwsr_mapping_size: int


def _align(value: int, alignment: int) -> int:
    return -(-value // alignment) * alignment


def queue_sizes(properties: Mapping[str, int], family: Family | None = None) -> QueueSizes:
    """Compute the sizes from a node's sysfs properties, as for another target if a family is given.

    `cwsr_size` and `ctl_stack_size` are taken from the properties where the kernel prints them.
    Raises `ValueError` where a property that the formula needs is missing or zero.
    """
    needed = (
        "gfx_target_version",
        "simd_count",
        "simd_per_cu",
        "array_count",
        "simd_arrays_per_engine",
        "lds_size_in_kb",
    )
    for key in needed:
        if properties.get(key, 0) <= 0:
            raise ValueError(
                f"queue sizes need the node property {key}, which is {properties.get(key, 'missing')}"
            )
    rules = (family or nearest_family(properties["gfx_target_version"])).context_save
    xcc_count = properties.get("num_xcc", 0) or 1
    cu_count = properties["simd_count"] // properties["simd_per_cu"] // xcc_count
    wave_count = cu_count * rules.waves_per_unit
    if rules.waves_per_engine is not None:
        engines = properties["array_count"] // xcc_count // properties["simd_arrays_per_engine"]
        wave_count = min(wave_count, engines * rules.waves_per_engine)

    ctl_stack_size = properties.get("ctl_stack_size", 0)
    if not ctl_stack_size:
        control = wave_count * rules.control_bytes_per_wave + _CONTROL_STACK_END_BYTES
        ctl_stack_size = _align(_SAVE_AREA_HEADER_BYTES + control, PAGE)
        if rules.control_stack_limit is not None:
            ctl_stack_size = min(ctl_stack_size, rules.control_stack_limit)
    cwsr_size = properties.get("cwsr_size", 0)
    if not cwsr_size:
        lds = rules.lds_bytes or properties["lds_size_in_kb"] * 1024
        per_cu = rules.vgpr_bytes + rules.sgpr_bytes + lds + rules.hardware_register_bytes
        cwsr_size = ctl_stack_size + _align(cu_count * per_cu, PAGE)
    debug_size = _align(wave_count * _DEBUG_BYTES_PER_WAVE, 64)
    return QueueSizes(
        eop_size=_EOP_BYTES,
        ctl_stack_size=ctl_stack_size,
        cwsr_size=cwsr_size,
        debug_size=debug_size,
        cwsr_mapping_size=_align((cwsr_size + debug_size) * xcc_count, PAGE),
    )
