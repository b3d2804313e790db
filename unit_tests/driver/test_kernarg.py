"""Kernel arguments, checked against the layout that the C compiler and the metadata give."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from pytest_amdgpu.driver.code_object import parse
from pytest_amdgpu.driver.kernarg import KernargLayout, KernelArgumentError
from pytest_amdgpu.driver.kernel_metadata import KernelArgument, KernelDescriptor, KernelInfo

OBJECTS = Path(__file__).parents[2] / "hw_tests" / "kernels" / "objects"
GRID, BLOCK = (1000, 3, 1), (64, 2, 1)


@dataclass
class Memory:
    address: int


def layout(info: KernelInfo) -> KernargLayout:
    return KernargLayout(info, shared_base=1 << 48, private_base=2 << 48)


def pack(info: KernelInfo, *args: object, grid=GRID, block=BLOCK) -> bytes:
    view = memoryview(bytearray(b"\xee" * info.kernarg_size))
    layout(info).pack_into(view, args, grid, block)
    return bytes(view)


def kernel(*arguments: KernelArgument, size: int) -> KernelInfo:
    descriptor = KernelDescriptor(0, 0, size, 256, 0, 0, 0, 8, 0)
    return KernelInfo("k", descriptor, 0, arguments, size, 0, 0, 64, 1024, None, False)


def value(offset: int, size: int) -> KernelArgument:
    return KernelArgument(f"a{offset}", offset, size, "by_value")


@pytest.fixture(scope="module")
def launch() -> KernelInfo:
    """A kernel that clang gave every hidden argument."""
    return parse((OBJECTS / "gfx1100" / "hidden.co").read_bytes()).kernels["launch"]


def test_explicit_arguments_lie_as_a_c_struct():
    info = kernel(
        KernelArgument("p", 0, 8, "global_buffer"),
        *(value(8, 1), value(10, 2), value(12, 4), value(16, 8), value(24, 4), value(32, 8)),
        size=40,
    )
    packed = pack(info, Memory(0x7F00_1234_5000), 7, -2, -3, -4, 1.5, -0.1)
    assert packed[:9] + packed[10:28] + packed[32:] == (
        struct.pack("<QB", 0x7F00_1234_5000, 7)
        + struct.pack("<hiqf", -2, -3, -4, 1.5)
        + struct.pack("<d", -0.1)
    )


@pytest.mark.parametrize(
    "scalar", [np.float16(1.5), np.uint32(7), np.int64(-9), np.float64(0.1), np.uint8(255)]
)
def test_numpy_scalars_keep_their_bytes(scalar):
    size = scalar.dtype.itemsize
    assert pack(kernel(value(0, size), size=size), scalar) == scalar.tobytes()


def test_bytes_fill_a_struct():
    assert pack(kernel(value(0, 12), size=12), b"0123456789ab") == b"0123456789ab"


def test_hidden_arguments_describe_the_launch(launch):
    packed = pack(launch, Memory(0x1000))
    at = {argument.kind: argument for argument in launch.arguments}

    def read(kind: str) -> int:
        argument = at[f"hidden_{kind}"]
        return int.from_bytes(packed[argument.offset : argument.offset + argument.size], "little")

    assert [read(f"block_count_{axis}") for axis in "xyz"] == [15, 1, 1]
    assert [read(f"group_size_{axis}") for axis in "xyz"] == [64, 2, 1]
    assert [read(f"remainder_{axis}") for axis in "xyz"] == [40, 1, 0]
    assert [read(f"global_offset_{axis}") for axis in "xyz"] == [0, 0, 0]
    assert read("grid_dims") == 2


@pytest.mark.parametrize(("grid", "dims"), [((1, 1, 1), 1), ((9, 1, 1), 1), ((1, 2, 1), 2), ((1, 1, 2), 3)])
def test_grid_dims_counts_to_the_last_axis_in_use(launch, grid, dims):
    packed = pack(launch, Memory(0), grid=grid, block=(1, 1, 1))
    offset = next(a.offset for a in launch.arguments if a.kind == "hidden_grid_dims")
    assert packed[offset] == dims


def test_apertures_are_the_upper_halves_of_their_addresses():
    info = kernel(
        KernelArgument("s", 0, 4, "hidden_shared_base"),
        KernelArgument("p", 4, 4, "hidden_private_base"),
        size=8,
    )
    assert pack(info) == struct.pack("<II", 1 << 16, 2 << 16)


def test_the_queue_is_given_to_kernels_that_ask_for_it():
    info = kernel(value(0, 4), KernelArgument("q", 8, 8, "hidden_queue_ptr"), size=16)
    view = memoryview(bytearray(16))
    layout(info).pack_into(view, [7], GRID, BLOCK, 0, 0x7F00_0000_1000)
    assert bytes(view) == struct.pack("<I4xQ", 7, 0x7F00_0000_1000)


def test_another_launch_gets_its_own_hidden_arguments(launch):
    arguments, view = layout(launch), memoryview(bytearray(launch.kernarg_size))
    results = []
    for grid in ((64, 1, 1), (128, 1, 1), (64, 1, 1)):
        arguments.pack_into(view, [Memory(0)], grid, (64, 1, 1))
        results.append(bytes(view))
    assert results[0] == results[2] != results[1]


PAIR = kernel(KernelArgument("p", 0, 8, "global_buffer"), value(8, 4), size=12)
SIGNATURE = "k(p: global_buffer of 8 bytes at 0, a8: by_value of 4 bytes at 8)"


@pytest.mark.parametrize(
    ("args", "reason"),
    [
        ((), " takes 2 arguments, not 0"),
        ((Memory(0), 1, 2), " takes 2 arguments, not 3"),
        ((Memory(0), "text"), ": argument a8: str does not fit"),
        ((Memory(0), Memory(0)), ": argument a8: Memory does not fit"),
        ((1.5, 1), ": argument p: float does not fit"),
        ((np.float64(1), 1), ": argument p: float64 is not a pointer"),
        ((b"12345678", 1), ": argument p: bytes are not a pointer"),
        ((Memory(0), 1 << 32), ": argument a8: 4294967296 is out of range"),
        ((Memory(0), -(1 << 31) - 1), ": argument a8: -2147483649 is out of range"),
        ((Memory(0), np.float64(1)), ": argument a8: float64 has 8 bytes"),
        ((Memory(0), b"123"), ": argument a8: 3 bytes given"),
        ((Memory(0), 1e300), ": float too large to pack with f format"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_signature(args, reason):
    with pytest.raises(KernelArgumentError, match=re.escape(SIGNATURE + reason)):
        pack(PAIR, *args)


@pytest.mark.parametrize("scalar", [True, 7])
def test_a_number_does_not_fit_a_struct(scalar):
    with pytest.raises(KernelArgumentError, match=f"argument a0: {type(scalar).__name__} does not fit"):
        pack(kernel(value(0, 12), size=12), scalar)


def test_an_unknown_hidden_argument_is_refused_by_name():
    info = kernel(KernelArgument("h", 0, 8, "hidden_future"), size=8)
    with pytest.raises(KernelArgumentError, match="k: unknown hidden argument hidden_future"):
        pack(info)


def test_an_explicit_argument_of_an_unknown_kind_is_refused():
    with pytest.raises(KernelArgumentError, match="arguments of kind sampler are not supported"):
        layout(kernel(KernelArgument("t", 0, 8, "sampler"), size=8))
