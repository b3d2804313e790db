"""Queues come and go: what the kernel is asked for, unwinding, order of freeing."""

from __future__ import annotations

import ctypes

import pytest
from fake_kernel import FakeKernel

from pytest_amdgpu.abi.kfd import AllocFlag, ContextSaveAreaHeader, QueueType
from pytest_amdgpu.driver.aql_queue import AqlQueue
from pytest_amdgpu.driver.device import Device
from pytest_amdgpu.driver.errors import CommandError, DriverError, QueueClosedError
from pytest_amdgpu.driver.pm4_queue import Pm4Queue
from pytest_amdgpu.driver.queue import Queue
from pytest_amdgpu.driver.topology import discover
from pytest_amdgpu.kernel.protocol import KernelError

KINDS = ("sdma", "pm4", "aql")


def make(device: Device, kind: str, ring_size: int = 4096) -> Queue:
    if kind == "sdma":
        return device.sdma_queue(ring_size)
    return device.compute_queue(kind, ring_size)


def arguments(fake: FakeKernel) -> ctypes.Structure:
    (found,) = fake.queues.values()
    return found


def size_at(fake: FakeKernel, address: int) -> int:
    """Size of the buffer object that begins at an address."""
    return next(held.size for held in fake.objects.values() if held.address == address)


@pytest.mark.parametrize("ring_size", [4096, 1 << 18])
@pytest.mark.parametrize(
    ("kind", "queue_type"),
    [("sdma", QueueType.SDMA), ("pm4", QueueType.COMPUTE), ("aql", QueueType.COMPUTE_AQL)],
)
def test_ring_and_pointers_are_exact_mappings(
    fake: FakeKernel, device: Device, kind: str, queue_type: QueueType, ring_size: int
) -> None:
    make(device, kind, ring_size)
    asked = arguments(fake)
    assert asked.queue_type == queue_type
    assert asked.ring_size == size_at(fake, asked.ring_base_address) == ring_size
    # Both pointers lie in one page, at the offsets of amd_queue_t (0x38 and 0x80).
    page = asked.write_pointer_address - 0x38
    assert asked.read_pointer_address == page + 0x80
    assert size_at(fake, page) == 4096
    assert (asked.queue_percentage, asked.queue_priority, asked.pad) == (100, 7, 0)


@pytest.mark.parametrize("kind", ["pm4", "aql"])
@pytest.mark.parametrize(
    ("model", "control_stack", "save_area", "mapping"),
    [("mi300x", 0x3000, 0x1621000, 0xB167000), ("rx7900xtx", 0xA000, 0x2BEA000, 0x2C02000)],
)
def test_sizes_of_a_compute_queue(
    kind: str, model: str, control_stack: int, save_area: int, mapping: int
) -> None:
    """The sizes were worked out from amdkfd's kfd_queue.c for these two products."""
    fake = FakeKernel(model)
    with Device.open(fake, discover(fake)[0]) as device:
        queue = make(device, kind)
        asked = arguments(fake)
        assert asked.ctl_stack_size == control_stack
        assert asked.ctx_save_restore_size == save_area
        assert size_at(fake, asked.ctx_save_restore_address) == mapping
        assert asked.eop_buffer_size == size_at(fake, asked.eop_buffer_address) == 4096
        queue.close()


def test_an_sdma_queue_needs_neither_save_area_nor_end_of_pipe(fake: FakeKernel, device: Device) -> None:
    make(device, "sdma")
    asked = arguments(fake)
    assert asked.ctx_save_restore_address == asked.eop_buffer_address == asked.ctl_stack_size == 0


def test_an_sdma_engine_can_be_chosen(fake: FakeKernel, device: Device) -> None:
    device.sdma_queue(engine=1)
    assert arguments(fake).queue_type == QueueType.SDMA_BY_ENG_ID
    assert arguments(fake).sdma_engine_id == 1


def test_each_save_area_has_its_header() -> None:
    fake = FakeKernel("mi300x")
    with Device.open(fake, discover(fake)[0]) as device:
        queue = device.compute_queue()
        asked = arguments(fake)
        for xcc in range(8):
            header = ContextSaveAreaHeader.from_address(
                asked.ctx_save_restore_address + xcc * asked.ctx_save_restore_size
            )
            # The debug areas of all XCCs (48640 bytes each) follow the save areas of all.
            assert header.debug_offset == (8 - xcc) * 0x1621000
            assert header.debug_size == 8 * 48640
            assert header.err_payload_addr == asked.write_pointer_address - 0x38 + 0x800
            assert header.err_event_id in fake.events
        queue.close()


def test_context_is_saved_to_system_memory_where_the_bar_is_small() -> None:
    fake = FakeKernel("rx7900xtx", small_bar=True)
    with Device.open(fake, discover(fake)[0]) as device:
        queue = device.compute_queue()
        area = arguments(fake).ctx_save_restore_address
        flags = next(held.flags for held in fake.objects.values() if held.address == area)
        assert AllocFlag.GTT in flags
        queue.close()


def test_default_kind_is_aql_on_several_xccs_and_pm4_elsewhere() -> None:
    for model, kind in (("mi300x", AqlQueue), ("rx7900xtx", Pm4Queue)):
        fake = FakeKernel(model)
        with Device.open(fake, discover(fake)[0]) as device, device.compute_queue() as queue:
            assert type(queue) is kind


def test_an_unknown_kind_is_refused(device: Device) -> None:
    with pytest.raises(CommandError, match="unknown kind of compute queue 'gfx'; there are aql, pm4"):
        device.compute_queue("gfx")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [1, 2048, 5000, 1 << 31])
def test_ring_sizes_that_hardware_cannot_have(device: Device, kind: str, size: int) -> None:
    with pytest.raises(CommandError, match=f"a ring of {size} bytes: the size must be a power of two"):
        make(device, kind, size)
    assert not device.queues()


@pytest.mark.parametrize("kind", KINDS)
def test_every_failing_call_of_a_creation_is_undone(kind: str) -> None:
    fake = FakeKernel("rx7900xtx")
    with Device.open(fake, discover(fake)[0]) as device:
        make(device, kind).close()
        before = fake.held()
        fake.calls.clear()
        make(device, kind).close()
        created = fake.calls.index("DESTROY_QUEUE")
        assert fake.held() == before
        for failing in range(created):
            fake.fail_nth(failing)
            with pytest.raises((KernelError, DriverError)):
                make(device, kind)
            assert not fake.failures_left
            assert fake.held() == before, failing
            assert not device.queues()
        make(device, kind).close()


def test_doorbells_that_cannot_be_mapped_leave_no_queue() -> None:
    fake = FakeKernel("rx7900xtx")
    with Device.open(fake, discover(fake)[0]) as device:
        make(device, "sdma").close()
    with Device.open(fake, discover(fake)[0]) as device:
        fake.calls.clear()
        fake.on_create_queue = lambda: fake.fail("mmap", 12)
        with pytest.raises(KernelError, match=r"mmap.*ENOMEM"):
            make(device, "sdma")
        assert "DESTROY_QUEUE" in fake.calls


@pytest.mark.parametrize("kind", KINDS)
def test_memory_is_freed_after_the_queue(fake: FakeKernel, device: Device, kind: str) -> None:
    queue = make(device, kind)
    fake.calls.clear()
    queue.close()
    assert fake.calls[0] == "DESTROY_QUEUE"
    frees = fake.calls.count("FREE_MEMORY_OF_GPU")
    assert frees == (2 if kind == "sdma" else 4)
    assert fake.calls.count("munmap") == frees
    queue.close()


@pytest.mark.parametrize("kind", KINDS)
def test_every_step_of_closing_is_tried(kind: str) -> None:
    fake = FakeKernel("rx7900xtx")
    with Device.open(fake, discover(fake)[0]) as device:
        make(device, kind).close()
        before = fake.held()
        queue = make(device, kind)
        fake.fail("FREE_MEMORY_OF_GPU", 5)
        with pytest.raises(KernelError, match="FREE_MEMORY_OF_GPU"):
            queue.close()
        held = fake.held()
        assert held["objects"] == before["objects"] + 1
        assert held["events"] == before["events"]
        assert held["queues"] == 0


def test_a_queue_that_cannot_be_destroyed_is_an_error(fake: FakeKernel, device: Device) -> None:
    queue = make(device, "sdma")
    fake.fail("DESTROY_QUEUE", 22)
    fake.queues.clear()
    with pytest.raises(KernelError, match=r"DESTROY_QUEUE.*EINVAL"):
        queue.close()


def test_a_queue_that_cannot_be_preempted_is_gone_and_a_fault(fake: FakeKernel, device: Device) -> None:
    queue = make(device, "pm4")
    fake.fail("DESTROY_QUEUE", 62)  # ETIME
    fake.queues.clear()
    queue.close()
    assert "did not stop when destroyed" in device.backend.faults[0].text


@pytest.mark.parametrize("kind", KINDS)
def test_a_closed_queue_takes_no_work(device: Device, kind: str) -> None:
    queue = make(device, kind)
    semaphore = device.timeline_semaphore()
    chain = queue.record().signal(semaphore, 1)
    recording = queue.record().signal(semaphore, 2).finish()
    queue.close()
    for use in (chain.submit, recording.submit, lambda: queue.wait_idle(1.0)):
        with pytest.raises(QueueClosedError, match=r"made at .*test_queue_creation\.py:\d+, was closed"):
            use()
    recording.free()


def test_queues_share_one_slice_of_doorbells(fake: FakeKernel, device: Device) -> None:
    first, second = make(device, "sdma"), make(device, "pm4")
    semaphore = device.timeline_semaphore()
    for queue in (first, second):
        queue.signal(semaphore, 1).submit()
    assert fake.doorbells[1][0] - fake.doorbells[0][0] == 8 * (second.queue_id - first.queue_id)
