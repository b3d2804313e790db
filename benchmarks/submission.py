"""CPU time that the driver takes to build and submit work, on a kernel whose engines never run."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import measure

from pytest_amdgpu.driver.device import Device
from pytest_amdgpu.driver.topology import discover
from pytest_amdgpu.emulator.kernel import EmulatedKernel
from pytest_amdgpu.families.models import model
from pytest_amdgpu.kernel.linux import LinuxKernel

TARGETS = {"eager dispatch": 25.0, "recorded dispatch": 4.0}
"""Microseconds."""

BATCH, BATCHES = 64, 5
"""In all so few submissions that neither the ring nor the memory for arguments is full."""

Submit = Callable[[], None]
Times = dict[tuple[str, str], measure.Samples]


class DeafKernel(EmulatedKernel):
    """A kernel that hands out memory and queues; a doorbell costs what it does on hardware, and nobody hears.

    So nothing runs beside the driver, and the time is the driver's alone.
    """

    _hardware = LinuxKernel()

    def store_doorbell(self, address: int, value: int) -> None:
        """Store to the doorbell's memory as on hardware."""
        self._hardware.store_doorbell(address, value)


def dispatches(device: Device, kind: str, undo: ExitStack) -> Iterator[tuple[str, Submit]]:
    """Yield what submits dispatches to new queues: a kernel with three buffers, a number, and hidden ones."""
    kernel = device.load(measure.KERNELS / device.family.name / "vector_add.co")["vector_add"]
    c, a, b = (device.vram(4096) for _ in range(3))
    eager = undo.enter_context(device.compute_queue(kind))
    yield "eager dispatch", lambda: eager.dispatch(kernel, 1024, [c, a, b, 1024]).submit()
    signalling = undo.enter_context(device.compute_queue(kind))
    semaphore, values = device.timeline_semaphore(), itertools.count(1)
    yield (
        "eager dispatch and signal",
        lambda: signalling.dispatch(kernel, 1024, [c, a, b, 1024]).signal(semaphore, next(values)).submit(),
    )
    recorded = undo.enter_context(device.compute_queue(kind))
    yield "recorded dispatch", recorded.dispatch(kernel, 1024, [c, a, b, 1024]).finish().submit


def copies(device: Device, undo: ExitStack) -> Iterator[tuple[str, Submit]]:
    """Yield what submits copies to new queues."""
    destination, source = device.vram(4096), device.gtt(4096)
    eager = undo.enter_context(device.sdma_queue())
    yield "eager copy", lambda: eager.copy(destination, source).submit()
    signalling = undo.enter_context(device.sdma_queue())
    semaphore, values = device.timeline_semaphore(), itertools.count(1)
    yield (
        "eager copy and signal",
        lambda: signalling.copy(destination, source).signal(semaphore, next(values)).submit(),
    )
    recorded = undo.enter_context(device.sdma_queue())
    yield "recorded copy", recorded.copy(destination, source).finish().submit


def run_once(target: str, yardstick: measure.Samples, times: Times) -> None:
    """Add a round of everything on one software GPU."""
    kernel = DeafKernel([model(measure.MODELS[target])])
    with Device.open(kernel, discover(kernel)[0]) as device, ExitStack() as undo:
        for engine in ("AQL", "PM4", "SDMA"):
            works = copies(device, undo) if engine == "SDMA" else dispatches(device, engine.lower(), undo)
            for what, submit in works:
                submit()
                times[f"{target} {engine}", what].cpu(submit, BATCH, BATCHES)
                yardstick.cpu(measure.write_packets, 1)
    kernel.shutdown()


def main() -> None:
    """Print one row for each target, engine and kind of submission."""
    rounds = 1 if measure.is_quick(__doc__) else 25
    yardstick = measure.Samples()
    times: Times = defaultdict(measure.Samples)
    for _ in range(rounds):
        for target in measure.MODELS:
            run_once(target, yardstick, times)
    packet = yardstick.best * 1e6 / 100
    print(f"CPU time of one submission; yardstick: pack 16 dwords and store them, {packet:.3f} us")
    for (where, what), taken in times.items():
        microseconds = taken.best * 1e6
        limit = TARGETS.get(what)
        measure.row(
            f"{where}: {what}",
            f"{microseconds:.2f} us",
            "" if limit is None else f"<= {limit:g} us",
            None if limit is None else microseconds <= limit,
            f"{microseconds / packet:.1f} x yardstick",
        )


if __name__ == "__main__":
    main()
