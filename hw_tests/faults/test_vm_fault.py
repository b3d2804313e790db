"""GPU accesses outside every mapping: the wait raises with the address, and the next test runs."""

from __future__ import annotations

import copy
import ctypes
from dataclasses import dataclass

import numpy as np
import pytest

from pytest_amdgpu.driver.errors import MemoryFaultError, QueueLostError

PAGE = 4096
NOWHERE = 0x7E00_0000_0000
"""An address that no fixture hands out."""


@dataclass
class Elsewhere:
    """What a command takes for a buffer, where there is none."""

    address: int
    size: int

    def describe(self) -> str:
        """As buffers have it, for messages."""
        return f"{self.size} bytes at {self.address:#x}"


@pytest.mark.parametrize("kind", ["pm4", "aql"])
@pytest.mark.parametrize("kernel_name", ["read_at", "write_at"])
def test_a_kernel_out_of_bounds_faults_with_its_address(
    kernel_name, kind, make_queue, suite_kernel, gtt_buffer, timeline_semaphore
):
    kernel = suite_kernel("out_of_bounds", kernel_name)
    args = [gtt_buffer(4), NOWHERE + 0x123C] if kernel_name == "read_at" else [NOWHERE + 0x123C, 1]
    make_queue(kind).dispatch(kernel, 64, args).signal(timeline_semaphore, 1).submit()
    with pytest.raises(MemoryFaultError, match=f"{NOWHERE + 0x1000:#x}") as caught:
        timeline_semaphore.wait(1, timeout=10)
    assert caught.value.address == NOWHERE + 0x1000
    assert timeline_semaphore.value == 0


@pytest.mark.parametrize("side", ["source", "target", "fill"])
def test_sdma_out_of_bounds_faults_with_its_address(side, sdma_queue, gtt_buffer, timeline_semaphore):
    buffer, elsewhere = gtt_buffer(4096), Elsewhere(NOWHERE, 64)
    if side == "source":
        sdma_queue.copy(buffer, elsewhere)
    elif side == "target":
        sdma_queue.copy(elsewhere, buffer, 64)
    else:
        sdma_queue.fill(elsewhere, 0)
    sdma_queue.signal(timeline_semaphore, 1).submit()
    with pytest.raises(MemoryFaultError, match=f"{NOWHERE:#x}") as caught:
        timeline_semaphore.wait(1, timeout=10)
    assert caught.value.address == NOWHERE
    assert timeline_semaphore.value == 0


def test_code_cannot_be_written(sdma_queue, suite_kernel, gtt_buffer, timeline_semaphore):
    """A kernel's code is mapped read-only, so that a stray write shows where it happens."""
    code, zeros = suite_kernel("fill").entry_address, gtt_buffer(4)
    sdma_queue.copy(Elsewhere(code, 4), zeros).signal(timeline_semaphore, 1).submit()
    with pytest.raises(MemoryFaultError, match=r"read-only.* the page is inside program fill.co"):
        timeline_semaphore.wait(1, timeout=10)


@pytest.mark.parametrize("kind", ["pm4", "aql"])
def test_a_kernel_cannot_write_code(kind, make_queue, suite_kernel, timeline_semaphore):
    code = suite_kernel("fill").entry_address
    kernel = suite_kernel("out_of_bounds", "write_at")
    make_queue(kind).dispatch(kernel, 64, [code, 1]).signal(timeline_semaphore, 1).submit()
    with pytest.raises(MemoryFaultError, match="read-only") as caught:
        timeline_semaphore.wait(1, timeout=10)
    assert caught.value.address == code & -PAGE
    assert timeline_semaphore.value == 0


@pytest.mark.parametrize("kind", ["pm4", "aql"])
def test_data_cannot_be_executed(kind, make_queue, suite_kernel, gtt_buffer, timeline_semaphore):
    """A copy of a kernel in memory that is readable and writable only."""
    kernel, out = suite_kernel("fill"), gtt_buffer(4 * 64)
    program = kernel.program
    image = gtt_buffer(program.size)
    image.write(ctypes.string_at(program.address, program.size))
    moved = copy.copy(kernel)
    moved.descriptor_address += image.address - program.address
    moved.entry_address += image.address - program.address
    make_queue(kind).dispatch(moved, 64, [out, 9, 64]).signal(timeline_semaphore, 1).submit()
    with pytest.raises(MemoryFaultError) as caught:
        timeline_semaphore.wait(1, timeout=10)
    assert caught.value.address == moved.entry_address & -PAGE
    assert (out.view(np.uint32) == 0).all()


def test_use_after_free_names_the_buffer(sdma_queue, gtt_buffer, timeline_semaphore):
    buffer, freed = gtt_buffer(4096), gtt_buffer(8192)
    address, described = freed.address, freed.describe()
    freed.free()
    sdma_queue.copy(buffer, Elsewhere(address + 4096, 64)).signal(timeline_semaphore, 1).submit()
    with pytest.raises(MemoryFaultError, match="which was freed") as caught:
        timeline_semaphore.wait(1, timeout=10)
    assert caught.value.address == address + 4096
    assert f"the page is inside {described}" in str(caught.value)


def test_a_memory_fault_stops_all_queues(amdgpu_device, make_queue, gtt_buffer, make_semaphore):
    """Those of the process on the GPU: work that waits is not done, and later work is refused."""
    broken, other = make_queue("sdma"), make_queue("pm4")
    go, never, fault = make_semaphore(), make_semaphore(), make_semaphore()
    other.wait(go, 1).signal(never, 1).submit()
    broken.copy(gtt_buffer(4096), Elsewhere(NOWHERE, 64)).signal(fault, 1).submit()
    with pytest.raises(MemoryFaultError):
        fault.wait(1, timeout=10)
    go.signal(1)
    # As long as it takes to see that nothing happens: there is nothing to be signalled.
    amdgpu_device.backend.wait_event(None, 0, 0.05)
    assert never.value == 0
    with pytest.raises(MemoryFaultError):
        never.wait(1, timeout=10)
    with pytest.raises(QueueLostError, match="earlier fault: memory fault on"):
        other.signal(never, 2).submit()


def test_after_a_fault_the_device_works(compute_queue, suite_kernel, gtt_buffer, timeline_semaphore):
    out = gtt_buffer(4 * 64)
    compute_queue.dispatch(suite_kernel("fill"), 64, [out, 9, 64]).signal(timeline_semaphore, 1).submit()
    timeline_semaphore.wait(1, timeout=10)
    assert (out.view(np.uint32) == 9).all()
