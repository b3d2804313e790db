"""The caches between shaders and memory, by themselves and through the packets that maintain them."""

from __future__ import annotations

import struct
import threading

import numpy as np
import pytest

from pytest_amdgpu.abi.kfd import QueueType
from pytest_amdgpu.emulator.engine import shader_memory as module
from pytest_amdgpu.emulator.engine.caches import Maintenance
from pytest_amdgpu.emulator.engine.shader_memory import CachedMapping, CommandMemory, shader_memory
from pytest_amdgpu.emulator.memory import Access, Location, Reason, VmFault
from pytest_amdgpu.packets.pm4 import pm4_packets
from pytest_amdgpu.packets.registers import compute_registers

WRITE_BACK, INVALIDATE = Maintenance(True, False), Maintenance(False, True)


@pytest.fixture
def shaders(bench):
    return shader_memory(bench.memory)


@pytest.fixture
def block(bench):
    return bench.block()


def test_one_view_per_address_space(bench, shaders):
    assert shader_memory(bench.memory) is shaders


def test_writes_arrive_with_the_release(shaders, block):
    with shaders.running():
        shaders.write_u32(block.address, 9)
        assert shaders.read_u32(block.address) == 9
    assert block.u32[0] == 0
    shaders.maintain(WRITE_BACK)
    assert block.u32[0] == 9
    block.u32[0] = 8
    shaders.maintain(WRITE_BACK)
    assert block.u32[0] == 8


def test_neighbouring_dwords_of_the_host_survive(shaders, block):
    with shaders.running():
        shaders.write_u32(block.address + 4, 9)
    block.u32[0], block.u32[2] = 1, 2
    shaders.maintain(WRITE_BACK)
    assert block.u32[:3].tolist() == [1, 9, 2]


def test_what_was_read_is_read_again_until_the_acquire(shaders, block):
    with shaders.running():
        assert shaders.read_u32(block.address) == 0
    block.u32[0] = 5
    with shaders.running():
        assert shaders.read_u32(block.address) == 0
    shaders.maintain(INVALIDATE)
    with shaders.running():
        assert shaders.read_u32(block.address) == 5


def test_an_acquire_keeps_what_is_not_written_back(shaders, block):
    with shaders.running():
        shaders.write_u32(block.address, 7)
    block.u32[:2] = 1, 2
    shaders.maintain(INVALIDATE)
    with shaders.running():
        assert [shaders.read_u32(block.address + 4 * index) for index in (0, 1)] == [7, 2]
    shaders.maintain(WRITE_BACK)
    assert block.u32[:2].tolist() == [7, 2]


def test_copies_are_dropped_when_nobody_looks_any_more(shaders, block):
    with shaders.running():
        shaders.write_u32(block.address, 7)
    shaders.maintain(WRITE_BACK)
    mapping = shaders.find_cached(block.address)
    shaders.maintain(INVALIDATE)
    assert mapping._copy is not None
    shaders.maintain(INVALIDATE)
    assert mapping._copy is None
    assert mapping.base is None


@pytest.mark.parametrize("flags", [{"uncached": True}, {"location": Location.DOORBELL}])
def test_uncached_memory_is_written_at_once(bench, shaders, flags):
    block = bench.block(**flags)
    with shaders.running():
        shaders.write_u32(block.address, 3)
    assert block.u32[0] == 3


def test_buffers_larger_than_any_cache_are_written_at_once(bench, shaders, monkeypatch):
    monkeypatch.setattr(module, "LARGEST", 4096)
    small, large = bench.block(4096), bench.block(8192)
    with shaders.running():
        shaders.write_u32(small.address, 3)
        shaders.write_u32(large.address, 3)
    assert (small.u32[0], large.u32[0]) == (0, 3)


def test_many_blocks_of_dwords(bench, shaders):
    block = bench.block(3 << 20)
    where = np.random.default_rng(1).choice(block.u32.size, 1000, replace=False)
    with shaders.running():
        mapping = shaders.translate(block.address, Access.WRITE)
        mapping.data.view(np.uint32)[where] = where + 1
    assert not block.u32.any()
    shaders.maintain(WRITE_BACK)
    assert np.array_equal(block.u32[where], where + 1)
    assert np.count_nonzero(block.u32) == 1000


def test_page_table_is_followed(bench, shaders, block):
    with shaders.running():
        shaders.write_u32(block.address, 1)
    version = shaders.version
    bench.memory.unmap(bench.memory.find(block.address))
    later = bench.block(writable=False)
    with shaders.running():
        assert shaders.version > version
        with pytest.raises(VmFault) as fault:
            shaders.read_u32(block.address)
        assert fault.value.reason is Reason.NOT_PRESENT
        with pytest.raises(VmFault) as fault:
            shaders.write_u32(later.address, 1)
        assert fault.value.reason is Reason.READ_ONLY
        assert isinstance(shaders.find(later.address), CachedMapping)


def test_memory_that_is_unmapped_is_not_touched_again(bench, shaders, block):
    with shaders.running():
        shaders.write_u32(block.address, 1)
    bench.memory.unmap(bench.memory.find(block.address))
    shaders.maintain(Maintenance(True, True))
    assert block.u32[0] == 0


def test_idle_caches_hold_no_memory_but_what_they_have_data_of(bench, shaders):
    used, unused = bench.block(), bench.block()
    with shaders.running():
        shaders.write_u32(used.address, 1)
    shaders.idle()
    held = [mapping.start for mapping in shaders._cached]
    assert held == [used.address]
    assert not shaders.mappings
    with shaders.running():
        assert shaders.read_u32(used.address) == 1
        assert shaders.read_u32(unused.address) == 0


def test_maintenance_waits_for_running_shaders(shaders, block):
    started, go, done = threading.Event(), threading.Event(), []

    def run():
        with shaders.running():
            started.set()
            go.wait(20)
            shaders.write_u32(block.address, 1)
            done.append("ran")

    thread = threading.Thread(target=run)
    thread.start()
    started.wait(20)
    keeper = threading.Thread(target=lambda: done.append(shaders.maintain(WRITE_BACK)))
    keeper.start()
    go.set()
    keeper.join(20)
    thread.join(20)
    assert done == ["ran", None]
    assert block.u32[0] == 1


def test_command_processor_sees_and_shows_everything(bench, shaders, block):
    commands = CommandMemory(bench.memory, shaders)
    with shaders.running():
        shaders.write_u64(block.address, 1 << 40)
    assert commands.read_u64(block.address) == 1 << 40
    block.u32[4] = 6
    assert commands.read_u32(block.address + 16) == 6
    commands.write_u64(block.address, 2)
    commands.write_u32(block.address + 8, 3)
    with shaders.running():
        assert shaders.read_u64(block.address) == 2
        assert shaders.read_u32(block.address + 8) == 3
    assert block.u32[:3].tolist() == [2, 0, 3]
    block.u32[0] = 8
    shaders.maintain(WRITE_BACK)
    assert block.u32[0] == 8


def test_command_processor_writes_across_mappings_or_not_at_all(bench, shaders):
    low, high = bench.block(gap=False), bench.block(uncached=True)
    commands = CommandMemory(bench.memory, shaders)
    commands.write(low.address + 4092, struct.pack("<2I", 1, 2))
    assert (low.u32[-1], high.u32[0]) == (1, 2)
    with pytest.raises(VmFault):
        commands.write(high.address + 4092, struct.pack("<2I", 3, 4))
    assert high.u32[-1] == 0


@pytest.fixture(params=["gfx942", "gfx1100"])
def dispatch(request, bench, fake_shaders):
    """A PM4 queue and the packets of a dispatch whose work adds 1 to a dword."""
    target = request.param
    driver = bench.queue(target, QueueType.COMPUTE)
    packets = pm4_packets(driver.context.gpu.family.pm4)
    registers = compute_registers(driver.context.gpu.family.registers)
    block = bench.block()

    def work(state):
        state.memory.write_u32(block.address, state.memory.read_u32(block.address) + 1)

    fake_shaders.work = work
    values = {"PGM_LO": 1, "PGM_HI": 0, "PGM_RSRC1": 0, "PGM_RSRC2": 0}
    values |= {f"NUM_THREAD_{axis}": 1 for axis in "XYZ"}
    words = [
        word
        for name, value in values.items()
        for word in packets.set_sh_reg(registers[f"COMPUTE_{name}"], value)
    ]
    words += packets.dispatch_direct(1, 1, 1, 1)
    return driver, packets, words, block


def test_release_without_write_back_leaves_the_data_behind(bench, dispatch):
    driver, packets, words, block = dispatch
    done = bench.block()
    driver.run(words, packets.release_mem(done.address, 1))
    assert (int(done.u64[0]), int(block.u32[0])) == (1, 0)
    driver.run(packets.release(done.address, 2))
    assert (int(done.u64[0]), int(block.u32[0])) == (2, 1)


def test_dispatch_without_acquire_works_on_old_data(bench, dispatch):
    driver, packets, words, block = dispatch
    done = bench.block()
    write_back = {"tc_wb": 1} if packets.generation == "gfx940" else {"gl2_wb": 1}
    release = packets.release_mem(done.address, 1, **write_back)
    driver.run(words, release)
    block.u32[0] = 100
    driver.run(words, release)
    assert block.u32[0] == 2
    block.u32[0] = 200
    driver.run(packets.acquire_before_dispatch(), words, release)
    assert block.u32[0] == 201
