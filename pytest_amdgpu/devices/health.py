"""Whether a GPU works: it copies, computes and interrupts in time, and its counters tell of no damage.

A check makes queues and buffers of its own and gives them back, so it disturbs nothing but time.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_amdgpu.devices.health_kernels import FACTOR, NAME, health_kernel
from pytest_amdgpu.devices.patience import Patience
from pytest_amdgpu.driver.errors import DriverError, WaitTimeoutError
from pytest_amdgpu.driver.resources import attempt
from pytest_amdgpu.kernel.protocol import KernelError

if TYPE_CHECKING:
    import numpy.typing as npt

    from pytest_amdgpu.driver.device import Device
    from pytest_amdgpu.driver.queue import Queue
    from pytest_amdgpu.driver.resources import Resource
    from pytest_amdgpu.driver.semaphore import TimelineSemaphore

LIMIT = 1.0
"""Seconds that the work of a check may take on hardware."""
LIMIT_OF_SOFTWARE = 5.0
"""Software GPUs share the cores with all else, and waits for a core do not count."""
_INTERRUPT_LIMIT = 1.0
"""Seconds that an interrupt may come after the value that is written with it."""
_LITTLE = 0.01
"""Seconds that each wait gets in any case."""
COPY_BYTES = 1 << 16
_LANES = 64
_serial = itertools.count(1)
"""Makes what one check writes different from what an earlier one left in memory."""


class WrongResultError(DriverError):
    """The GPU did the work of a check, and what came of it is wrong."""


@dataclass(slots=True)
class _Work:
    """One check's claim on a GPU: what it made, and how long it waits."""

    device: Device
    patience: Patience
    undo: ExitStack

    def keep(self, resource: Resource) -> None:
        """Give something back at the end of the step; what was made last goes first."""
        resource.site = "a health check"
        self.undo.callback(resource.release)

    @property
    def remaining(self) -> float:
        """Seconds left; a little is granted in any case."""
        return max(self.patience.left, _LITTLE)

    def wait(self, semaphore: TimelineSemaphore) -> None:
        """Wait for the value and the interrupt."""
        while True:
            try:
                semaphore.wait(1, timeout=self.remaining)
                break
            except WaitTimeoutError:
                if self.patience.left <= 0:
                    raise
        interrupt = Patience(_INTERRUPT_LIMIT, on_cpu=self.patience.on_cpu)
        while not semaphore.was_interrupted(max(min(self.remaining, interrupt.left), _LITTLE)):
            if min(self.patience.left, interrupt.left) <= 0:
                raise WrongResultError("the work was done and its value written, but no interrupt came")


def check_work(device: Device, patience: Patience) -> list[str]:
    """Let a GPU work as long as `patience` lasts, and return what went wrong, step by step.

    The steps: the clock is read; an SDMA copy through VRAM (where there are SDMA queues); a dispatch of a
    kernel on all XCCs; of both also the interrupt that ends them. What is not there is left out.
    """
    problems = []
    for name, step in _STEPS:
        errors: list[Exception] = []
        undo = ExitStack()
        attempt(errors, partial(step, _Work(device, patience, undo)))
        attempt(errors, undo.close)
        for error in errors:
            if not isinstance(error, DriverError | KernelError | ExceptionGroup):
                raise error
            text = next(iter(str(error).splitlines()), "")
            problems.append(f"{name}: {type(error).__name__}: {text}")
        if problems:
            # What comes after the first failure waits for the same reason.
            return problems
    return problems


def _read_clock(work: _Work) -> None:
    first, second = work.device.backend.clock_counters(), work.device.backend.clock_counters()
    if second[0] < first[0]:
        raise WrongResultError(f"the GPU's clock went back from {first[0]} to {second[0]}")


def _copy(work: _Work) -> None:
    device = work.device
    if not (device.node.sdma_engines or device.node.xgmi_engines):
        return
    source, through, back = (
        device.gtt(COPY_BYTES),
        device.vram(COPY_BYTES, cpu_visible=False),
        device.gtt(COPY_BYTES),
    )
    for buffer in (source, through, back):
        work.keep(buffer)
    words = _pattern(COPY_BYTES // 4, next(_serial))
    source.view(np.uint32)[:] = words
    queue = device.sdma_queue()
    # In pieces, so that an error at one place of every copy does not mend itself on the way back.
    half = slice(COPY_BYTES // 2), slice(COPY_BYTES // 2, COPY_BYTES)

    def fill() -> None:
        queue.copy(through, source)
        for part in half:
            queue.copy(back[part], through[part])

    _finish(work, queue, fill)
    _compare(back.view(np.uint32), words)


def _dispatch(work: _Work) -> None:
    device = work.device
    code = health_kernel(device.family.name)
    if code is None:
        return
    count, serial = _LANES * device.node.num_xcc, next(_serial)
    program, out = device.load(code), device.gtt(4 * count)
    for resource in (program, out):
        work.keep(resource)
    queue = device.compute_queue()
    _finish(
        work,
        queue,
        lambda: queue.dispatch(program[NAME], count, [out, np.uint32(serial)], block=_LANES),
    )
    _compare(out.view(np.uint32), _pattern(count, serial))


_STEPS: Sequence[tuple[str, Callable[[_Work], None]]] = (
    ("clock", _read_clock),
    ("SDMA copy", _copy),
    ("compute dispatch", _dispatch),
)


def _finish(work: _Work, queue: Queue[Any], fill: Callable[[], object]) -> None:
    """Submit what `fill` puts into a queue, and wait for its value and its interrupt."""
    semaphore = work.device.timeline_semaphore()
    work.keep(semaphore)
    work.keep(queue)
    fill()
    queue.signal(semaphore, 1).submit()
    work.wait(semaphore)


def _pattern(count: int, serial: int) -> npt.NDArray[np.uint32]:
    return np.arange(count, dtype=np.uint32) * np.uint32(FACTOR) + np.uint32(serial)


def _compare(found: npt.NDArray[np.uint32], expected: npt.NDArray[np.uint32]) -> None:
    wrong = np.flatnonzero(found != expected)
    if wrong.size:
        first = int(wrong[0])
        raise WrongResultError(
            f"{wrong.size} of {expected.size} dwords are wrong, the first at {4 * first:#x}: "
            f"{int(found[first]):#010x} instead of {int(expected[first]):#010x}"
        )
