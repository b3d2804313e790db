"""Speed of a copy by the software SDMA engine, against numpy's copy between the same two buffers."""

from __future__ import annotations

import itertools
from functools import partial

import measure
import numpy as np

from pytest_amdgpu.driver.device import Device
from pytest_amdgpu.driver.topology import discover
from pytest_amdgpu.emulator.kernel import EmulatedKernel
from pytest_amdgpu.families.models import model

TARGET = 0.7
"""Of the speed of numpy.copyto."""


def copy_times(target: str, size: int, rounds: int) -> tuple[measure.Samples, measure.Samples]:
    """Return times of the engine, from building the command to the end of the host's wait, and of numpy."""
    engine, numpy = measure.Samples(), measure.Samples()
    kernel = EmulatedKernel([model(measure.MODELS[target])])
    with Device.open(kernel, discover(kernel)[0]) as device, device.sdma_queue() as queue:
        destination, source = device.vram(size), device.gtt(size)
        source.view(np.uint64)[:] = np.arange(size // 8)
        semaphore, values = device.timeline_semaphore(), itertools.count(1)

        def copy_by_engine() -> None:
            value = next(values)
            queue.copy(destination, source).signal(semaphore, value).submit()
            semaphore.wait(value, 60)

        copy_by_numpy = partial(np.copyto, destination.array, source.array)
        # The first copies touch the pages, of the engine's mapping and of the client's.
        copy_by_engine()
        copy_by_numpy()
        for _ in range(rounds):
            destination.array[:] = 0
            engine.wall(copy_by_engine)
            if not np.array_equal(destination.array, source.array):
                raise AssertionError(f"the SDMA engine of {target} copied wrongly")
            numpy.wall(copy_by_numpy)
        del copy_by_numpy
    kernel.shutdown()
    return engine, numpy


def main() -> None:
    """Print one row for each generation."""
    quick = measure.is_quick(__doc__)
    size, rounds = (1 << 20, 1) if quick else (64 << 20, 25)
    print(f"copy of {size >> 20} MiB from GTT to VRAM by the software SDMA engine, against numpy.copyto")
    for target in measure.MODELS:
        engine, numpy = copy_times(target, size, rounds)
        ratio = numpy.best / engine.best
        measure.row(
            f"{target} SDMA",
            f"{size / engine.best / 1e9:.2f} GB/s",
            f">= {TARGET} x",
            ratio >= TARGET,
            f"{ratio:.3f} x numpy.copyto, {size / numpy.best / 1e9:.2f} GB/s",
        )


if __name__ == "__main__":
    main()
