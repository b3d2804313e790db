"""A ring as text."""

import numpy as np

from pytest_amdgpu.packets.listing import listing
from pytest_amdgpu.packets.pm4 import pm4_packets
from pytest_amdgpu.packets.registers import compute_registers
from pytest_amdgpu.packets.sdma import sdma_packets


def test_ring_is_listed_packet_by_packet():
    packets = sdma_packets("4.4")
    ring = np.array([*packets.copy_linear(0x1000, 0x2000, 255), *packets.trap(3)], np.uint32)
    assert list(listing(packets, ring, first_index=100)) == [
        "     100: COPY_LINEAR count=0xff src_addr=0x1000 dst_addr=0x2000",
        "     107: TRAP int_context=3",
    ]


def test_listing_ends_at_a_packet_that_cannot_be_decoded():
    packets = sdma_packets("4.4")
    lines = list(listing(packets, [*packets.trap(3), 0x63, *range(9)]))
    assert lines == [
        "       0: TRAP int_context=3",
        "       2: SDMA 4.4 has no packet with op 99 sub_op 0 at dword 2"
        " [00000063 00000000 00000001 00000002 00000003 00000004 00000005 00000006 ...]",
    ]
    (cut,) = listing(packets, packets.trap(3)[:1])
    assert cut == "       0: SDMA 4.4 TRAP needs 2 dwords, 1 are left [00000006]"


def test_register_writes_are_named():
    packets = pm4_packets("gfx11")
    (line,) = listing(packets, packets.set_sh_reg(0x212, 3, 0x84), registers=compute_registers("gfx11"))
    assert line == (
        "       0: SET_SH_REG COMPUTE_PGM_RSRC1 = 0x3 (vgprs=0x3);"
        " COMPUTE_PGM_RSRC2 = 0x84 (user_sgpr=0x2, tgid_x_en=0x1)"
    )
    (plain,) = listing(packets, packets.set_sh_reg(0x212, 3))
    assert plain == "       0: SET_SH_REG register=0x212 [00000003]"
