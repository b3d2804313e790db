"""Preemption of waves on software GPUs through the raw interface: what lies in the context save area."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from pytest_amdgpu.abi.kfd import (
    ContextSaveWaveState,
    GetQueueWaveStateArgs,
    KfdIoctl,
    MapMemoryToGpuArgs,
    SetCuMaskArgs,
    UnmapMemoryFromGpuArgs,
    UpdateQueueArgs,
)
from pytest_amdgpu.driver.compute_queue import ComputeQueue
from pytest_amdgpu.driver.device import Device
from pytest_amdgpu.driver.errors import MemoryFaultError, WaitTimeoutError
from pytest_amdgpu.driver.kfd_backend import KfdBackend
from pytest_amdgpu.driver.topology import discover
from pytest_amdgpu.emulator.kernel import EmulatedKernel
from pytest_amdgpu.emulator.kfd.queue import Queue
from pytest_amdgpu.emulator.refusal import KfdMisuse
from pytest_amdgpu.families.models import model

OBJECTS = Path(__file__).parents[2] / "hw_tests" / "kernels" / "objects"
MODELS = ("mi210", "mi300x", "mi350x", "rx6900xt", "rx7900xtx", "strixhalo", "rx9060xt", "r9700")
GROUPS, SEED = 40, 12345


def until(condition: Callable[[], bool]) -> None:
    """Wait for an engine's thread, at most a minute."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.0005)


class Bench:
    """A queue with the kernel `hold` in flight, and the ioctls that the driver would do."""

    def __init__(self, name: str) -> None:
        self.kernel = EmulatedKernel([model(name)])
        self.gpu = self.kernel.gpus[0]
        self.device = Device.open(self.kernel, discover(self.kernel)[0])
        program = self.device.load(OBJECTS / self.device.family.name / "hold.co")
        self.hold = program["hold"]
        self.queue: ComputeQueue = self.device.compute_queue()
        self.buffer = self.device.gtt(1 << 16, uncached=True)
        self.words = self.buffer.view(np.uint32)
        self.done = self.device.timeline_semaphore()

    def launch(self) -> None:
        started, flag, out = self.buffer[:4], self.buffer[64:68], self.buffer[128:]
        self.queue.dispatch(self.hold, 64 * GROUPS, [started, flag, out, SEED], block=64)
        self.queue.signal(self.done, 1).submit()
        until(lambda: bool(self.words[0] == GROUPS))

    def finish(self) -> None:
        """Let the waves end, and check what became of what they held."""
        self.words[16] = 1
        self.done.wait(1, timeout=60)
        i = np.arange(64 * GROUPS, dtype=np.uint32)
        expected = i // 64 * np.uint32(40503) + np.uint32(SEED) + ((i ^ 63) ^ np.uint32(SEED))
        for k in range(8):
            expected += held_register(k) >> np.uint32(k)
        assert np.array_equal(self.words[32 : 32 + i.size], expected)

    def ioctl(self, request: KfdIoctl, argument: ctypes.Structure) -> None:
        backend = self.device.backend
        assert isinstance(backend, KfdBackend)
        backend._process.ioctl(request, argument)

    def update(self, percentage: int, *, ring: bool = True) -> None:
        request = self.queue._memory.request
        self.ioctl(
            KfdIoctl.UPDATE_QUEUE,
            UpdateQueueArgs(
                ring_base_address=request.ring.address if ring else 0,
                queue_id=self.queue.queue_id,
                ring_size=request.ring.size,
                queue_percentage=percentage,
                queue_priority=7,
            ),
        )

    def wave_state(self) -> tuple[int, int]:
        argument = GetQueueWaveStateArgs(queue_id=self.queue.queue_id, ctl_stack_address=self.area)
        self.ioctl(KfdIoctl.GET_QUEUE_WAVE_STATE, argument)
        return argument.ctl_stack_used_size, argument.save_area_used_size

    @property
    def area(self) -> int:
        area = self.queue._memory.context_save
        assert area is not None
        return area.address

    def header(self, xcc: int) -> ContextSaveWaveState:
        return ContextSaveWaveState.from_address(self.area + xcc * self.gpu.queue_sizes.cwsr_size)

    def saved(self, xcc: int) -> bytes:
        """What the header of an XCC says that its waves left."""
        header, start = self.header(xcc), self.area + xcc * self.gpu.queue_sizes.cwsr_size
        return ctypes.string_at(
            start + header.wave_state_offset - header.wave_state_size, header.wave_state_size
        )

    @contextmanager
    def unmapped(self, address: int) -> Iterator[None]:
        """Take a buffer from the GPU as the driver never does, while kernels use it."""
        process = self.kernel._process
        assert process is not None
        mapping = process.devices[self.gpu.gpu_id].space.find(address)
        assert mapping is not None
        ids = (ctypes.c_uint32 * 1)(self.gpu.gpu_id)
        fields = {"device_ids_array_ptr": ctypes.addressof(ids), "n_devices": 1}
        handle = mapping.bo.handle
        self.ioctl(KfdIoctl.UNMAP_MEMORY_FROM_GPU, UnmapMemoryFromGpuArgs(handle=handle, **fields))
        yield
        self.ioctl(KfdIoctl.MAP_MEMORY_TO_GPU, MapMemoryToGpuArgs(handle=handle, **fields))

    def gpu_queues(self) -> list[Queue]:
        """The queues as the emulated kernel keeps them."""
        process = self.kernel._process
        assert process is not None
        return list(process.queues.values())

    def close(self) -> None:
        self.words[16] = 1
        self.device.close()
        self.kernel.shutdown()


def held_register(k: int) -> npt.NDArray[np.uint32]:
    """What every work-item holds in its k-th register."""
    i = np.arange(64 * GROUPS, dtype=np.uint32)
    return (i + np.uint32(SEED)) * np.uint32(2654435761) + np.uint32(k * SEED)


@pytest.fixture(params=MODELS)
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    made = Bench(request.param)
    yield made
    made.close()


def test_sizes_are_zero_without_waves(bench: Bench) -> None:
    bench.update(0)
    assert bench.wave_state() == (0, 0)
    top = bench.gpu.queue_sizes.ctl_stack_size
    for xcc in range(bench.gpu.num_xcc):
        header = bench.header(xcc)
        assert (header.control_stack_offset, header.wave_state_offset) == (top, top)
    bench.update(100)
    bench.launch()
    bench.finish()
    bench.queue.wait_idle(timeout=60)
    bench.update(0)
    assert bench.wave_state() == (0, 0)


@pytest.mark.parametrize("ring", [True, False], ids=["percentage 0", "ring 0"])
def test_waves_are_in_the_area_and_go_on_afterwards(bench: Bench, ring: bool) -> None:
    bench.launch()
    bench.update(100 if not ring else 0, ring=ring)
    used = bench.wave_state()
    sizes = bench.gpu.queue_sizes
    headers = [bench.header(xcc) for xcc in range(bench.gpu.num_xcc)]
    assert used == (headers[0].control_stack_size, headers[0].wave_state_size)
    # Forty work-groups of 64, dealt to the XCCs in turn; the kernel reckons 8 or 12 bytes of stack a wave.
    waves = GROUPS * 64 // bench.hold.wave_size // bench.gpu.num_xcc
    per_wave = 12 if bench.device.family.gfx_version[0] >= 10 else 8
    for header in headers:
        assert header.control_stack_size == waves * per_wave + 8
        assert header.control_stack_offset == sizes.ctl_stack_size - header.control_stack_size
        assert header.wave_state_offset == sizes.ctl_stack_size + header.wave_state_size
        assert header.wave_state_offset <= sizes.cwsr_size
        # 512 bytes of scalar and 128 of hardware registers a wave; vector registers come on top.
        assert header.wave_state_size > waves * (512 + 128 + 10 * 4 * bench.hold.wave_size)
    bench.words[16] = 1
    with pytest.raises(WaitTimeoutError):
        bench.done.wait(1, timeout=0.02)
    bench.update(100)
    bench.finish()
    bench.queue.wait_idle(timeout=60)
    assert not bench.gpu.units.used.any()


def test_registers_and_lds_are_in_the_area(bench: Bench) -> None:
    bench.launch()
    bench.update(0)
    bench.wave_state()
    areas = [bench.saved(xcc) for xcc in range(bench.gpu.num_xcc)]
    size = bench.hold.wave_size
    for k in range(8):
        for wave, values in enumerate(held_register(k).reshape(-1, size)):
            group = wave * size // 64
            assert values.tobytes() in areas[group % bench.gpu.num_xcc], (k, wave)
    for group in range(GROUPS):
        lds = (np.arange(64 * group, 64 * group + 64, dtype=np.uint32)) ^ np.uint32(SEED)
        assert lds.tobytes() in areas[group % bench.gpu.num_xcc], group
    bench.update(100)
    bench.finish()


def held_in_areas(bench: Bench) -> bool:
    """Whether the areas have what all waves of `hold` hold, in registers and LDS."""
    areas = [bench.saved(xcc) for xcc in range(bench.gpu.num_xcc)]
    size = bench.hold.wave_size
    registers = [
        values.tobytes() in areas[wave * size // 64 % bench.gpu.num_xcc]
        for k in range(8)
        for wave, values in enumerate(held_register(k).reshape(-1, size))
    ]
    lds = [
        (np.arange(64 * group, 64 * group + 64, dtype=np.uint32) ^ np.uint32(SEED)).tobytes()
        in areas[group % bench.gpu.num_xcc]
        for group in range(GROUPS)
    ]
    return all(registers) and all(lds)


def test_the_waves_that_faulted_are_in_the_area(bench: Bench) -> None:
    # They poll memory that goes away under them. The eviction has saved them: no UPDATE_QUEUE is needed.
    flag = bench.device.gtt(4096)
    arguments = [bench.buffer[:4], flag, bench.buffer[128:], SEED]
    bench.queue.dispatch(bench.hold, 64 * GROUPS, arguments, block=64).signal(bench.done, 1).submit()
    until(lambda: bool(bench.words[0] == GROUPS))
    with bench.unmapped(flag.address), pytest.raises(MemoryFaultError):
        bench.done.wait(1, timeout=60)
    stack, state = bench.wave_state()
    assert stack > 8
    assert state > 0
    assert held_in_areas(bench)
    assert not bench.gpu.units.used.any()


def test_a_wave_that_met_no_instruction_stays_on_its_unit_until_it_is_preempted(bench: Bench) -> None:
    program = bench.device.load(OBJECTS / bench.device.family.name / "illegal.co")
    bench.queue.dispatch(program["illegal"], 1, [bench.buffer], block=1).submit()
    until(lambda: any("the wave is halted" in line for line in bench.kernel.log))
    assert bench.gpu.units.used.sum() == bench.gpu.units.busy.sum() == 1
    bench.update(0)
    assert bench.wave_state()[1] >= 512 + 128
    program_counter = int.from_bytes(bench.saved(0)[-128:][4:12], "little")
    log = next(line for line in bench.kernel.log if "illegal instruction" in line)
    assert f"{program_counter:#x}" in log
    assert not bench.gpu.units.used.any()
    bench.queue.close()


def test_a_queue_with_a_halted_wave_ends_with_it(bench: Bench) -> None:
    program = bench.device.load(OBJECTS / bench.device.family.name / "illegal.co")
    bench.queue.dispatch(program["illegal"], 1, [bench.buffer], block=1).submit()
    until(lambda: any("the wave is halted" in line for line in bench.kernel.log))
    bench.queue.close()
    assert not bench.gpu.units.used.any()


def test_the_debugger_s_and_the_error_s_part_of_the_header_stay(bench: Bench) -> None:
    before = ctypes.string_at(bench.area + 16, 24)
    bench.launch()
    bench.update(0)
    bench.wave_state()
    assert ctypes.string_at(bench.area + 16, 24) == before
    bench.update(100)
    bench.finish()


def test_a_mask_without_units_stops_the_waves_until_there_is_another(bench: Bench) -> None:
    bench.launch()
    words = (ctypes.c_uint32 * 10)()
    argument = SetCuMaskArgs(
        queue_id=bench.queue.queue_id, num_cu_mask=320, cu_mask_ptr=ctypes.addressof(words)
    )
    with pytest.warns(KfdMisuse, match="no compute unit of XCC 0.*: waves there will hang"):
        bench.ioctl(KfdIoctl.SET_CU_MASK, argument)
    bench.words[16] = 1
    with pytest.raises(WaitTimeoutError):
        bench.done.wait(1, timeout=0.02)
    (queue,) = bench.gpu_queues()
    until(lambda: "waiting for room on compute units (0 waves on 0 of" in queue.engine.state())
    words[:] = [0xFFFFFFFF] * 10
    bench.ioctl(KfdIoctl.SET_CU_MASK, argument)
    bench.finish()


def test_destroying_a_queue_frees_the_units(bench: Bench) -> None:
    bench.launch()
    assert bench.gpu.units.used.any()
    bench.queue.close()
    assert not bench.gpu.units.used.any()
    assert not bench.gpu.hardware_queues.holders


def toil_result(count: int, rounds: int) -> npt.NDArray[np.uint32]:
    """What the kernel `toil` computes: a linear congruence, step by step."""
    x = np.arange(1, count + 1, dtype=np.uint32)
    for _ in range(rounds):
        x = x * np.uint32(1664525) + np.uint32(1013904223)
    return x


@pytest.mark.parametrize("bench", ["mi300x", "rx9060xt"], indirect=True)
def test_any_mixture_of_pausing_masks_and_priorities_leaves_results_right(bench: Bench) -> None:
    """Two queues more than the hardware has, all at work while they are paused, moved and preferred."""
    device, rng = bench.device, np.random.default_rng(3)
    node, rounds, count = device.node, 300, 64 * 700
    toil = device.load(OBJECTS / device.family.name / "toil.co")["toil"]
    queues = [
        device.compute_queue(("aql", "pm4")[index % 2], priority=int(rng.integers(16)))
        for index in range(min(node.hardware_queues, 6) + 2)
    ]
    outputs = [[device.gtt(4 * count) for _ in range(2)] for _ in queues]
    for queue, buffers in zip(queues, outputs, strict=True):
        for buffer in buffers:
            queue.dispatch(toil, count, [buffer, rounds], block=64)
        queue.submit()
    step = 2 * node.num_xcc
    for _ in range(60):
        queue = queues[int(rng.integers(len(queues)))]
        match int(rng.integers(5)):
            case 0:
                queue.pause()
                queue.saved_waves()
            case 1:
                queue.resume()
            case 2:
                first = int(rng.integers(3)) * step
                queue.set_cu_mask(range(first, first + step))
            case 3:
                queue.set_cu_mask(None)
            case 4:
                queue.set_priority(int(rng.integers(16)))
    for queue in queues:
        queue.resume()
        queue.set_cu_mask(None)
    expected = toil_result(count, rounds)
    for queue, buffers in zip(queues, outputs, strict=True):
        queue.wait_idle(timeout=30)
        for buffer in buffers:
            assert np.array_equal(buffer.view(np.uint32), expected)
    assert not bench.gpu.units.used.any()
    assert not bench.gpu.units.busy.any()
    until(lambda: not bench.gpu.hardware_queues.holders)
