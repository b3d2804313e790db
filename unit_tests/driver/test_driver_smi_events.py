"""Descriptors of system management events: what is asked for, and that nothing is left behind."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_amdgpu.abi.kfd import SmiEvent
from pytest_amdgpu.driver.device import Device
from pytest_amdgpu.driver.smi_events import listen
from pytest_amdgpu.driver.topology import discover
from pytest_amdgpu.emulator.kernel import EmulatedKernel
from pytest_amdgpu.families.models import model
from pytest_amdgpu.kernel.protocol import KernelError


@pytest.fixture
def kernel() -> Iterator[EmulatedKernel]:
    made = EmulatedKernel([model("mi300x"), model("rx7900xtx")])
    yield made
    made.shutdown()


def test_events_of_the_gpu_can_be_read_by_whoever_has_the_descriptor(kernel: EmulatedKernel) -> None:
    node, _ = discover(kernel)
    with Device.open(kernel, node):
        fd = listen(kernel, node)
        kernel.reset_gpu(0)
        records = os.read(fd, 8192).splitlines()
        assert [record[:2] for record in records] == [b"3 ", b"4 "]
        kernel.close(fd)


def test_of_another_gpu_nothing_is_heard_nor_what_was_not_asked_for(kernel: EmulatedKernel) -> None:
    node, other = discover(kernel)
    with Device.open(kernel, node):
        of_other, of_few = listen(kernel, other), listen(kernel, node, [SmiEvent.GPU_POST_RESET])
        kernel.reset_gpu(0)
        assert os.read(of_few, 8192).startswith(b"4 ")
        with pytest.raises(BlockingIOError):
            os.read(of_other, 1)


def test_programs_that_are_started_do_not_get_it(kernel: EmulatedKernel) -> None:
    assert not os.get_inheritable(listen(kernel, discover(kernel)[0]))


def test_a_mask_that_is_refused_leaves_no_descriptor(
    kernel: EmulatedKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = discover(kernel)[0]
    with Device.open(kernel, node):

        def refuse(fd: int, data: bytes) -> int:
            raise KernelError(errno.EFAULT, "write", f"{fd}")

        monkeypatch.setattr(kernel, "write", refuse)
        before = open_descriptors()
        with pytest.raises(KernelError, match="write"):
            listen(kernel, node)
        assert open_descriptors() == before


def test_a_gpu_that_the_kernel_does_not_know(kernel: EmulatedKernel) -> None:
    gone = discover(EmulatedKernel([model("mi100")]))[0]
    with pytest.raises(KernelError, match="SMI_EVENTS"):
        listen(kernel, gone)


def open_descriptors() -> set[str]:
    return {link.name for link in Path("/proc/self/fd").iterdir()}
