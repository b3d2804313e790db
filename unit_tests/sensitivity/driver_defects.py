"""What the driver can get wrong by itself: refusals that it owes its users, before any GPU is asked."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from injection import defect

from pytest_amdgpu.driver import device_memory, launch, program
from pytest_amdgpu.driver.backend import PAGE
from pytest_amdgpu.driver.buffer import Buffer
from pytest_amdgpu.driver.device import Device
from pytest_amdgpu.driver.errors import WaitTimeoutError
from pytest_amdgpu.driver.kernarg import KernargLayout
from pytest_amdgpu.driver.kfd_memory import KfdMemory
from pytest_amdgpu.driver.program import Program, ProgramKernel
from pytest_amdgpu.driver.queue import Queue
from pytest_amdgpu.driver.sdma_queue import SdmaCommands
from pytest_amdgpu.driver.semaphore import MAX_VALUE, TimelineSemaphore
from pytest_amdgpu.emulator.kernel import EmulatedKernel


@defect
def missing_arguments_are_zero(patch: pytest.MonkeyPatch) -> None:
    pack = KernargLayout.pack_into

    def padded(self: KernargLayout, view: memoryview, args: Sequence[Any], *shape: Any) -> None:
        missing = len(self._explicit) - len(args)
        pack(self, view, [*args, *[0] * missing], *shape)

    patch.setattr(KernargLayout, "pack_into", padded)


@defect
def arguments_of_any_size_are_taken(patch: pytest.MonkeyPatch) -> None:
    convert = KernargLayout._converter

    def any_size(self: KernargLayout, argument: Any, value: Any) -> Any:
        return convert(self, argument, int(value) if isinstance(value, np.integer) else value)

    patch.setattr(KernargLayout, "_converter", any_size)


@defect
def any_shape_is_launched(patch: pytest.MonkeyPatch) -> None:
    def unchecked(kernel: ProgramKernel, what: str, shape: Any, limit: int) -> tuple[int, ...]:
        axes = (shape,) if isinstance(shape, int) else tuple(shape)
        return tuple(abs(size) or 1 for size in (*axes, 1, 1)[:3])

    patch.setattr(launch, "_triple", unchecked)


@defect
def a_missing_kernel_is_another_one(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Program, "__getitem__", lambda self, name: next(iter(self._kernels.values())))


@defect
def code_of_any_family_is_loaded(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(program, "_check_target", lambda device, code_object: None)


@defect
def a_closed_device_still_gives(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Device, "check_open", lambda self: None)


@defect
def a_device_has_a_name_of_its_own(patch: pytest.MonkeyPatch) -> None:
    """Not the one that the tests on it are called by."""
    patch.setattr(Device, "name", property(lambda self: "a GPU", lambda self, name: None), raising=False)


@defect
def sizes_below_one_are_rounded_up(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(device_memory, "checked_size", lambda size, location: max(size, 1))


@defect
def views_are_copies(patch: pytest.MonkeyPatch) -> None:
    view = Buffer.view
    patch.setattr(
        Buffer, "view", lambda self, *arguments, **keywords: view(self, *arguments, **keywords).copy()
    )


@defect
def buffers_have_no_bounds_for_the_cpu(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Buffer, "check_range", lambda self, offset, size: None)


@defect
def commands_have_no_bounds(patch: pytest.MonkeyPatch) -> None:
    from pytest_amdgpu.driver import sdma_queue

    def unchecked(destination: Any, source: Any, size: int | None) -> int:
        return size or (destination if source is None else source).size

    patch.setattr(sdma_queue, "transfer_size", unchecked)


@defect
def memory_that_the_cpu_cannot_see_reads_as_zero(patch: pytest.MonkeyPatch) -> None:
    array: Any = Buffer.__dict__["array"].fget
    patch.setattr(
        Buffer,
        "array",
        property(lambda self: array(self) if self.cpu_visible else np.zeros(self.size, np.uint8)),
    )


@defect
def freed_buffers_are_kept(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Buffer, "free", lambda self: None)


@defect
def addresses_are_given_twice(patch: pytest.MonkeyPatch) -> None:
    """To buffers of 18 pages. They are not unmapped: the second would take what is there by then."""
    reserve, munmap = KfdMemory.reserve, EmulatedKernel.munmap
    given: list[int] = []

    def again(self: KfdMemory, size: int) -> int:
        if size != 18 * PAGE:
            return reserve(self, size)
        if not given:
            given.append(reserve(self, size))
        return given[0]

    def unmap_others(self: EmulatedKernel, address: int, length: int) -> None:
        if address not in given:
            munmap(self, address, length)

    patch.setattr(KfdMemory, "reserve", again)
    patch.setattr(EmulatedKernel, "munmap", unmap_others)


@defect
def a_copy_takes_the_size_of_its_source(patch: pytest.MonkeyPatch) -> None:
    """Whatever size it was given."""
    copy = SdmaCommands.copy
    patch.setattr(SdmaCommands, "copy", lambda self, to, source, size=None: copy(self, to, source))


@defect
def compute_queues_are_pm4_if_nothing_else_is_said(patch: pytest.MonkeyPatch) -> None:
    """Also where they leave most of the GPU idle."""
    make = Device.compute_queue
    patch.setattr(Device, "compute_queue", lambda self, kind=None, size=None: make(self, kind or "pm4", size))


@defect
def a_closed_queue_takes_work(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Queue, "check_open", lambda self: None)
    patch.setattr(Queue, "execute", lambda self, commands: None)


@defect
def a_wait_that_took_too_long_says_nothing(patch: pytest.MonkeyPatch) -> None:
    wait = TimelineSemaphore.wait

    def silent(self: TimelineSemaphore, value: int, timeout: float) -> None:
        with suppress(WaitTimeoutError):
            wait(self, value, timeout)

    patch.setattr(TimelineSemaphore, "wait", silent)


@defect
def a_wait_wants_a_signal_for_the_past(patch: pytest.MonkeyPatch) -> None:
    """It does not look at the value before it sleeps."""
    wait = TimelineSemaphore.wait

    def late(self: TimelineSemaphore, value: int, timeout: float) -> None:
        wait(self, value if timeout else MAX_VALUE, timeout)

    patch.setattr(TimelineSemaphore, "wait", late)


@defect
def a_semaphore_goes_back(patch: pytest.MonkeyPatch) -> None:
    def signal(self: TimelineSemaphore, value: int) -> None:
        self._word[0] = value
        self._backend.signal_event(self._event)

    patch.setattr(TimelineSemaphore, "signal", signal)
