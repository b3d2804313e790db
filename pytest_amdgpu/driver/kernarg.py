"""Kernel arguments: placed in the kernarg segment as the code object's metadata says.

Hidden arguments and their meaning: LLVM's "User Guide for AMDGPU Backend", "Code Object V5 Metadata".
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from pytest_amdgpu.driver.arguments import shown
from pytest_amdgpu.driver.kernel_metadata import KernelArgument, KernelInfo

Grid = tuple[int, int, int]
Converter = Callable[[Any], object]

POINTER_KINDS = ("global_buffer", "dynamic_shared_pointer")
_FLOAT_CODES = {2: "e", 4: "f", 8: "d"}
_MASKS = {1: 0xFF, 2: 0xFFFF, 4: 0xFFFF_FFFF, 8: 0xFFFF_FFFF_FFFF_FFFF}
_INT_CODES = {1: "B", 2: "H", 4: "I", 8: "Q"}


class KernelArgumentError(TypeError):
    """The arguments of a dispatch do not fit the kernel's signature, which the message shows."""


class Addressed(Protocol):
    """A buffer, or anything else that lies at a GPU address."""

    @property
    def address(self) -> int:
        """The GPU address."""


Argument = Addressed | int | float | bytes | np.generic

HIDDEN_NULL = frozenset(
    {
        "hidden_none",
        "hidden_global_offset_x",
        "hidden_global_offset_y",
        "hidden_global_offset_z",
        "hidden_printf_buffer",
        "hidden_hostcall_buffer",
        "hidden_default_queue",
        "hidden_completion_action",
        "hidden_multigrid_sync_arg",
        "hidden_heap_v1",
    }
)
"""Hidden arguments that are zero here. Those that are pointers belong to a language runtime (printf,
device-side malloc and enqueue) that does not exist below HIP: a kernel that uses one faults at address 0."""


class KernargLayout:
    """Packs the arguments of one kernel; what depends only on types or on the launch is made once."""

    def __init__(self, info: KernelInfo, *, shared_base: int, private_base: int) -> None:
        """`shared_base` and `private_base` are the apertures' addresses, for kernels that ask for them."""
        self._info = info
        self._explicit = tuple(argument for argument in info.arguments if not argument.hidden)
        self._hidden = tuple(argument for argument in info.arguments if argument.hidden)
        self._apertures = {
            "hidden_shared_base": shared_base >> 32,
            "hidden_private_base": private_base >> 32,
        }
        self._queue_pointer = next(
            (argument.offset for argument in self._hidden if argument.kind == "hidden_queue_ptr"), None
        )
        self._hidden_start = min((argument.offset for argument in self._hidden), default=info.kernarg_size)
        self._plans: dict[tuple[type, ...], tuple[struct.Struct, tuple[Converter, ...]]] = {}
        self._launches: dict[tuple[Grid, Grid, int], bytes] = {}
        for argument in self._explicit:
            if argument.kind not in POINTER_KINDS and argument.kind != "by_value":
                raise KernelArgumentError(
                    f"{info.signature}: arguments of kind {argument.kind} are not supported"
                )

    def pack_into(
        self,
        view: memoryview,
        args: Sequence[Argument],
        grid: Grid,
        block: Grid,
        dynamic_lds: int = 0,
        queue_address: int = 0,
    ) -> None:
        """Write all arguments into `view`, a kernarg segment of the kernel's `kernarg_size` bytes.

        `grid` is in work-items, `block` in work-items of a work-group; `queue_address` is that of the
        queue's amd_queue_t, for kernels that ask for it. Raises `KernelArgumentError`.
        """
        if type(args) is not list and type(args) is not tuple:
            self._check_container(args)
        key = tuple(map(type, args))
        plan = self._plans.get(key)
        if plan is None:
            plan = self._plans[key] = self._plan(args)
        layout, converters = plan
        try:
            layout.pack_into(
                view, 0, *[convert(value) for convert, value in zip(converters, args, strict=True)]
            )
        except (struct.error, OverflowError) as error:
            raise KernelArgumentError(f"{self._info.signature}: {error}") from error
        if self._hidden:
            launch = self._launches.get((grid, block, dynamic_lds))
            if launch is None:
                launch = self._pack_hidden(grid, block, dynamic_lds)
            struct.pack_into(f"{len(launch)}s", view, self._hidden_start, launch)
            if self._queue_pointer is not None:
                struct.pack_into("<Q", view, self._queue_pointer, queue_address)

    def _check_container(self, args: object) -> None:
        if not isinstance(args, Sequence) or isinstance(args, str | bytes | bytearray):
            raise KernelArgumentError(
                f"{self._info.signature}: the arguments are given as a list or tuple, not as {shown(args)}"
            )

    def _plan(self, args: Sequence[Argument]) -> tuple[struct.Struct, tuple[Converter, ...]]:
        """Make the struct and the converters for arguments of these types."""
        if len(args) != len(self._explicit):
            raise KernelArgumentError(
                f"{self._info.signature} takes {len(self._explicit)} arguments, not {len(args)}"
            )
        codes, converters, end = ["<"], [], 0
        for argument, value in zip(self._explicit, args, strict=True):
            code, convert = self._converter(argument, value)
            codes.append(f"{argument.offset - end}x{code}")
            converters.append(convert)
            end = argument.offset + argument.size
        return struct.Struct("".join(codes)), tuple(converters)

    def _converter(self, argument: KernelArgument, value: Argument) -> tuple[str, Converter]:
        """Choose how a value of this type becomes the bytes of this argument."""
        size = argument.size
        if isinstance(value, np.generic):
            if argument.kind != "by_value" and not isinstance(value, np.integer):
                raise self._wrong(argument, f"{value.dtype} is not a pointer")
            if value.dtype.itemsize != size:
                raise self._wrong(argument, f"{value.dtype} has {value.dtype.itemsize} bytes")
            return f"{size}s", lambda scalar: scalar.tobytes()
        if isinstance(value, bytes):
            if argument.kind != "by_value":
                raise self._wrong(argument, "bytes are not a pointer")
            return f"{size}s", self._exact_bytes(argument)
        if isinstance(value, int) and size in _INT_CODES:
            return _INT_CODES[size], self._exact_int(argument)
        if isinstance(value, float) and argument.kind == "by_value" and size in _FLOAT_CODES:
            return _FLOAT_CODES[size], lambda number: number
        if hasattr(value, "address") and size == 8:
            return "Q", lambda buffer: buffer.address
        raise self._wrong(argument, f"{type(value).__name__} does not fit")

    def _exact_int(self, argument: KernelArgument) -> Converter:
        mask, lowest = _MASKS[argument.size], -(_MASKS[argument.size] >> 1) - 1

        def convert(value: int) -> int:
            if not lowest <= value <= mask:
                raise self._wrong(argument, f"{value} is out of range")
            return value & mask

        return convert

    def _exact_bytes(self, argument: KernelArgument) -> Converter:
        def convert(value: bytes) -> bytes:
            if len(value) != argument.size:
                raise self._wrong(argument, f"{len(value)} bytes given")
            return value

        return convert

    def _wrong(self, argument: KernelArgument, reason: str) -> KernelArgumentError:
        return KernelArgumentError(f"{self._info.signature}: argument {argument.name}: {reason}")

    def _pack_hidden(self, grid: Grid, block: Grid, dynamic_lds: int) -> bytes:
        """Make the hidden part of the segment for a launch, and keep it for the next one like it."""
        values: dict[str, int] = {
            "hidden_grid_dims": max((axis + 1 for axis in range(3) if grid[axis] > 1), default=1),
            "hidden_dynamic_lds_size": dynamic_lds,
            **self._apertures,
        }
        for axis, letter in enumerate("xyz"):
            values[f"hidden_block_count_{letter}"] = grid[axis] // block[axis]
            values[f"hidden_group_size_{letter}"] = block[axis]
            values[f"hidden_remainder_{letter}"] = grid[axis] % block[axis]
        packed = bytearray(self._info.kernarg_size - self._hidden_start)
        for argument in self._hidden:
            if argument.kind in HIDDEN_NULL or argument.offset == self._queue_pointer:
                continue
            if argument.kind not in values:
                raise KernelArgumentError(f"{self._info.name}: unknown hidden argument {argument.kind}")
            start = argument.offset - self._hidden_start
            packed[start : start + argument.size] = values[argument.kind].to_bytes(argument.size, "little")
        launch = self._launches[grid, block, dynamic_lds] = bytes(packed)
        return launch
