"""Kernels and arguments that do not fit are refused before anything is submitted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pytest_amdgpu.asserts import assert_equal
from pytest_amdgpu.driver.kernarg import KernelArgumentError


def test_a_wrong_count_shows_the_signature(compute_queue, suite_kernel, gtt_buffer):
    with pytest.raises(KernelArgumentError, match=r"fill\(.*\) takes 3 arguments, not 2"):
        compute_queue.dispatch(suite_kernel("fill"), 64, [gtt_buffer(256), 1])


def test_a_wrong_size_names_the_argument(compute_queue, suite_kernel, gtt_buffer):
    with pytest.raises(KernelArgumentError, match=r"argument .*: uint64 has 8 bytes"):
        compute_queue.dispatch(suite_kernel("fill"), 64, [gtt_buffer(256), np.uint64(1), 64])


@pytest.mark.parametrize(
    ("grid", "block"), [(0, 64), (64, 0), (64, 2048), ((64, -1, 1), 64), ((1, 2, 3, 4), 64)]
)
def test_an_impossible_launch_is_refused(grid, block, compute_queue, suite_kernel, gtt_buffer):
    with pytest.raises(ValueError, match=r"grid|block"):
        compute_queue.dispatch(suite_kernel("fill"), grid, [gtt_buffer(256), 1, 64], block=block)


def test_a_kernel_that_is_not_there_is_refused_with_those_that_are(load_kernel, amdgpu_device):
    path = Path(__file__).parents[1] / "kernels" / "objects" / amdgpu_device.family.name / "saxpy.co"
    with pytest.raises(KeyError, match=r"saxpy_f16.*saxpy_f32"):
        load_kernel(path, "saxpy_f16")


def test_a_code_object_of_another_family_is_refused(load_kernel, amdgpu_device):
    own = amdgpu_device.family.name
    other = next(target for target in ("gfx942", "gfx1100") if target != own)
    path = Path(__file__).parents[1] / "kernels" / "objects" / other / "fill.co"
    with pytest.raises(ValueError, match=f"(?s){other}.*{own}"):
        load_kernel(path, "fill")


def test_a_kernel_compiled_on_the_fly_runs(compile_kernel, compute_queue, gtt_buffer, timeline_semaphore):
    """Also without optimisation, where a kernel has all hidden arguments, asked for or not."""
    source = (
        "__attribute__((amdgpu_kernel)) void three(__attribute__((address_space(1))) int *p)"
        "{ p[__builtin_amdgcn_workitem_id_x()] = 3 * (int)__builtin_amdgcn_workitem_id_x(); }"
    )
    for value, level in enumerate(("-O0", "-O2"), 1):
        out = gtt_buffer(4 * 64)
        out.array[:] = 0xEE
        kernel = compile_kernel(source, options=[level])
        compute_queue.dispatch(kernel, 64, [out], block=64).signal(timeline_semaphore, value).submit()
        timeline_semaphore.wait(value, timeout=10)
        assert_equal(out.view(np.int32), 3 * np.arange(64, dtype=np.int32))
