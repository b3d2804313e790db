"""SDMA packets against dwords worked out by hand from the kernel's packet headers.

Headers of amdgpu in Linux 7.0: v4 = vega10_sdma_pkt_open.h, v5 = navi10_sdma_pkt_open.h, v6 =
sdma_v6_0_0_pkt_open.h; a comment names the macros that put the bits where they are.
"""

import pytest

from pytest_amdgpu.packets.layout import UnavailablePacketError
from pytest_amdgpu.packets.sdma import SDMA_VERSIONS, sdma_packets

SOURCE = 0x1234_5678_9ABC
TARGET = 0x7FED_CBA9_8760
ALL = ("4.0", "4.2", "4.4.0", "4.4", "5.0", "5.2", "6.0", "6.1", "7.0")
V4 = ("4.0", "4.2", "4.4.0", "4.4")
V5 = ("5.0", "5.2")
V6 = ("6.0", "6.1")
V7 = ("7.0",)

# (versions, method, arguments, dwords)
GOLDEN = [
    # SDMA_PKT_NOP_HEADER_COUNT: [29:16]
    (ALL, "nop", {}, "00000000"),
    (ALL, "nop", {"count": 3}, "00030000 0 0 0"),
    # SDMA_PKT_COPY_LINEAR_HEADER_OP 1; _COUNT_COUNT is bytes - 1; _SRC_ADDR_LO.._DST_ADDR_HI
    (
        ALL,
        "copy_linear",
        {"src_addr": SOURCE, "dst_addr": TARGET, "count": 0xFFF},
        "00000001 00000fff 00000000 56789abc 00001234 cba98760 00007fed",
    ),
    # _HEADER_ENCRYPT 16, _HEADER_TMZ 18, _PARAMETER_DST_SW 17:16, _PARAMETER_SRC_SW 25:24
    (
        V4,
        "copy_linear",
        {"src_addr": 0, "dst_addr": 0, "count": 0x3FFFFF, "encrypt": 1, "tmz": 1, "dst_sw": 1, "src_sw": 2},
        "00050001 003fffff 02010000 0 0 0 0",
    ),
    # v5: _HEADER_BACKWARDS 25
    (
        V5,
        "copy_linear",
        {"src_addr": 0, "dst_addr": 0, "count": 0, "backwards": 1},
        "02000001 0 0 0 0 0 0",
    ),
    # v6: _HEADER_CPV 19, _COUNT_COUNT 29:0, _PARAMETER_DST_CACHE_POLICY 20:18, _SRC_CACHE_POLICY 28:26
    (
        V6,
        "copy_linear",
        {
            "src_addr": 0,
            "dst_addr": 0,
            "count": 0x3FFFFFFF,
            "cpv": 1,
            "dst_sw": 1,
            "src_sw": 2,
            "dst_cache_policy": 3,
            "src_cache_policy": 5,
        },
        "00080001 3fffffff 160d0000 0 0 0 0",
    ),
    # sdma_v7_0.c: emit_copy_buffer, SDMA_DCC_* (data format 5:0, number type 11:9, read 17:16, write 19:18,
    # max compressed 25:24, max uncompressed 26)
    (
        V7,
        "copy_linear_dcc",
        {
            "src_addr": SOURCE,
            "dst_addr": TARGET,
            "count": 0xFFF,
            "data_format": 5,
            "number_type": 3,
            "read_mode": 2,
            "write_mode": 1,
            "max_compressed": 1,
            "max_uncompressed": 1,
        },
        "00080001 00000fff 00000000 56789abc 00001234 cba98760 00007fed 05060605",
    ),
    # SDMA_PKT_COPY_BROADCAST_LINEAR_HEADER_BROADCAST 27; _PARAMETER_DST2_SW 9:8
    (
        ALL,
        "copy_broadcast",
        {"src_addr": SOURCE, "dst1_addr": TARGET, "dst2_addr": 0x10, "count": 15, "dst2_sw": 3},
        "08000001 0000000f 00000300 56789abc 00001234 cba98760 00007fed 00000010 0",
    ),
    # SDMA_PKT_COPY_LINEAR_SUBWIN_HEADER_SUB_OP 4, _ELEMENTSIZE 31:29; DW_3 x 13:0 y 29:16; DW_4 z 10:0
    # pitch 31:13; DW_5 slice pitch 27:0; DW_11 rect x, y; DW_12 rect z 10:0 dst_sw 17:16 src_sw 25:24
    (
        V4 + V5 + V6,
        "copy_sub_window",
        {
            "src_addr": SOURCE,
            "src_pitch": 63,
            "dst_addr": TARGET,
            "dst_pitch": 0x7FFFF,
            "rect_x": 15,
            "rect_y": 0x3FFF,
            "elementsize": 2,
            "src_x": 5,
            "src_y": 7,
            "src_z": 2,
            "src_slice_pitch": 0x3FFF,
            "dst_slice_pitch": 0xFFFFFFF,
            "rect_z": 1,
            "dst_sw": 1,
            "src_sw": 3,
        },
        "40000401 56789abc 00001234 00070005 0007e002 00003fff cba98760 00007fed 0 ffffe000 0fffffff"
        " 3fff000f 03010001",
    ),
    # ROCr, SDMA_PKT_COPY_LINEAR_RECT_TAG_GFX12: x 15:0 y 31:16, z 13:0 pitch 31:16, slice pitch 31:0,
    # rect z 13:0, dst policy 22:20, src policy 30:28
    (
        V7,
        "copy_sub_window",
        {
            "src_addr": SOURCE,
            "src_pitch": 63,
            "dst_addr": TARGET,
            "dst_pitch": 0xFFFF,
            "rect_x": 15,
            "rect_y": 0xFFFF,
            "elementsize": 2,
            "src_x": 5,
            "src_y": 7,
            "src_z": 2,
            "src_slice_pitch": 0x3FFF,
            "dst_slice_pitch": 0xFFFFFFFF,
            "rect_z": 1,
            "dst_cache_policy": 3,
            "src_cache_policy": 7,
        },
        "40000401 56789abc 00001234 00070005 003f0002 00003fff cba98760 00007fed 0 ffff0000 ffffffff"
        " ffff000f 70300001",
    ),
    # SDMA_PKT_COPY_LINEAR_SUBWIN_LARGE_HEADER_SUB_OP 36; DW_8 and DW_16 [15:0] slice pitch 47:32
    (
        V6 + V7,
        "copy_sub_window_large",
        {
            "src_addr": SOURCE,
            "src_pitch": 0x100000,
            "dst_addr": TARGET,
            "dst_pitch": 0x200000,
            "rect_x": 1,
            "rect_y": 2,
            "rect_z": 3,
            "src_slice_pitch": 0x1234_0000_0001,
            "dst_slice_pitch": 0xFFFF_0000_0002,
            "dst_policy": 1,
            "src_policy": 1,
        },
        "00002401 56789abc 00001234 0 0 0 00100000 00000001 00001234 cba98760 00007fed 0 0 0 00200000"
        " 00000002 0404ffff 1 2 3",
    ),
    # SDMA_PKT_COPY_PHYSICAL_LINEAR_HEADER_SUB_OP 8; _PARAMETER_DST_GCC 19, _DST_SYS 20, _SRC_SNOOP 30
    (
        V4,
        "copy_physical",
        {"src_addr": SOURCE, "dst_addr": TARGET, "count": 3, "dst_gcc": 1, "dst_sys": 1, "src_snoop": 1},
        "00000801 3 40180000 56789abc 00001234 cba98760 00007fed",
    ),
    # v5: _PARAMETER_DST_MTYPE 5:3, _DST_L2_POLICY 7:6, _SRC_MTYPE 13:11, _SRC_L2_POLICY 15:14, _DST_SW 17:16
    (
        V5,
        "copy_physical",
        {
            "src_addr": 0,
            "dst_addr": 0,
            "count": 0,
            "dst_mtype": 7,
            "dst_l2_policy": 2,
            "src_mtype": 3,
            "src_l2_policy": 1,
            "dst_sw": 3,
        },
        "00000801 0 000358b8 0 0 0 0",
    ),
    # v6: _PARAMETER_DST_LLC 8, _SRC_LLC 16, _DST_SW 18:17; _COUNT_ADDR_PAIR_NUM 31:24
    (
        V6 + V7,
        "copy_physical",
        {
            "src_addr": 0,
            "dst_addr": 0,
            "count": 1,
            "addr_pair_num": 2,
            "dst_llc": 1,
            "src_llc": 1,
            "dst_sw": 3,
        },
        "00000801 02000001 00070100 0 0 0 0",
    ),
    # SDMA_PKT_WRITE_UNTILED_HEADER_OP 2; _DW_3_COUNT is dwords - 1
    (
        ALL,
        "write_linear",
        {"dst_addr": TARGET, "data": [1, 0xFFFFFFFF]},
        "00000002 cba98760 00007fed 1 1 ffffffff",
    ),
    # SDMA_PKT_INDIRECT_HEADER_OP 4, _VMID 19:16; _IB_SIZE in dwords; _CSA_ADDR
    (
        ALL,
        "indirect",
        {"base": 0x7FED_CBA9_8760, "size": 0xFFFFF, "csa_addr": 0x100, "vmid": 9},
        "00090004 cba98760 00007fed 000fffff 00000100 0",
    ),
    # v5: SDMA_PKT_INDIRECT_HEADER_PRIV 31
    (V5 + V6 + V7, "indirect", {"base": 0, "size": 8, "priv": 1}, "80000004 0 0 8 0 0"),
    # SDMA_PKT_FENCE_HEADER_OP 5
    (V4, "fence", {"addr": TARGET, "data": 7}, "00000005 cba98760 00007fed 7"),
    # v5: SDMA_PKT_FENCE_HEADER_MTYPE 18:16, sdma_v5_2_ring_emit_fence uses 3
    (V5 + V6 + V7, "fence", {"addr": TARGET, "data": 7}, "00030005 cba98760 00007fed 7"),
    # _SYS 20, _SNP 22, as kfdtest sets them with mtype 3
    (V5 + V6 + V7, "fence", {"addr": 0, "data": 0, "sys": 1, "snp": 1}, "00530005 0 0 0"),
    # SDMA_PKT_TRAP_HEADER_OP 6, _INT_CONTEXT 27:0
    (ALL, "trap", {"int_context": 0xFFFFFFF}, "00000006 0fffffff"),
    # SDMA_PKT_SEMAPHORE_HEADER_OP 7, _WRITE_ONE 29, _SIGNAL 30
    (ALL, "semaphore", {"addr": TARGET & ~7, "signal": 1, "write_one": 1}, "60000007 cba98760 00007fed"),
    # SDMA_PKT_POLL_REGMEM_HEADER_OP 8, _FUNC 30:28, _MEM_POLL 31; _DW5_INTERVAL 15:0, _RETRY_COUNT 27:16
    (ALL, "poll_mem", {"addr": TARGET, "value": 9}, "d0000008 cba98760 00007fed 9 ffffffff 0fff0004"),
    (
        ALL,
        "poll_mem",
        {"addr": TARGET, "value": 9, "mask": 0xFF, "func": 3, "interval": 10, "retry_count": 1},
        "b0000008 cba98760 00007fed 9 ff 0001000a",
    ),
    # ROCr, hdp_flush_cmd of sdma_registers.h: what it sends to flush the host data path
    (
        ALL,
        "poll_reg",
        {"addr": 1 << 63, "value": 0, "mask": 0, "interval": 0, "retry_count": 0},
        "00000008 0 80000000 0 0 0",
    ),
    # _HDP_FLUSH 26: what the kernel sends, with registers behind it
    (
        ALL,
        "poll_reg",
        {"addr": 0, "value": 0, "hdp_flush": 1, "mask": 0, "interval": 0, "retry_count": 0},
        "04000008 0 0 0 0 0",
    ),
    # SDMA_PKT_POLL_REG_WRITE_MEM_HEADER_SUB_OP 1, _SRC_ADDR 31:2
    (ALL, "poll_reg_write_mem", {"reg_addr": 0x1234, "mem_addr": TARGET}, "00000108 1234 cba98760 00007fed"),
    # SDMA_PKT_COND_EXE_HEADER_OP 9
    (
        ALL,
        "cond_exe",
        {"addr": TARGET, "reference": 1, "exec_count": 0x3FFF},
        "00000009 cba98760 00007fed 1 3fff",
    ),
    # SDMA_PKT_ATOMIC_HEADER_OP 10, _LOOP 16, _ATOMIC_OP 31:25 (47 = 64-bit add), _LOOP_INTERVAL 12:0
    (
        ALL,
        "atomic",
        {"addr": TARGET, "op": 47, "src_data": 0x1_0000_0002, "cmp_data": 3, "loop": 1, "loop_interval": 4},
        "5e01000a cba98760 00007fed 2 1 3 0 4",
    ),
    # SDMA_PKT_CONSTANT_FILL_HEADER_OP 11, _FILLSIZE 31:30
    (ALL, "constant_fill", {"dst_addr": TARGET, "value": 5, "count": 99}, "8000000b cba98760 00007fed 5 63"),
    (
        ALL,
        "constant_fill",
        {"dst_addr": TARGET, "value": 5, "count": 99, "fillsize": 0},
        "0000000b cba98760 00007fed 5 63",
    ),
    (ALL, "constant_fill", {"dst_addr": 1, "value": 5, "count": 1, "fillsize": 1}, "4000000b 1 0 5 1"),
    (V4 + V5 + V6, "constant_fill", {"dst_addr": 0, "value": 5, "count": 1, "sw": 3}, "8003000b 0 0 5 1"),
    # sdma_v7_0.c: SDMA_PKT_CONSTANT_FILL_HEADER_COMPRESS 16
    (V7, "constant_fill", {"dst_addr": 0, "value": 5, "count": 1, "compress": 1}, "8001000b 0 0 5 1"),
    # SDMA_PKT_DATA_FILL_MULTI_HEADER_SUB_OP 1, _MEMLOG_CLR 31
    (
        ALL,
        "fill_multi",
        {"dst_addr": TARGET, "byte_stride": 256, "dma_count": 4, "count": 3, "memlog_clr": 1},
        "8000010b 100 4 cba98760 00007fed 3",
    ),
    # SDMA_PKT_TIMESTAMP_SET / _GET / _GET_GLOBAL: sub-op 0, 1, 2; _WRITE_ADDR_LO 31:3
    (ALL, "timestamp_set", {"value": 0x1_0000_0002}, "0000000d 2 1"),
    (ALL, "timestamp_get", {"addr": TARGET & ~7}, "0000010d cba98760 00007fed"),
    (ALL, "timestamp_get_global", {"addr": TARGET & ~7}, "0000020d cba98760 00007fed"),
    (V6 + V7, "timestamp_get_global", {"addr": 0, "l2_policy": 2, "llc_policy": 1, "cpv": 1}, "1600020d 0 0"),
    # SDMA_PKT_SRBM_WRITE_HEADER_OP 14, _BYTE_EN 31:28
    (ALL, "srbm_write", {"addr": 0x3FFFF, "data": 7}, "f000000e 0003ffff 7"),
    (V5 + V6 + V7, "srbm_write", {"addr": 0, "data": 7, "apertureid": 0xABC}, "f000000e abc00000 7"),
    # SDMA_PKT_PRE_EXE_HEADER_OP 15, _DEV_SEL 23:16
    (ALL, "pre_exe", {"dev_sel": 2, "exec_count": 16}, "0002000f 10"),
    # SDMA_PKT_GCR_REQ, and gcr_cntl of sdma_v5_2_ring_emit_mem_sync:
    # GL2_INV 14, GL2_WB 15, GLM_INV 5, GL1_INV 9, GLV_INV 8, GLK_INV 7, GLI_INV(1) 0
    (V5 + V6 + V7, "gcr_req", {"gcr_control": 0xC3A1}, "00000011 0 c3a10000 0 0"),
    # _PAYLOAD1_BASE_VA_31_7, _PAYLOAD2_BASE_VA_47_32 15:0, _GCR_CONTROL_15_0 31:16,
    # _PAYLOAD3_GCR_CONTROL_18_16 2:0, _LIMIT_VA_31_7, _PAYLOAD4_LIMIT_VA_47_32 15:0, _VMID 27:24
    (
        V5 + V6 + V7,
        "gcr_req",
        {"gcr_control": 0x5_0001, "base_va": 0x1234_0000_0080, "limit_va": 0xFFFF_FFFF_FF80, "vmid": 3},
        "00000011 00000080 00011234 ffffff85 0300ffff",
    ),
]

CASES = [
    pytest.param(version, method, arguments, dwords, id=f"{version}-{method}-{index}")
    for index, (versions, method, arguments, dwords) in enumerate(GOLDEN)
    for version in versions
]


@pytest.mark.parametrize(("version", "method", "arguments", "dwords"), CASES)
def test_golden_dwords(version, method, arguments, dwords):
    packets = sdma_packets(version)
    words = getattr(packets, method)(**arguments)
    assert [f"{word:08x}" for word in words] == [f"{int(word, 16):08x}" for word in dwords.split()]
    decoded = packets.decode(words)
    assert decoded.name == method.upper()
    assert decoded.words == len(words)
    given = {name: value for name, value in arguments.items() if name != "data" or method == "fence"}
    assert {name: decoded.fields[name] for name in given} == given
    assert decoded.reserved() == []


def test_every_packet_has_a_golden_case_in_every_generation():
    for version in SDMA_VERSIONS:
        tested = {method for versions, method, _, _ in GOLDEN if version in versions}
        assert {name.lower() for name in sdma_packets(version).layouts} == tested


def test_packets_captured_from_a_working_driver():
    # Dumped from tinygrad's AMD runtime (August 2026), which runs on gfx942 and gfx11 hardware.
    cdna, rdna = sdma_packets("4.4"), sdma_packets("6.0")
    for packets in (cdna, rdna):
        assert packets.copy_linear(0x1000, 0x2000, 255) == (0x00000001, 255, 0, 0x1000, 0, 0x2000, 0)
        assert packets.poll_mem(0x1_0000_0020, 5) == (0xD0000008, 0x20, 1, 5, 0xFFFFFFFF, 0x0FFF0004)
        assert packets.trap(12) == (0x00000006, 12)
        assert packets.timestamp_get_global(0x40) == (0x0000020D, 0x40, 0)
        assert packets.write_linear(0x40, [7]) == (0x00000002, 0x40, 0, 0, 7)
    assert rdna.fence(0x40, 3) == (0x00030005, 0x40, 0, 3)
    assert cdna.fence(0x40, 3) == (0x00000005, 0x40, 0, 3)


def test_count_is_as_wide_as_the_engine_takes_it():
    # ROCr, GpuAgent::CreateBlitSdma: 30 bits on gfx90a, gfx10.3 and later, 22 bits on the others.
    for version, width in (("4.2", 22), ("4.4.0", 30), ("4.4", 22), ("5.0", 22), ("5.2", 30), ("6.0", 30)):
        packets = sdma_packets(version)
        assert packets.copy_linear(0, 0, (1 << width) - 1)[1] == (1 << width) - 1
        with pytest.raises(ValueError, match=rf"SDMA {version} COPY_LINEAR: count = 0x.*fit {width} bits"):
            packets.copy_linear(0, 0, 1 << width)


def test_count_of_a_fill_is_that_of_the_header():
    for version, width in (("4.4.0", 22), ("5.2", 22), ("6.0", 30), ("7.0", 30)):
        with pytest.raises(ValueError, match=rf"CONSTANT_FILL: count = 0x.*fit {width} bits"):
            sdma_packets(version).constant_fill(0, 0, 1 << width)


def test_packet_of_another_generation_is_not_there():
    assert not hasattr(sdma_packets("4.4"), "gcr_req")
    with pytest.raises(UnavailablePacketError, match=r"SDMA 4\.4 has no packet or attribute 'gcr_req'"):
        sdma_packets("4.4").gcr_req(gcr_control=1)
    with pytest.raises(TypeError, match="backwards"):
        sdma_packets("4.4").copy_linear(0, 0, 0, backwards=1)


def test_unknown_version_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"unknown SDMA version '3\.0'; known: 4\.0, 4\.2"):
        sdma_packets("3.0")
