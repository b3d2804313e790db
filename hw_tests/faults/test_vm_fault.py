"""GPU accesses outside every mapping: the wait raises with the address, and the next test runs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from pytest_amdgpu.driver.errors import GpuFaultError

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
    with pytest.raises(GpuFaultError, match=f"{NOWHERE + 0x1000:#x}") as caught:
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
    with pytest.raises(GpuFaultError, match=f"{NOWHERE:#x}") as caught:
        timeline_semaphore.wait(1, timeout=10)
    assert caught.value.address == NOWHERE
    assert timeline_semaphore.value == 0


def test_code_cannot_be_written(sdma_queue, suite_kernel, gtt_buffer, timeline_semaphore):
    """A kernel's code is mapped read-only, so that a stray write shows where it happens."""
    code, zeros = suite_kernel("fill").entry_address, gtt_buffer(4)
    sdma_queue.copy(Elsewhere(code, 4), zeros).signal(timeline_semaphore, 1).submit()
    with pytest.raises(GpuFaultError, match="read-only"):
        timeline_semaphore.wait(1, timeout=10)


def test_after_a_fault_the_device_works(compute_queue, suite_kernel, gtt_buffer, timeline_semaphore):
    out = gtt_buffer(4 * 64)
    compute_queue.dispatch(suite_kernel("fill"), 64, [out, 9, 64]).signal(timeline_semaphore, 1).submit()
    timeline_semaphore.wait(1, timeout=10)
    assert (out.view(np.uint32) == 9).all()
