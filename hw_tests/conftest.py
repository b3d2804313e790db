"""What the hardware suite shares: its compiled kernels, and buffers filled with known data."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

KERNELS = Path(__file__).parent / "kernels"


@pytest.fixture
def suite_kernel(amdgpu_device: Any, load_kernel: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that loads a kernel of `hw_tests/kernels` by its source's name, and its own."""

    def load(source: str, name: str | None = None) -> Any:
        path = KERNELS / "objects" / amdgpu_device.family.name / f"{source}.co"
        if not path.exists():
            pytest.fail(
                f"no code object of {source} for {amdgpu_device.family.name}: "
                "add the target to hw_tests/kernels/build.py and run it"
            )
        return load_kernel(path, name or source)

    return load


@pytest.fixture
def random_words(rng: np.random.Generator) -> Callable[[int], npt.NDArray[np.uint32]]:
    """Return a function that makes an array of random 32-bit words."""
    return lambda count: rng.integers(0, 1 << 32, count, dtype=np.uint32)


@pytest.fixture
def visible_buffer(
    amdgpu_device: Any, vram_buffer: Callable[..., Any], gtt_buffer: Callable[..., Any]
) -> Callable[..., Any]:
    """Return a function that allocates VRAM, or where a small BAR hides that from the CPU, system memory.

    For tests that are about engines or kernels and look at what they did through the CPU.
    """
    return vram_buffer if amdgpu_device.node.large_bar else gtt_buffer


@pytest.fixture
def input_words(gtt_buffer: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that puts an array into a new GTT buffer."""

    def make(array: npt.NDArray[Any]) -> Any:
        buffer = gtt_buffer(max(array.nbytes, 1))
        buffer.array[: array.nbytes] = array.view(np.uint8).ravel()
        return buffer

    return make


@pytest.fixture
def make_queue(amdgpu_device: Any) -> Iterator[Callable[..., Any]]:
    """Return a function that makes a queue of an engine (`sdma`, `pm4` or `aql`), closed after the test."""
    with ExitStack() as close:

        def make(engine: str, **options: Any) -> Any:
            create = amdgpu_device.sdma_queue if engine == "sdma" else amdgpu_device.compute_queue
            queue = create(**options) if engine == "sdma" else create(engine, **options)
            close.callback(queue.release)
            return queue

        yield make


@pytest.fixture
def make_semaphore(amdgpu_device: Any) -> Iterator[Callable[..., Any]]:
    """Return a function that makes a timeline semaphore, freed after the test."""
    with ExitStack() as free:

        def make(initial: int = 0) -> Any:
            semaphore = amdgpu_device.timeline_semaphore(initial)
            free.callback(semaphore.release)
            return semaphore

        yield make


@pytest.fixture(params=["pm4", "aql"])
def any_compute_queue(request: pytest.FixtureRequest, make_queue: Callable[..., Any]) -> Any:
    """A compute queue of each kind in turn."""
    return make_queue(request.param)
