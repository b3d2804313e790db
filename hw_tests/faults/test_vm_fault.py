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
    """What a copy takes for a buffer, where there is no memory."""

    address: int
    size: int


@pytest.mark.parametrize("kernel_name", ["read_at", "write_at"])
def test_a_kernel_out_of_bounds_faults_with_its_address(
    kernel_name, compute_queue, suite_kernel, gtt_buffer, timeline_semaphore
):
    kernel = suite_kernel("out_of_bounds", kernel_name)
    args = [gtt_buffer(4), NOWHERE + 0x123C] if kernel_name == "read_at" else [NOWHERE + 0x123C, 1]
    compute_queue.dispatch(kernel, 64, args).signal(timeline_semaphore, 1).submit()
    with pytest.raises(GpuFaultError, match=f"{NOWHERE + 0x1000:#x}") as caught:
        timeline_semaphore.wait(1, timeout=10)
    assert caught.value.address == NOWHERE + 0x1000


def test_an_sdma_copy_out_of_bounds_faults(make_queue, gtt_buffer, timeline_semaphore):
    queue, target = make_queue("sdma"), gtt_buffer(4096)
    queue.copy(target, Elsewhere(NOWHERE, 64)).signal(timeline_semaphore, 1).submit()
    with pytest.raises(GpuFaultError, match=f"{NOWHERE:#x}"):
        timeline_semaphore.wait(1, timeout=10)


def test_after_a_fault_the_device_works(compute_queue, suite_kernel, gtt_buffer, timeline_semaphore):
    out = gtt_buffer(4 * 64)
    compute_queue.dispatch(suite_kernel("fill"), 64, [out, 9, 64]).signal(timeline_semaphore, 1).submit()
    timeline_semaphore.wait(1, timeout=10)
    assert (out.view(np.uint32) == 9).all()
