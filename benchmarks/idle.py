"""CPU time that a process with idle software GPUs and open queues uses, against one without GPUs."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import measure

from pytest_amdgpu.driver.device import Device
from pytest_amdgpu.driver.topology import discover
from pytest_amdgpu.emulator.kernel import EmulatedKernel
from pytest_amdgpu.families.models import model

TARGET = 1.0
"""Milliseconds of CPU time in one second; a poll every millisecond would take ten times as much."""


@contextmanager
def idle_gpus() -> Iterator[None]:
    """Have a software GPU of each model, with a queue of each kind that has done some work."""
    kernel = EmulatedKernel([model(name) for name in measure.MODELS.values()])
    with ExitStack() as undo:
        undo.callback(kernel.shutdown)
        for node in discover(kernel):
            device = undo.enter_context(Device.open(kernel, node))
            semaphore, values = device.timeline_semaphore(), itertools.count(1)
            for queue in (device.sdma_queue(), device.compute_queue("aql"), device.compute_queue("pm4")):
                value = next(values)
                queue.signal(semaphore, value).submit()
                semaphore.wait(value, 60)
        yield


def cpu_time_asleep(seconds: float) -> float:
    """Return the CPU time that all threads of the process take while this one sleeps."""
    begun = time.process_time()
    time.sleep(seconds)
    return time.process_time() - begun


def main() -> None:
    """Print one row."""
    seconds, rounds = (0.05, 1) if measure.is_quick(__doc__) else (1.0, 5)
    without = [cpu_time_asleep(seconds) for _ in range(rounds)]
    with idle_gpus():
        having = [cpu_time_asleep(seconds) for _ in range(rounds)]
    taken, base = min(having) * 1e3 / seconds, min(without) * 1e3 / seconds
    print("CPU time of a process in one second in which it does nothing")
    measure.row(
        "two software GPUs, six queues",
        f"{taken:.3f} ms",
        f"<= {TARGET:g} ms",
        taken - base <= TARGET,
        f"{taken / base:.2f} x the same process without GPUs, {base:.3f} ms",
    )


if __name__ == "__main__":
    main()
