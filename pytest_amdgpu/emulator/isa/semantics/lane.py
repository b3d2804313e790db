"""Operations that move values between the lanes of a wave, or between vector and scalar registers."""

from __future__ import annotations

from pytest_amdgpu.emulator.isa.build import Builder
from pytest_amdgpu.emulator.isa.ir import I32, Value
from pytest_amdgpu.emulator.isa.semantics.rows import Semantic, Table


def read_first_lane(b: Builder) -> None:
    """The value of the lowest active lane, as a scalar."""
    b.dst(b.readfirstlane(b.src(0, I32)))


def read_lane(b: Builder) -> None:
    """The value of one lane, active or not, as a scalar."""
    b.dst(b.readlane(b.src(0, I32), b.src(1, I32)))


def write_lane(b: Builder) -> None:
    """Write one lane, active or not, with a scalar."""
    b.writelane(b.dst_vgpr_index(), b.src(0, I32), b.src(1, I32))


# ---- permutation through LDS hardware ---------------------------------------------------------------------


def _addressed_lane(b: Builder) -> Value:
    """The lane that the byte address names; in wave64 it may be one of the same half of the wave."""
    lane = b.lshr(b.add(b.src(0, I32), b.mod("offset")), 2)
    if b.wave_size == 64 and b.family.shader.permute_within_halves:
        lane = b.or_(b.and_(lane, 31), b.and_(b.lane_id(), 32))
    return lane


def pull(b: Builder) -> None:
    """ds_bpermute: each lane reads the lane it names; disabled lanes give 0."""
    b.dst(b.lane_permute(b.src(1, I32), _addressed_lane(b)))


def push(b: Builder) -> None:
    """ds_permute: each lane sends to the lane it names; the highest sender wins, no sender gives 0."""
    b.dst(b.lane_permute(b.src(1, I32), _addressed_lane(b), "push"))


def swizzle(b: Builder) -> None:
    """ds_swizzle: a fixed pattern within groups of 32 lanes, chosen by the offset; disabled lanes give 0.

    CDNA3 ISA section 12.12, DS_SWIZZLE_B32: quad permutation, bit mask, rotation, FFT.
    """
    pattern = b.mod("offset")
    lane = b.lane_id()
    if pattern >= 0xE000:
        mask = pattern & 31
        within = b.and_(lane, 31)
        reversed_ = b.lshr(b.bitreverse(within), 27 + mask.bit_count())
        source = b.or_(reversed_, b.and_(within, mask))
    elif pattern >= 0xC000:
        mask = pattern & 31
        distance = pattern >> 5 & 31
        moved = b.add(lane, -distance if pattern >> 10 & 1 else distance)
        source = b.or_(b.and_(lane, mask), b.and_(moved, 31 & ~mask))
    elif pattern >= 0x8000:
        quad = b.shl(b.and_(lane, 3), 1)
        selected = b.and_(b.lshr(b.const(I32, pattern & 0xFF), quad), 3)
        source = b.or_(b.and_(lane, 28), selected)
    else:
        kept = b.or_(b.and_(lane, pattern & 31), pattern >> 5 & 31)
        source = b.xor(kept, pattern >> 10 & 31)
    b.dst(b.lane_permute(b.src(0, I32), b.or_(source, b.and_(lane, 32))))


# ---- permutation by selectors in scalar registers (gfx10+) -------------------------------------------------


def permute_rows(*, other_row: bool) -> Semantic:
    """v_permlane16 and v_permlanex16: sources 1 and 2 hold a 4-bit selector for each lane of a row of 16.

    op_sel bit 0 is "fetch inactive": disabled lanes can be read; bit 1 is "bound control": without either,
    a lane whose source is disabled keeps its destination.
    """

    def build(b: Builder) -> None:
        lane = b.lane_id()
        selectors = b.combine64(b.src(1, I32), b.src(2, I32))
        place = b.and_(lane, 15)
        chosen = b.and_(b.lo32(b.lshr(selectors, b.shl(place, 2))), 15)
        row = b.and_(b.xor(lane, 16) if other_row else lane, 48)
        index = b.or_(row, chosen)
        fetch_inactive, bound_control = b.mod("op_sel") & 1, b.mod("op_sel") >> 1 & 1
        word = b.vgpr(b.src_vgpr_index(0))
        value = b.lane_permute(word, index, disabled="read" if fetch_inactive else "zero")
        if not fetch_inactive and not bound_control:
            value = b.select(b.permute_active(index), value, b.vgpr(b.dst_vgpr_index()))
        b.set_vgpr(b.dst_vgpr_index(), value)

    return build


def exchange_halves(b: Builder) -> None:
    """v_permlane64: the halves of a wave of 64 lanes; nothing in wave32."""
    if b.wave_size == 64:
        b.dst(b.lane_permute(b.src(0, I32), b.xor(b.lane_id(), 32), disabled="read"))


TABLE: Table = {
    "v_readfirstlane_b32": read_first_lane,
    "v_readlane_b32": read_lane,
    "v_writelane_b32": write_lane,
    "ds_bpermute_b32": pull,
    "ds_permute_b32": push,
    "ds_swizzle_b32": swizzle,
    "v_permlane16_b32": permute_rows(other_row=False),
    "v_permlanex16_b32": permute_rows(other_row=True),
    "v_permlane64_b32": exchange_halves,
}
