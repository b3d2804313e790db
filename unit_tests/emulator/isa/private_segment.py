"""What user SGPRs say about private memory, as ROCr and the packet processor fill them in."""

from __future__ import annotations

from pytest_amdgpu.families.registry import Family


def descriptor(family: Family, wave_size: int, base: int, size: int) -> tuple[int, int, int, int]:
    """The buffer descriptor of private memory: swizzled by dwords over the lanes of a wave, whose number is
    added.

    Fields: CDNA2, RDNA2 and RDNA3 ISA documents, "Buffer resource descriptor".
    """
    major = family.gfx_version[0]
    index_stride = wave_size.bit_length() - 4
    swizzle = 1 << 31 if major < 11 else 1 << 30
    format_ = 4 << 15 if major == 9 else 20 << 12 | 2 << 28
    return base & 0xFFFFFFFF, base >> 32 | swizzle, size, format_ | index_stride << 21 | 1 << 23
