"""What a dispatch asks of compute units: registers of PM4, the queue's mask and priority; and preemption."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from pytest_amdgpu.abi.kfd import QueueType
from pytest_amdgpu.packets.pm4 import pm4_packets
from pytest_amdgpu.packets.registers import compute_registers

TARGETS = ("gfx90a", "gfx942", "gfx1030", "gfx1100", "gfx1201")
WGP_MODE = 1 << 29


@pytest.fixture(params=TARGETS)
def target(request) -> str:
    return request.param


@pytest.fixture
def queue(bench, target):
    return bench.queue(target, QueueType.COMPUTE, ring_size=4096)


@pytest.fixture
def launch(queue, fake_shaders):
    """Return a function that dispatches with registers as given, and returns the placement."""

    def run(**changes):
        family = queue.context.gpu.family
        packets, registers = pm4_packets(family.pm4), compute_registers(family.registers)
        values = {
            "PGM_LO": 0x1000,
            "PGM_HI": 0,
            "PGM_RSRC1": 0,
            "PGM_RSRC2": 0,
            "NUM_THREAD_X": 256,
            "NUM_THREAD_Y": 1,
            "NUM_THREAD_Z": 1,
            **changes,
        }
        words = [
            word
            for name, value in values.items()
            for word in packets.set_sh_reg(registers[f"COMPUTE_{name}"], value)
        ]
        queue.run(words, packets.dispatch_direct(3, 1, 1, 5), packets.event_write(7, 4))
        return fake_shaders.states[-1].placement

    return run


def claim_all(placement):
    claim = placement.claim(0, 10_000, remaining=10_000)
    placement.leave()
    units = placement.units
    return SimpleNamespace(
        count=claim.count,
        places={
            (int(units.engine[row]), int(units.array[row]), int(units.number[row])) for row in claim.units
        },
        release=claim.release,
    )


def test_all_units_without_a_mask(launch) -> None:
    # The bench's GPU: two engines of two arrays with eight units; four waves of 64 a workgroup, 32 a unit.
    claim = claim_all(launch())
    assert claim.count == 32 * 8
    assert len(claim.places) == 32
    claim.release()


def test_static_thread_management_restricts_units(launch) -> None:
    claim = claim_all(launch(STATIC_THREAD_MGMT_SE0=0x00020001, STATIC_THREAD_MGMT_SE1=0))
    assert claim.places == {(0, 0, 0), (0, 1, 1)}
    claim.release()


def test_the_mask_of_the_queue_counts_at_the_time_of_launch(launch, queue) -> None:
    placement = launch()
    queue.queue.set_engine_masks(((0, 0x8),))
    claim = claim_all(placement)
    assert claim.places == {(1, 0, 3)}
    claim.release()
    claim = claim_all(launch(STATIC_THREAD_MGMT_SE0=1, STATIC_THREAD_MGMT_SE1=0))
    assert claim.places == {(0, 0, 0)}
    claim.release()


def test_resource_limits(launch) -> None:
    # WAVES_PER_SH 9:0 = 8: two workgroups of four waves on each of four arrays.
    claim = claim_all(launch(RESOURCE_LIMITS=8))
    assert claim.count == 8
    claim.release()
    # TG_PER_CU 15:12 = 3.
    claim = claim_all(launch(RESOURCE_LIMITS=3 << 12))
    assert claim.count == 3 * 32
    claim.release()


def test_registers_and_lds_bound_what_a_unit_holds(launch, target) -> None:
    # All 64 granules of vector registers: at least 256 a wave of 64, 512 on gfx90a and gfx942.
    registers = 512 if target in ("gfx90a", "gfx942") else 256
    claim = claim_all(launch(PGM_RSRC1=63))
    assert claim.count == 32 * (0x80000 // (4 * 64 * 4 * registers))
    claim.release()
    # LDS_SIZE from bit 15, in units of 512 bytes: 32 KiB of 64.
    claim = claim_all(launch(PGM_RSRC2=64 << 15))
    assert claim.count == 32 * 2
    claim.release()


@pytest.mark.parametrize("target", ["gfx1030", "gfx1100", "gfx1201"])
def test_workgroup_processors_take_a_pair(launch) -> None:
    claim = claim_all(launch(PGM_RSRC1=WGP_MODE, STATIC_THREAD_MGMT_SE0=0b1011, STATIC_THREAD_MGMT_SE1=0))
    assert claim.places == {(0, 0, 0)}
    assert claim.count == 16
    claim.release()


@pytest.mark.parametrize(("priority", "pipe"), [(0, 0), (6, 0), (7, 1), (10, 1), (11, 2), (15, 2)])
def test_pipe_priority_is_amdkfds(launch, queue, priority: int, pipe: int) -> None:
    """pipe_priority_map in kfd_mqd_manager.c: seven low, four medium, five high."""
    placement = launch()
    context = queue.context
    queue.queue.update(context.ring_address, context.ring_size, priority=priority)
    assert placement.pipe_priority == pipe


def test_preemption_takes_waves_off_the_units(queue, fake_shaders) -> None:
    fake_shaders.slices = 1 << 30
    family = queue.context.gpu.family
    packets, registers = pm4_packets(family.pm4), compute_registers(family.registers)
    values = {"PGM_LO": 1, "PGM_HI": 0, "PGM_RSRC1": 0, "PGM_RSRC2": 0}
    values |= {f"NUM_THREAD_{axis}": 1 for axis in "XYZ"}
    words = [
        word
        for name, value in values.items()
        for word in packets.set_sh_reg(registers[f"COMPUTE_{name}"], value)
    ]
    queue.submit(words, packets.dispatch_direct(1, 1, 1, 5))
    queue.wait(lambda: fake_shaders.started and fake_shaders.started[0].budgets)
    shader = fake_shaders.started[0]
    assert queue.context.gpu.hardware_queues.holders
    queue.queue.evict()
    assert shader.suspensions == 1
    assert not queue.context.gpu.hardware_queues.holders
    ran = len(shader.budgets)
    queue.queue.set_engine_masks(((1, 1),))
    queue.queue.update(queue.context.ring_address, queue.context.ring_size, active=False)
    queue.queue.restore()
    assert len(shader.budgets) == ran
    queue.queue.update(queue.context.ring_address, queue.context.ring_size)
    queue.wait(lambda: len(shader.budgets) > ran)
