"""Every packet of every generation is executed or refused by name; none is only decoded.

One small effect a packet; what a packet does in full is tested in test_engine_{sdma,pm4,aql}.py.
"""

from __future__ import annotations

import numpy as np
import pytest

from pytest_amdgpu.abi.kfd import QueueType
from pytest_amdgpu.emulator.engine.shader_memory import shader_memory
from pytest_amdgpu.families.registry import FAMILIES, family
from pytest_amdgpu.packets.aql import aql_packets
from pytest_amdgpu.packets.pm4 import PM4_GENERATIONS, pm4_packets
from pytest_amdgpu.packets.registers import compute_registers
from pytest_amdgpu.packets.sdma import SDMA_VERSIONS, sdma_packets

SDMA_TARGETS = {row.sdma: row.name for row in reversed(FAMILIES)}
PM4_TARGETS = {row.pm4: row.name for row in reversed(FAMILIES)}
AQL_TARGETS = ["gfx90a", "gfx942", "gfx1030", "gfx1151", "gfx1201"]

SDMA_REFUSED = {
    "COPY_PHYSICAL": {"src_addr": 0, "dst_addr": 0, "count": 3},
    "COPY_SUB_WINDOW_LARGE": {
        "src_addr": 0,
        "src_pitch": 7,
        "dst_addr": 0,
        "dst_pitch": 7,
        "rect_x": 0,
        "rect_y": 0,
    },
    "POLL_REG_WRITE_MEM": {"reg_addr": 0x40, "mem_addr": 0x1000},
    "FILL_MULTI": {"dst_addr": 0, "byte_stride": 8, "dma_count": 1, "count": 3},
    "SRBM_WRITE": {"addr": 0x40, "data": 1},
    "PRE_EXE": {"dev_sel": 1, "exec_count": 2},
}
PM4_REFUSED = {
    "EVENT_WRITE_ADDR": {"event_type": 0x16, "event_index": 1, "addr": 0x1000},
    "SET_UCONFIG_REG": (0x340, 1),
}
AQL_REFUSED = {"AGENT_DISPATCH"}


class Stage:
    """A queue and two blocks of memory; `a` holds 1, 2, 3, ... as dwords, `b` holds zeros."""

    def __init__(self, bench, driver, packets):
        self.bench, self.driver, self.packets = bench, driver, packets
        self.a, self.b = bench.block(), bench.block()
        self.a.u32[:] = np.arange(1, 1025)
        self.shaders = shader_memory(bench.memory)

    def run(self, *packets):
        self.driver.run(*packets)
        return self.b.u32[:4].tolist()

    def indirect(self, *packets):
        """Write packets to a block of their own; returns address and dwords."""
        block = self.bench.block()
        words = [word for packet in packets for word in packet]
        block.u32[: len(words)] = words
        return block.address, len(words)

    def cached(self):
        """A value that shaders have written and not written back, at the start of `a`."""
        with self.shaders.running():
            self.shaders.write_u32(self.a.address, 99)


def sdma_gcr(stage):
    stage.cached()
    stage.run(stage.packets.gcr_req(gcr_control=1 << 15))
    return [int(stage.a.u32[0])]


def sdma_trap(stage):
    stage.run(stage.packets.trap(7))
    return stage.driver.host.interrupts


# packet: (what it does to `stage`, what that must give)
SDMA = {
    "NOP": (lambda s: s.run(s.packets.nop(3), s.packets.fence(s.b.address, 1)), [1, 0, 0, 0]),
    "COPY_LINEAR": (lambda s: s.run(s.packets.copy_linear(s.a.address, s.b.address, 7)), [1, 2, 0, 0]),
    "COPY_LINEAR_DCC": (
        lambda s: s.run(s.packets.copy_linear_dcc(s.a.address, s.b.address, 7)),
        [1, 2, 0, 0],
    ),
    "COPY_BROADCAST": (
        lambda s: s.run(s.packets.copy_broadcast(s.a.address, s.b.address, s.b.address + 8, 7)),
        [1, 2, 1, 2],
    ),
    "COPY_SUB_WINDOW": (
        lambda s: s.run(s.packets.copy_sub_window(s.a.address, 7, s.b.address, 1, 1, 1, 2)),
        [1, 2, 9, 10],
    ),
    "WRITE_LINEAR": (lambda s: s.run(s.packets.write_linear(s.b.address, [5, 6])), [5, 6, 0, 0]),
    "CONSTANT_FILL": (lambda s: s.run(s.packets.constant_fill(s.b.address, 4, 11)), [4, 4, 4, 0]),
    "FENCE": (lambda s: s.run(s.packets.fence(s.b.address + 4, 9)), [0, 9, 0, 0]),
    "TRAP": (sdma_trap, [(7, "sdma")]),
    "SEMAPHORE": (
        lambda s: s.run(
            s.packets.semaphore(s.b.address, signal=1, write_one=1),
            s.packets.semaphore(s.b.address + 8, signal=1),
        ),
        [1, 0, 1, 0],
    ),
    "POLL_MEM": (
        lambda s: s.run(s.packets.poll_mem(s.a.address, 1, func=3), s.packets.fence(s.b.address, 1)),
        [1, 0, 0, 0],
    ),
    "POLL_REG": (
        lambda s: s.run(
            s.packets.poll_reg(1 << 63, 0, mask=0, interval=0, retry_count=0), s.packets.fence(s.b.address, 1)
        ),
        [1, 0, 0, 0],
    ),
    "ATOMIC": (lambda s: s.run(s.packets.atomic(s.b.address, 47, 1 << 32 | 2)), [2, 1, 0, 0]),
    "TIMESTAMP_SET": (
        lambda s: s.run(s.packets.timestamp_set(1 << 40), s.packets.timestamp_get(s.b.address))[1:],
        [1 << 8, 0, 0],
    ),
    "TIMESTAMP_GET": (lambda s: s.run(s.packets.timestamp_get(s.b.address)), [1001, 0, 0, 0]),
    "TIMESTAMP_GET_GLOBAL": (
        lambda s: s.run(s.packets.timestamp_get_global(s.b.address + 8)),
        [0, 0, 1001, 0],
    ),
    "COND_EXE": (
        lambda s: s.run(
            s.packets.cond_exe(s.a.address, 2, 4), s.packets.fence(s.b.address, 1), s.packets.nop()
        ),
        [0, 0, 0, 0],
    ),
    "INDIRECT": (
        lambda s: s.run(
            s.packets.nop(1),
            s.packets.indirect(*s.indirect(s.packets.fence(s.b.address, 3), s.packets.nop(3))),
        ),
        [3, 0, 0, 0],
    ),
    "GCR_REQ": (sdma_gcr, [99]),
}


def pm4_dispatch(stage, *packet):
    registers = compute_registers(stage.driver.context.gpu.family.registers)
    values = {
        "PGM_LO": 0x1000,
        "PGM_HI": 0,
        "PGM_RSRC1": 0,
        "PGM_RSRC2": 0,
        **{f"NUM_THREAD_{axis}": 1 for axis in "XYZ"},
    }
    program = [
        word
        for name, value in values.items()
        for word in stage.packets.set_sh_reg(registers[f"COMPUTE_{name}"], value)
    ]
    stage.run(program, packet)
    return [state.workgroups for state in stage.fakes.states]


def pm4_maintain(stage, packet, first):
    stage.cached()
    stage.run(first, packet)
    return [int(stage.a.u32[0])]


def pm4_acquire(stage):
    return pm4_maintain(stage, stage.packets.acquire_all(), stage.packets.nop())


def pm4_release(stage):
    stage.cached()
    written = stage.run(stage.packets.release(stage.b.address, 5, 3))
    return [int(stage.a.u32[0]), written[0], stage.driver.host.interrupts]


def pm4_pred_exec(stage):
    write = stage.packets.write_data(stage.b.address, [1])
    body = [
        *(stage.packets.pred_exec(len(write), 2), write),
        *(stage.packets.pred_exec(len(write), 1), stage.packets.write_data(stage.b.address + 4, [2])),
    ]
    return stage.run(stage.packets.indirect_buffer(*stage.indirect(*body)))


PM4 = {
    "NOP": (lambda s: s.run(s.packets.nop(3), s.packets.write_data(s.b.address, [1])), [1, 0, 0, 0]),
    "FILLER": (lambda s: s.run((2 << 30,), s.packets.write_data(s.b.address, [1])), [1, 0, 0, 0]),
    "DISPATCH_DIRECT": (lambda s: pm4_dispatch(s, *s.packets.dispatch_direct(2, 3, 4, 5)), [(2, 3, 4)]),
    "SET_SH_REG": (lambda s: pm4_dispatch(s, *s.packets.dispatch_direct(1, 1, 1, 5)), [(1, 1, 1)]),
    "DISPATCH_INDIRECT": (
        lambda s: pm4_dispatch(s, *s.packets.dispatch_indirect(s.a.address, 5)),
        [(1, 2, 3)],
    ),
    "ACQUIRE_MEM": (pm4_acquire, [99]),
    "RELEASE_MEM": (pm4_release, [99, 5, [(3, "eop")]]),
    "WAIT_REG_MEM": (
        lambda s: s.run(
            s.packets.wait_reg_mem(s.a.address, 1, func=3), s.packets.write_data(s.b.address, [1])
        ),
        [1, 0, 0, 0],
    ),
    "WAIT_REG_MEM64": (
        lambda s: s.run(
            s.packets.wait_reg_mem64(s.a.address, 2 << 32 | 1, func=3),
            s.packets.write_data(s.b.address, [1]),
        ),
        [1, 0, 0, 0],
    ),
    "WRITE_DATA": (lambda s: s.run(s.packets.write_data(s.b.address + 4, [5, 6])), [0, 5, 6, 0]),
    "COPY_DATA": (
        lambda s: s.run(s.packets.copy_data(2, s.a.address, 2, s.b.address, count_sel=1)),
        [1, 2, 0, 0],
    ),
    "ATOMIC_MEM": (lambda s: s.run(s.packets.atomic_mem(s.b.address, 47, 1 << 32 | 2)), [2, 1, 0, 0]),
    "EVENT_WRITE": (
        lambda s: s.run(s.packets.event_write(7, 4), s.packets.write_data(s.b.address, [1])),
        [1, 0, 0, 0],
    ),
    "INDIRECT_BUFFER": (
        lambda s: s.run(s.packets.indirect_buffer(*s.indirect(s.packets.write_data(s.b.address, [3])))),
        [3, 0, 0, 0],
    ),
    "COND_EXEC": (
        lambda s: s.run(
            s.packets.cond_exec(s.b.address + 64, 5),
            s.packets.write_data(s.b.address, [1]),
            s.packets.write_data(s.b.address + 4, [1]),
        ),
        [0, 1, 0, 0],
    ),
    "PRED_EXEC": (pm4_pred_exec, [0, 2, 0, 0]),
}


def test_every_version_and_generation_of_a_family_is_run_here():
    # SDMA 4.0 (Vega 10 and 12) is in no supported family.
    assert {*SDMA_TARGETS, "4.0"} == set(SDMA_VERSIONS)
    assert set(PM4_TARGETS) == set(PM4_GENERATIONS)


@pytest.mark.parametrize(("version", "target"), SDMA_TARGETS.items())
def test_every_sdma_packet_is_executed_or_refused(version, target):
    known = set(sdma_packets(version).layouts)
    assert known <= SDMA.keys() | SDMA_REFUSED.keys()
    assert not SDMA.keys() & SDMA_REFUSED.keys()


@pytest.mark.parametrize(
    ("target", "name"),
    [(target, name) for version, target in SDMA_TARGETS.items() for name in sdma_packets(version).layouts],
)
def test_sdma(bench, target, name):
    packets = sdma_packets(family(target).sdma)
    stage = Stage(bench, bench.queue(target), packets)
    if name in SDMA_REFUSED:
        stage.driver.submit(getattr(packets, name.lower())(**SDMA_REFUSED[name]))
        stage.driver.wait_stopped()
        assert f"the emulated engine does not execute {name}: " in stage.driver.host.bad[0]
        return
    act, expected = SDMA[name]
    assert act(stage) == expected


@pytest.mark.parametrize("generation", PM4_GENERATIONS)
def test_every_pm4_packet_is_executed_or_refused(generation):
    assert set(pm4_packets(generation).layouts) <= PM4.keys() | PM4_REFUSED.keys()
    assert not PM4.keys() & PM4_REFUSED.keys()


@pytest.mark.parametrize(
    ("target", "name"),
    [
        (target, name)
        for generation, target in PM4_TARGETS.items()
        for name in pm4_packets(generation).layouts
    ],
)
def test_pm4(bench, fake_shaders, target, name):
    packets = pm4_packets(family(target).pm4)
    stage = Stage(bench, bench.queue(target, QueueType.COMPUTE), packets)
    stage.fakes = fake_shaders
    if name in PM4_REFUSED:
        fields = PM4_REFUSED[name]
        encode = getattr(packets, name.lower())
        stage.driver.submit(encode(**fields) if isinstance(fields, dict) else encode(*fields))
        stage.driver.wait_stopped()
        assert f"the emulated engine does not execute {name}: " in stage.driver.host.bad[0]
        return
    act, expected = PM4[name]
    assert act(stage) == expected


def aql_signal(stage, value):
    """An amd_signal_t with a value."""
    block = stage.bench.block()
    block.u64[:2] = 1, value
    return block


def aql_dispatch(stage):
    descriptor = stage.bench.block(512)
    # Entry 256 bytes behind the descriptor; wave32 (bit 10 of the properties) where the family has it.
    wave32 = stage.driver.context.gpu.family.wave_sizes[0] == 32
    descriptor.array.view("<u8")[2] = 256
    descriptor.array.view("<u2")[28] = wave32 << 10
    stage.run(stage.packets.kernel_dispatch(64, 256, descriptor.address, 0))
    return [state.workgroups for state in stage.fakes.states]


def aql_barrier(build):
    def act(stage):
        done = aql_signal(stage, 3)
        zero = aql_signal(stage, 0)
        stage.run(build(stage)(dep_signal0=zero.address, completion_signal=done.address))
        return [int(done.u64[1])]

    return act


def aql_vendor(stage):
    pm4 = pm4_packets(stage.driver.context.gpu.family.pm4)
    return stage.run(stage.packets.pm4_ib(*stage.indirect(pm4.write_data(stage.b.address, [4]))))


def aql_invalid(stage):
    """An INVALID packet is waited for; a later write of its header lets the queue go on."""
    stage.driver.submit((1, *[0] * 15))
    stage.driver.wait(lambda: "header is still INVALID" in stage.driver.queue.state())
    stage.driver.ring.u32[0] = stage.packets.barrier_and()[0]
    stage.driver.wait_idle()
    return [stage.driver.rptr]


AQL = {
    "KERNEL_DISPATCH": (aql_dispatch, [(4, 1, 1)]),
    "BARRIER_AND": (aql_barrier(lambda stage: stage.packets.barrier_and), [2]),
    "BARRIER_OR": (aql_barrier(lambda stage: stage.packets.barrier_or), [2]),
    "PM4_IB": (aql_vendor, [4, 0, 0, 0]),
    "INVALID": (aql_invalid, [1]),
}


@pytest.mark.parametrize("target", AQL_TARGETS)
@pytest.mark.parametrize("name", aql_packets().layouts)
def test_aql(bench, fake_shaders, target, name):
    driver = bench.queue(target, QueueType.COMPUTE_AQL)
    driver.ring.u32[::16] = 1
    stage = Stage(bench, driver, aql_packets())
    stage.fakes = fake_shaders
    if name in AQL_REFUSED:
        driver.submit(stage.packets.agent_dispatch(1))
        driver.wait_stopped()
        assert f"does not execute {name}" in driver.host.bad[0]
        return
    act, expected = AQL[name]
    assert act(stage) == expected
