"""Programs: loaded segment by segment with its protection, relocated, for the right target only."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fake_kernel import FakeKernel

from pytest_amdgpu.abi.kfd import AllocFlag
from pytest_amdgpu.driver.code_object import CodeObjectError
from pytest_amdgpu.driver.compiler import compile_source
from pytest_amdgpu.driver.device import Device
from pytest_amdgpu.driver.errors import AllocationError, GpuFaultError, UseAfterFreeError
from pytest_amdgpu.driver.topology import discover
from pytest_amdgpu.emulator.kernel import EmulatedKernel
from pytest_amdgpu.families.models import model

KERNELS = Path(__file__).parents[2] / "hw_tests" / "kernels"
OBJECTS = KERNELS / "objects"

SOURCE = """
#include "gpu.h"
static const u32 a = 5, b = 6;
global u32 counter = 7;
const global u32 *const table[2] = {(const global u32 *)&a, (const global u32 *)&b};
KERNEL void pick(global u32 *out, u32 i) { out[0] = *table[i & 1] + counter; counter = 9; }
KERNEL void where(global u64 *out) { out[0] = (u64)&counter; }
KERNEL void store(u64 address) { *(volatile global u32 *)address = 1; }
"""


@pytest.fixture(params=["mi300x", "rx7900xtx"])
def software(request: pytest.FixtureRequest) -> Iterator[Device]:
    """An open software GPU."""
    kernel = EmulatedKernel([model(request.param)])
    with Device.open(kernel, discover(kernel)[0]) as opened:
        yield opened
    kernel.shutdown()


def run(device: Device, kernel, *args) -> None:
    done = device.timeline_semaphore()
    with device.compute_queue() as queue:
        queue.dispatch(kernel, 1, args).signal(done, 1).submit()
        done.wait(1, 60)


@pytest.fixture
def program(software: Device, require_ziglang: None):
    """The source above, compiled for the device."""
    return software.load(compile_source(SOURCE, software.family.name, include=[KERNELS]))


def test_data_are_relocated_and_can_be_written(software: Device, program) -> None:
    out = software.gtt(4)
    results = []
    for index in (0, 1, 1):
        run(software, program["pick"], out, index)
        results.append(int(out.view(np.uint32)[0]))
    assert results == [5 + 7, 6 + 9, 6 + 9]


@pytest.mark.parametrize("place", ["code", "constants"])
def test_a_store_to_code_or_constants_faults(software: Device, program, place: str) -> None:
    kernel = program["where"]
    address = kernel.entry_address if place == "code" else kernel.descriptor_address
    with pytest.raises(GpuFaultError, match=r"write to a read-only page") as caught:
        run(software, program["store"], address)
    assert caught.value.address == address & ~0xFFF


def test_addresses_in_code_are_those_of_the_image(software: Device, program) -> None:
    out = software.gtt(8)
    run(software, program["where"], out)
    assert int(out.view(np.uint64)[0]) == program.address + program.code_object.symbols["counter"]


def test_protections_are_those_of_the_segments(fake: FakeKernel, device: Device) -> None:
    loaded = device.load(OBJECTS / device.family.name / "transpose.co")
    rights = []
    for segment in loaded.code_object.segments:
        start = loaded.address + segment.address // 4096 * 4096
        flags = next(AllocFlag(found.flags) for found in fake.objects.values() if found.address == start)
        rights.append((AllocFlag.WRITABLE in flags, AllocFlag.EXECUTABLE in flags))
    assert rights == [(s.writable, s.executable) for s in loaded.code_object.segments]
    assert rights == [(False, False), (False, True), (True, False)]


def test_a_missing_kernel_is_named_with_those_there_are(device: Device) -> None:
    loaded = device.load(OBJECTS / device.family.name / "saxpy.co")
    with pytest.raises(KeyError, match=r"no kernel 'saxpy_f16' in .*saxpy\.co; it has: saxpy_f32, saxpy_f64"):
        loaded["saxpy_f16"]
    assert list(loaded) == ["saxpy_f32", "saxpy_f64"]


def test_another_target_is_refused_with_both_names(device: Device) -> None:
    own = device.family.name
    other = "gfx1100" if own == "gfx942" else "gfx942"
    message = f"fill.co is for {other}, but {device.name} is {own}"
    with pytest.raises(CodeObjectError, match=re.escape(message)):
        device.load(OBJECTS / other / "fill.co")


@pytest.mark.parametrize("fake", ["mi300x"], indirect=True)
@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (0x300, r"is for gfx942:xnack\+, but .* runs with xnack off"),
        (0x800, r"is for gfx942:sramecc-, but .* on$"),
    ],
)
def test_features_must_agree(device: Device, flags: int, message: str) -> None:
    """The bits of EF_AMDGPU_FEATURE_XNACK_ON_V4 and EF_AMDGPU_FEATURE_SRAMECC_OFF_V4."""
    data = bytearray((OBJECTS / "gfx942" / "fill.co").read_bytes())
    data[48:52] = (0x4C | flags).to_bytes(4, "little")
    with pytest.raises(CodeObjectError, match=message):
        device.load(bytes(data))


def test_a_freed_program_is_refused(device: Device) -> None:
    loaded = device.load(OBJECTS / device.family.name / "fill.co")
    kernel = loaded["fill"]
    loaded.free()
    with pytest.raises(
        UseAfterFreeError, match=r"program .*fill\.co .*, made at .*test_program\.py:\d+, was freed"
    ):
        device.compute_queue("pm4").dispatch(kernel, 1, [0, 0, 0])
    with pytest.raises(UseAfterFreeError):
        loaded.free()
    loaded.release()


def test_whatever_step_fails_nothing_is_left(fake: FakeKernel, device: Device) -> None:
    before = fake.held()
    for step in range(30):
        fake.fail_nth(step, errno.ENOMEM)
        try:
            loaded = device.load(OBJECTS / device.family.name / "fill.co")
        except (AllocationError, OSError):
            assert fake.held() == before
            continue
        assert fake.failures_left
        fake.forgive()
        loaded.free()
        break
    assert 6 < step < 29


def test_text_goes_to_system_memory_behind_a_small_bar() -> None:
    fake = FakeKernel("rx7900xtx", small_bar=True)
    with Device.open(fake, discover(fake)[0]) as device:
        device.load(OBJECTS / "gfx1100" / "fill.co")
        text = [AllocFlag(found.flags) for found in fake.objects.values()]
        assert any(AllocFlag.EXECUTABLE in flags and AllocFlag.GTT in flags for flags in text)
        assert not any(AllocFlag.VRAM in flags for flags in text)
