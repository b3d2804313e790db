"""Arguments of wrong types and out of range: the driver's errors name what was given, and nothing is done."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from fake_kernel import FakeKernel
from made_kernels import MadeKernel

from pytest_amdgpu.driver.arguments import LONGEST_WAIT
from pytest_amdgpu.driver.device import Device
from pytest_amdgpu.driver.errors import (
    AllocationError,
    ArgumentTypeError,
    BufferBoundsError,
    CommandError,
    SharingError,
    TimeoutValueError,
    WaitTimeoutError,
)

Call = Callable[[Any], Any]


class Everything:
    """One of each thing of a device."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self.buffer = device.vram(4096)
        self.semaphore = device.timeline_semaphore()
        self.sdma = device.sdma_queue()
        self.compute = device.compute_queue()


@pytest.fixture
def have(device: Device) -> Everything:
    return Everything(device)


WRONG_TYPES: dict[str, Call] = {
    # What the message says, and what raises it.
    "a size in bytes is a whole number, not 'x' (str)": lambda have: have.device.gtt("x"),
    "a size in bytes is a whole number, not 4096.0 (float)": lambda have: have.device.vram(4096.0),
    "a size in bytes is a whole number, not True (bool)": lambda have: have.device.vram(True),
    "a size in bytes is a whole number, not b'abc' (bytes)": lambda have: have.device.userptr(b"abc"),
    "a size in bytes is a whole number, not None (NoneType)": lambda have: have.device.svm(None),
    "peers is a list of Devices, not <Device": lambda have: have.device.vram(4096, peers=have.device),
    "each of peers is a Device, not 3 (int)": lambda have: have.device.userptr(4096, peers=[3]),
    "each of peers is a Device, not 'x' (str)": lambda have: have.device.svm(4096, peers="x"),
    "a descriptor, where it is no SharedMemory, is a whole number, not 'x'": lambda have: (
        have.device.import_buffer("x")
    ),
    "peer is a Device, not 'x' (str)": lambda have: have.device.sdma_queue(peer="x"),
    "peer is a Device, not None (NoneType)": lambda have: have.device.can_reach(None),
    "the size of a ring in bytes is a whole number, not 4096.0": lambda have: have.device.sdma_queue(
        ring_size=4096.0
    ),
    "the number of an SDMA engine is a whole number, not 1.0": lambda have: have.device.sdma_queue(
        engine=1.0
    ),
    "a priority (low, normal, high, or 0 to 15) is a whole number, not None": lambda have: (
        have.compute.set_priority(None)
    ),
    "where it is no list of their numbers, is a whole number, not 'x'": lambda have: (
        have.device.compute_queue(cu_mask="x")
    ),
    "the number of a compute unit is a whole number, not 1.5": lambda have: have.compute.set_cu_mask([1.5]),
    "a code object is given as its bytes or its file, not 3 (int)": lambda have: have.device.load(3),
    "the value of a timeline semaphore is a whole number, not 1.5": lambda have: (
        have.device.timeline_semaphore(1.5)
    ),
    "the value of a timeline semaphore is a whole number, not 'x'": lambda have: have.semaphore.wait("x", 1),
    "the value of a timeline semaphore is a whole number, not None": lambda have: have.semaphore.signal(None),
    "the value of a timeline semaphore is a whole number, not True": lambda have: have.sdma.wait(
        have.semaphore, True
    ),
    "the value of a timeline semaphore is a whole number, not 2.0": lambda have: have.compute.signal(
        have.semaphore, 2.0
    ),
    "waits for and signals is a timeline semaphore, not <Buffer": lambda have: have.compute.wait(
        have.buffer, 1
    ),
    "waits for and signals is a timeline semaphore, not None": lambda have: have.sdma.signal(None, 1),
    "what a buffer is mapped to is a Device, not 'x' (str)": lambda have: have.buffer.map_to("x"),
    "what a buffer is mapped to is a Device, not 3 (int)": lambda have: have.semaphore.map_to(3),
    "an offset in bytes is a whole number, not 1.5": lambda have: have.buffer.read(1.5),
    "an offset in bytes is a whole number, not 'y'": lambda have: have.buffer.write(b"x", "y"),
    "a size in bytes is a whole number, not 1.5": lambda have: have.buffer.fill(0, 0, 1.5),
    "count is a whole number, not 'x'": lambda have: have.buffer.view(np.uint8, 0, "x"),
    "dtype is a type of numpy's, not 'nope' (str)": lambda have: have.buffer.view("nope"),
    "elements of type object have no bytes": lambda have: have.buffer.view("O"),
    "elements of type |V0 have no bytes": lambda have: have.buffer.view("V0"),
    "what is written is bytes or an array, not [1, 2] (list)": lambda have: have.buffer.write([1, 2]),
    "an array of object holds Python's objects": lambda have: have.buffer.write(np.array([None])),
    "the value of a byte is a whole number, not 1.7": lambda have: have.buffer.fill(1.7),
    "the start of a slice, in bytes, is a whole number, not 1.5": lambda have: have.buffer[1.5:],
    "the source is a buffer or a slice of one, not array(": lambda have: have.sdma.copy(
        have.buffer, np.zeros(8)
    ),
    "the source is a buffer or a slice of one, not None": lambda have: have.sdma.copy(have.buffer, None),
    "the destination is a buffer or a slice of one, not 'x'": lambda have: have.sdma.copy("x", have.buffer),
    "the destination is a buffer or a slice of one, not b'x'": lambda have: have.sdma.fill(b"x", 0),
    "the size of a transfer in bytes is a whole number, not 8.0": lambda have: have.sdma.copy(
        have.buffer, have.buffer, 8.0
    ),
    "the value of a fill is a whole number, not 1.5": lambda have: have.sdma.fill(have.buffer, 1.5),
    "the width of a fill in bytes is a whole number, not []": lambda have: have.sdma.fill(
        have.buffer, 0, width=[]
    ),
    "what a time stamp goes to is a buffer or a slice of one, not None": lambda have: have.sdma.timestamp(
        None
    ),
    "the offset of a time stamp in bytes is a whole number, not 'x'": lambda have: have.compute.timestamp(
        have.buffer, "x"
    ),
    "what a queue runs is a recording, as finish() makes it, not None": lambda have: have.compute.run(None),
    "what is dispatched is a kernel, program[\"name\"], not 'x' (str)": lambda have: have.compute.dispatch(
        "x", 1
    ),
    "made: a grid, where it is no tuple of up to three, is a whole number, not 1.5": lambda have: (
        have.compute.dispatch(MadeKernel(), 1.5)
    ),
    "made: an axis of a grid is a whole number, not 1.5": lambda have: have.compute.dispatch(
        MadeKernel(), (64, 1.5)
    ),
    "made: a block, where it is no tuple of up to three, is a whole number, not 'x'": lambda have: (
        have.compute.dispatch(MadeKernel(), 64, block="x")
    ),
    "dynamic_lds, in bytes, is a whole number, not 1.5": lambda have: have.compute.dispatch(
        MadeKernel(), 64, dynamic_lds=1.5
    ),
}


@pytest.mark.parametrize("message", WRONG_TYPES)
def test_a_wrong_type_is_named(have: Everything, fake: FakeKernel, message: str) -> None:
    before = fake.held()
    with pytest.raises(ArgumentTypeError) as caught:
        WRONG_TYPES[message](have)
    assert message in str(caught.value)
    assert isinstance(caught.value, TypeError)
    assert fake.held() == before
    have.sdma.discard()
    have.compute.discard()


OUT_OF_RANGE: dict[str, tuple[type[Exception], Call]] = {
    "cannot allocate -1 bytes of vram": (AllocationError, lambda have: have.device.vram(-1)),
    "cannot allocate 18446744073709551616 bytes of gtt: a process has addresses for less": (
        AllocationError,
        lambda have: have.device.gtt(2**64),
    ),
    "bytes of svm: a process has addresses for less": (
        AllocationError,
        lambda have: have.device.svm(2**64),
    ),
    "an array of object holds Python's objects": (
        AllocationError,
        lambda have: have.device.userptr(np.array([None])),
    ),
    "1099511627776 is not the number of a descriptor": (
        SharingError,
        lambda have: have.device.import_buffer(2**40),
    ),
    "a ring of 0 bytes": (CommandError, lambda have: have.device.sdma_queue(0)),
    "a ring of 0 bytes: ": (CommandError, lambda have: have.device.compute_queue(ring_size=0)),
    "unknown kind of compute queue []; there are aql, pm4": (
        CommandError,
        lambda have: have.device.compute_queue([]),
    ),
    "compute unit 1000000000000000000 does not exist": (
        CommandError,
        lambda have: have.compute.set_cu_mask([10**18]),
    ),
    "256 is not the value of a byte (0 to 255)": (ValueError, lambda have: have.buffer.fill(256)),
    "a time stamp at byte -8 is not inside": (
        BufferBoundsError,
        lambda have: have.sdma.timestamp(have.buffer, -8),
    ),
    "a time stamp at byte 4089 is not inside": (
        BufferBoundsError,
        lambda have: have.compute.timestamp(have.buffer, 4089),
    ),
}


@pytest.mark.parametrize("message", OUT_OF_RANGE)
def test_what_is_out_of_range_is_named(have: Everything, fake: FakeKernel, message: str) -> None:
    before = fake.held()
    kind, call = OUT_OF_RANGE[message]
    with pytest.raises(kind) as caught:
        call(have)
    assert message in str(caught.value)
    assert fake.held() == before
    have.sdma.discard()
    have.compute.discard()


BAD_TIMEOUTS = [math.nan, math.inf, -1, -0.001, LONGEST_WAIT * 1.01, 1e300, 2**5000, True, "1", [], 1j]


@pytest.mark.parametrize("timeout", BAD_TIMEOUTS, ids=lambda value: repr(value)[:10])
def test_a_wait_has_an_end(have: Everything, timeout: Any) -> None:
    message = r"a timeout is a number of seconds from 0 to 86400, not .* \(\w+\)"
    # Also where there is nothing to wait for: the mistake does not hide until there is.
    for wait in (lambda: have.semaphore.wait(0, timeout), lambda: have.sdma.wait_idle(timeout)):
        with pytest.raises(TimeoutValueError, match=message):
            wait()
    with pytest.raises(TimeoutValueError, match=message):
        have.device.reclaim_queues(timeout)
    assert have.device.queues() == [have.compute, have.sdma]


def test_a_wait_without_timeout_is_refused(have: Everything) -> None:
    for wait in (lambda: have.semaphore.wait(1, timeout=None), lambda: have.compute.wait_idle(None)):
        with pytest.raises(ValueError, match=r"waiting is bounded: a timeout is .* 86400, not None"):
            wait()


def test_a_ring_is_not_waited_for_without_end(have: Everything) -> None:
    have.sdma.full_timeout = math.inf
    with pytest.raises(TimeoutValueError, match=r"not inf \(float\)"):
        fill_up(have)


def fill_up(have: Everything) -> None:
    while True:
        have.sdma.fill(have.buffer, 0).submit()


@pytest.mark.parametrize("timeout", [0, 0.001, np.float32(0.001), np.int64(0)])
def test_numbers_of_all_kinds_are_timeouts(have: Everything, timeout: Any) -> None:
    with pytest.raises(WaitTimeoutError, match=r"waited 0(\.001)? s for 1 of"):
        have.semaphore.wait(1, timeout)


def test_integers_of_numpy_are_integers(have: Everything) -> None:
    buffer = have.device.gtt(np.uint16(4096))
    assert type(buffer.size) is int
    have.semaphore.signal(np.int32(3))
    assert have.semaphore.value == 3
    have.sdma.wait(have.semaphore, np.int8(4)).fill(buffer, np.uint8(7), np.int64(16))
    with_python = have.sdma.record().wait(have.semaphore, 4).fill(buffer, 7, 16)
    assert have.sdma._open is not None
    assert have.sdma._open.code == with_python.code
    have.sdma.discard()
    have.compute.dispatch(MadeKernel(), np.int64(64), block=(np.int32(64), 1))
    have.compute.discard()
    assert buffer.read(np.int64(4), np.int64(2)) == bytes(2)


def test_a_view_with_gaps_is_written(have: Everything) -> None:
    have.buffer.write(memoryview(b"abcdef")[::2])
    assert have.buffer.read(0, 3) == b"ace"
