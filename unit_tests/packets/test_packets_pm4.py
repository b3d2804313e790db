"""PM4 packets against dwords worked out by hand from the kernel's headers, and captured ones.

Headers of amdgpu in Linux 7.0: soc15d.h for gfx9 and gfx940, nvd.h for gfx10 to gfx12. A header dword is
PACKET3(op, n) = 3 << 30 | n << 16 | op << 8 with n = dwords of the body - 1.
"""

import pytest

from pytest_amdgpu.packets.layout import UnavailablePacketError, UnknownPacketError
from pytest_amdgpu.packets.pm4 import PM4_GENERATIONS, pm4_packets

TARGET = 0x7FED_CBA9_8760
GFX9 = ("gfx9", "gfx940")
GFX10_UP = ("gfx10", "gfx11", "gfx12")
ALL = GFX9 + GFX10_UP

# (generations, method, positional arguments, keyword arguments, dwords)
GOLDEN = [
    # PACKET3_NOP 0x10; a count of 0x3fff is a NOP of one dword
    (ALL, "nop", (), {}, "ffff1000"),
    (ALL, "nop", (1,), {}, "c0001000 0"),
    (ALL, "nop", (3,), {}, "c0021000 0 0 0"),
    # PACKET3_DISPATCH_DIRECT 0x15
    (ALL, "dispatch_direct", (1, 2, 3), {"initiator": 0x8005}, "c0031500 1 2 3 00008005"),
    # PACKET3_DISPATCH_INDIRECT 0x16, PM4_MEC_DISPATCH_INDIRECT: addr_lo, addr_hi, dispatch_initiator
    (ALL, "dispatch_indirect", (TARGET, 5), {}, "c0021600 cba98760 00007fed 5"),
    # PACKET3_ATOMIC_MEM 0x1e: __ATOMIC, __COMMAND 11:8, __CACHE_POLICY 26:25, __LOOP_INTERVAL 12:0
    (
        ALL,
        "atomic_mem",
        (TARGET, 47, 0x1_0000_0002),
        {"command": 1, "cache_policy": 3, "cmp_data": 0x3_0000_0004, "loop_interval": 0x1FFF},
        "c0071e00 0600012f cba98760 00007fed 2 1 4 3 1fff",
    ),
    (GFX10_UP, "atomic_mem", (0, 0x7F, 0), {}, "c0071e00 0000007f 0 0 0 0 0 0 0"),
    # PACKET3_COND_EXEC 0x22, gfx_v11_0_ring_emit_init_cond_exec: address, 0, number of dwords
    (ALL, "cond_exec", (TARGET, 0x3FFF), {}, "c0032200 cba98760 00007fed 0 3fff"),
    # PACKET3_PRED_EXEC 0x23: __EXEC_COUNT 13:0, __VIRTUAL_XCC_ID_SELECT 31:24
    (("gfx940",), "pred_exec", (5, 0x81), {}, "c0002300 81000005"),
    # PACKET3_WRITE_DATA 0x37: DST_SEL 11:8 (5 memory), WR_CONFIRM 20
    (ALL, "write_data", (TARGET, [7]), {}, "c0033700 00100500 cba98760 00007fed 7"),
    # WR_ONE_ADDR 16, ENGINE_SEL 31:30
    (
        ALL,
        "write_data",
        (0x100, (1, 2, 3)),
        {"dst_sel": 2, "write_confirm": 0, "no_increment": 1, "engine_sel": 1},
        "c0053700 40010200 100 0 1 2 3",
    ),
    (
        ("gfx9", "gfx940", "gfx10", "gfx11"),
        "write_data",
        (0, [0]),
        {"cache_policy": 3},
        "c0033700 06100500 0 0 0",
    ),
    # PACKET3_WRITE_DATA__RESUME_VF_MI300 19
    (("gfx940",), "write_data", (0, [0]), {"resume_vf": 1}, "c0033700 00180500 0 0 0"),
    # nvd.h: __MODE 21, __AID_ID 23:22, __TEMPORAL 25:24
    (GFX10_UP, "write_data", (0, [0]), {"mode": 1, "aid": 2}, "c0033700 00b00500 0 0 0"),
    (("gfx12",), "write_data", (0, [0]), {"temporal": 3}, "c0033700 03100500 0 0 0"),
    # PACKET3_WAIT_REG_MEM 0x3c: __FUNCTION 2:0, __MEM_SPACE 5:4, __OPERATION 7:6, ACE offload 31
    (ALL, "wait_reg_mem", (TARGET, 9), {}, "c0053c00 00000015 cba98760 00007fed 9 ffffffff 4"),
    (
        ALL,
        "wait_reg_mem",
        (TARGET, 9),
        {"func": 3, "mask": 0xFF, "interval": 0xFFFF, "offload": 1, "cache_policy": 2},
        "c0053c00 04000013 cba98760 00007fed 9 ff 8000ffff",
    ),
    # PAL, PM4_MEC_WAIT_REG_MEM64: reference, reference_hi, mask, mask_hi, poll_interval
    (
        GFX10_UP,
        "wait_reg_mem64",
        (TARGET, 0x1_0000_0002),
        {},
        "c0079300 00000015 cba98760 00007fed 2 1 ffffffff ffffffff 4",
    ),
    # PACKET3_INDIRECT_BUFFER 0x3f: __IB_SIZE 19:0, __CHAIN 20, __VALID 23, __VMID 27:24, __PRIV 31
    (ALL, "indirect_buffer", (TARGET, 0xFFFFF), {}, "c0023f00 cba98760 00007fed 008fffff"),
    (
        ALL,
        "indirect_buffer",
        (0x100, 1),
        {"chain": 1, "preemption": 1, "vmid": 7, "cache_policy": 2, "pre_resume": 1},
        "c0023f00 100 0 67b00001",
    ),
    # PACKET3_COPY_DATA 0x40: __SRC_SEL 3:0 (9 GPU clock), __DST_SEL 11:8 (5 memory), __COUNT_SEL 16,
    # __WR_CONFIRM 20
    (ALL, "copy_data", (9, 0, 5, TARGET), {"count_sel": 1}, "c0044000 00110509 0 0 cba98760 00007fed"),
    # __SRC_CACHE_POLICY 14:13, __DST_CACHE_POLICY 26:25, __PQ_EXE_STATUS 29
    (
        ALL,
        "copy_data",
        (5, 0x1_0000_0002, 2, 0x40),
        {"src_cache_policy": 3, "dst_cache_policy": 3, "pq_exe_status": 1, "write_confirm": 0},
        "c0044000 26006205 2 1 40 0",
    ),
    (GFX10_UP, "copy_data", (10, 0, 5, 0), {"mode": 1, "aid": 3}, "c0044000 01b0050a 0 0 0 0"),
    # PACKET3_EVENT_WRITE 0x46: __EVENT_TYPE 5:0 (CS_PARTIAL_FLUSH 7), __EVENT_INDEX 11:8
    (ALL, "event_write", (7, 4), {}, "c0004600 00000407"),
    (GFX9, "event_write", (7, 4), {"offload_enable": 1}, "c0004600 80000407"),
    (ALL, "event_write_addr", (0x16, 1, TARGET), {}, "c0024600 00000116 cba98760 00007fed"),
    # PACKET3_RELEASE_MEM 0x49 with EOP_* of soc15d.h: TC_WB 15, TCL1 16, TC 17, TC_NC 19, TC_MD 21, EXEC 28;
    # EVENT_INDEX 11:8, DATA_SEL 31:29, INT_SEL 26:24, DST_SEL 17:16
    (
        GFX9,
        "release_mem",
        (TARGET, 0x1_0000_0002),
        {
            "tc_wb": 1,
            "tcl1": 1,
            "tc": 1,
            "tc_md": 1,
            "execute": 1,
            "int_sel": 2,
            "int_ctxid": 9,
            "dst_sel": 1,
        },
        "c0064900 10238514 42010000 cba98760 00007fed 2 1 9",
    ),
    # nvd.h: PACKET3_RELEASE_MEM_GCR_*
    (
        ("gfx10", "gfx11"),
        "release_mem",
        (TARGET, 3),
        {"glm_wb": 1, "glm_inv": 1, "gl2_wb": 1, "seq": 1, "cache_policy": 3, "data_sel": 1},
        "c0064900 06603514 20000000 cba98760 00007fed 3 0 0",
    ),
    (
        GFX10_UP,
        "release_mem",
        (TARGET, 0),
        {"glv_inv": 1, "gl1_inv": 1, "gl2_us": 1, "gl2_discard": 1, "gl2_inv": 1, "data_sel": 3},
        "c0064900 0019c514 60000000 cba98760 00007fed 0 0 0",
    ),
    # PACKET3_ACQUIRE_MEM 0x58: CP_COHER_CNTL of soc15d.h, then size, base (256 bytes), interval
    (
        GFX9,
        "acquire_mem",
        (),
        {"tc_nc": 1, "sh_kcache_wb": 1, "cb": 1, "db": 1, "size": 0x1_0000_0002, "base": 0x3_0000_0004},
        "c0055800 46000008 2 1 4 3 a",
    ),
    # nvd.h: GCR_CNTL in the last dword
    (
        GFX10_UP,
        "acquire_mem",
        (),
        {
            "gli_inv": 3,
            "gl1_range": 2,
            "gl2_range": 2,
            "seq": 2,
            "range_is_pa": 1,
            "glk_wb": 1,
            "interval": 4,
        },
        "c0065800 0 ffffffff 00ffffff 0 0 4 0006104b",
    ),
    # PACKET3_SET_SH_REG 0x76: __REG_OFFSET 15:0, __INDEX 31:28
    (ALL, "set_sh_reg", (0x20C, 0x123, 0x456), {}, "c0027600 0000020c 00000123 00000456"),
    (ALL, "set_sh_reg", (0x216, 0xFFFFFFFF), {"index": 3, "vmid_shift": 1}, "c0017600 30800216 ffffffff"),
    # PACKET3_SET_UCONFIG_REG 0x79
    (ALL, "set_uconfig_reg", (0x340, 1), {}, "c0017900 00000340 1"),
]

CASES = [
    pytest.param(generation, *case, id=f"{generation}-{case[0]}-{index}")
    for index, (generations, *case) in enumerate(GOLDEN)
    for generation in generations
]


def words_of(text):
    return tuple(int(word, 16) for word in text.split())


@pytest.mark.parametrize(("generation", "method", "positional", "keywords", "dwords"), CASES)
def test_golden_dwords(generation, method, positional, keywords, dwords):
    packets = pm4_packets(generation)
    words = getattr(packets, method)(*positional, **keywords)
    assert [f"{word:08x}" for word in words] == [f"{word:08x}" for word in words_of(dwords)]
    decoded = packets.decode(words)
    assert decoded.name == method.upper()
    assert decoded.words == len(words)
    assert {name: decoded.fields[name] for name in keywords} == keywords
    assert decoded.reserved() == []


def test_every_packet_has_a_golden_case_in_every_generation():
    for generation in PM4_GENERATIONS:
        tested = {method for generations, method, *_ in GOLDEN if generation in generations}
        assert {name.lower() for name in pm4_packets(generation).layouts} == tested | {"filler"}


FULL = "ffffffff 00ffffff 0 0 0000000a"


@pytest.mark.parametrize(
    ("generation", "acquire_all", "before_dispatch", "release"),
    [
        # gfx_v9_4_3_emit_mem_sync: ICACHE 29, KCACHE 27, TC 23, TCL1 22, TC_WB 18
        ("gfx9", f"c0055800 28c40000 {FULL}", f"c0055800 08400000 {FULL}", "00238514"),
        ("gfx940", f"c0055800 28c40000 {FULL}", f"c0055800 08400000 {FULL}", "00238514"),
        # gfx_v10_0_emit_mem_sync: GL2_WB 15, GL2_INV 14, GL1_INV 9, GLV_INV 8, GLK_INV 7,
        # GLM_INV 5, GLM_WB 4, GLI_INV 0
        ("gfx10", f"c0065800 0 {FULL} 0000c3b1", f"c0065800 0 {FULL} 00000380", "06603514"),
        ("gfx11", f"c0065800 0 {FULL} 0000c3b1", f"c0065800 0 {FULL} 00000380", "06603514"),
        # gfx_v12_0_ring_emit_fence: SEQ 22, GL2_WB 21, CACHE_POLICY(3) 26:25
        ("gfx12", f"c0065800 0 {FULL} 0000c3b1", f"c0065800 0 {FULL} 00000380", "06600514"),
    ],
)
def test_cache_policy_is_that_of_the_kernel(generation, acquire_all, before_dispatch, release):
    packets = pm4_packets(generation)
    assert packets.acquire_all() == words_of(acquire_all)
    assert packets.acquire_before_dispatch() == words_of(before_dispatch)
    header = int(release, 16)
    target = (0xCBA98760, 0x7FED)
    assert packets.release(TARGET, 0x1_0000_0002) == (0xC0064900, header, 0x40000000, *target, 2, 1, 0)
    assert packets.release(TARGET, 7, data_64bit=False) == (0xC0064900, header, 0x20000000, *target, 7, 0, 0)
    assert packets.release(TARGET, 7, 12) == (0xC0064900, header, 0x42000000, *target, 7, 0, 12)
    policy = header & 0x06000000
    assert packets.release_event(TARGET, 12) == (0xC0064900, policy | 0x514, 0x42000000, *target, 12, 0, 12)


def test_packets_captured_from_a_working_driver():
    # Dumped from tinygrad's AMD runtime (August 2026), which runs on gfx942, gfx11 and gfx12 hardware.
    cdna, rdna = pm4_packets("gfx940"), pm4_packets("gfx11")
    for packets in (cdna, rdna):
        flush_hdp = packets.wait_reg_mem(0x0E26 | 0x0E27 << 32, 0xFFFFFFFF, space=0, operation=1)
        assert flush_hdp == words_of("c0053c00 00000045 0e26 0e27 ffffffff ffffffff 4")
        assert packets.wait_reg_mem(0x40, 5) == words_of("c0053c00 00000015 40 0 5 ffffffff 4")
        clock = packets.release_mem(0x40, 0, data_sel=3)
        assert clock == words_of("c0064900 00000514 60000000 40 0 0 0 0")
        event = packets.release_mem(0x40, 6, data_sel=1, int_sel=2, int_ctxid=6)
        assert event == words_of("c0064900 00000514 22000000 40 0 6 0 6")
        assert packets.event_write(7, 4) == words_of("c0004600 00000407")
    signal = cdna.release_mem(0x40, 5, tc_wb=1, tc_nc=1, data_sel=1)
    assert signal == words_of("c0064900 00088514 20000000 40 0 5 0 0")
    caches = {"seq": 1, "gl2_wb": 1, "gl2_inv": 1, "gl1_inv": 1, "glv_inv": 1, "glm_inv": 1, "glm_wb": 1}
    assert rdna.release_mem(0x40, 5, data_sel=1, **caches) == words_of(
        "c0064900 0070f514 20000000 40 0 5 0 0"
    )
    before = {"glm_inv": 1, "glm_wb": 1, "glk_inv": 1, "glk_wb": 1, "glv_inv": 1, "gl1_inv": 1}
    assert rdna.acquire_mem(**before)[7] == 0x3F0
    assert rdna.acquire_mem(**before, gl2_inv=1, gl2_wb=1, gli_inv=1)[7] == 0xC3F1


def test_form_of_another_generation_is_refused():
    # A hang on gfx12 hardware: the gfx9 form of ACQUIRE_MEM has one dword less.
    with pytest.raises(
        UnknownPacketError, match=r"gfx12: opcode 0x58 with count 5, but ACQUIRE_MEM has count 6"
    ):
        pm4_packets("gfx12").decode(pm4_packets("gfx940").acquire_all())
    with pytest.raises(UnknownPacketError, match=r"PM4 gfx11 has no packet with opcode 0x23 \(count 0\)"):
        pm4_packets("gfx11").decode(pm4_packets("gfx940").pred_exec(1, 1))
    with pytest.raises(UnavailablePacketError, match="'wait_reg_mem64'"):
        pm4_packets("gfx940").wait_reg_mem64(0, 0)


def test_header_bits_without_meaning_are_no_error():
    # kfdtest sets the shader type (bit 1) in every header on compute queues.
    packet = pm4_packets("gfx940").decode((0xC0004602, 0x407))
    assert (packet.name, packet.reserved()) == ("EVENT_WRITE", [])


def test_filler_is_a_packet_of_one_dword():
    packets = pm4_packets("gfx11")
    names = [packet.name for packet in packets.decode_stream((0x80000000, *packets.nop(2), *packets.nop(0)))]
    assert names == ["FILLER", "NOP", "NOP"]
    with pytest.raises(UnknownPacketError, match="dword 0x80000001 is of packet type 2"):
        packets.decode((0x80000001,))
    with pytest.raises(UnknownPacketError, match="dword 0x00000001 is of packet type 0"):
        packets.decode((1,))


def test_limits_are_refused_by_name():
    packets = pm4_packets("gfx11")
    with pytest.raises(ValueError, match=r"PM4 gfx11 NOP: body_dwords = 16384 is not in 0\.\.16383"):
        packets.nop(0x4000)
    with pytest.raises(ValueError, match=r"RELEASE_MEM: addr = 0x4 is not a multiple of 8"):
        packets.release(4, 1)
    assert packets.release(4, 1, data_64bit=False)[3] == 4
    with pytest.raises(ValueError, match=r"RELEASE_MEM: addr = 0x2 is not a multiple of 4"):
        packets.release(2, 1, data_64bit=False)
    with pytest.raises(ValueError, match=r"SET_SH_REG: values\[1\] = 0x100000000 does not fit 32 bits"):
        packets.set_sh_reg(0x20C, 1, 1 << 32)
    with pytest.raises(ValueError, match="unknown PM4 generation 'gfx8'; known: gfx9, gfx940, gfx10"):
        pm4_packets("gfx8")
