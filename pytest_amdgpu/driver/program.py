"""Programs: a code object in a GPU's memory, each segment with its own protection, and its kernels."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

from pytest_amdgpu.driver.backend import PAGE, Location, MemoryRequest
from pytest_amdgpu.driver.code_object import CodeObject, CodeObjectError, Segment, relocate
from pytest_amdgpu.driver.errors import UseAfterFreeError
from pytest_amdgpu.driver.kernarg import Argument, Grid, KernargLayout
from pytest_amdgpu.driver.kernel_metadata import KernelDescriptor, KernelInfo
from pytest_amdgpu.driver.resources import creation_site

if TYPE_CHECKING:
    from pytest_amdgpu.driver.device import Device


class ProgramKernel:
    """A kernel of a loaded program: what a dispatch needs to know of it."""

    def __init__(self, program: Program, info: KernelInfo, base: int) -> None:
        """`base` is the GPU address of the program's image."""
        backend = program.device.backend
        self.program = program
        self.info = info
        self.name = info.name
        self.descriptor: KernelDescriptor = info.descriptor
        self.descriptor_address = base + info.descriptor_address
        self.entry_address = base + info.entry_address
        self.wave_size = info.wave_size
        self.kernarg_size = info.kernarg_size
        self.group_segment_size = info.group_segment_size
        self.private_segment_size = info.private_segment_size
        self.uses_dynamic_stack = info.uses_dynamic_stack
        self._layout = KernargLayout(
            info, shared_base=backend.shared_aperture, private_base=backend.private_aperture
        )

    def pack(
        self,
        view: memoryview,
        args: Sequence[Argument],
        grid: Grid,
        block: Grid,
        dynamic_lds: int = 0,
        queue_address: int = 0,
    ) -> None:
        """Write the arguments of a launch into `view`, `kernarg_size` bytes of kernarg memory.

        `grid` and `block` are in work-items, `dynamic_lds` in bytes; `queue_address` is that of the queue's
        amd_queue_t. Raises `KernelArgumentError`, and
        `UseAfterFreeError` when the program or a buffer among the arguments was freed.
        """
        if self.program.freed:
            raise UseAfterFreeError(f"{self.program.describe()}, made at {self.program.site}, was freed")
        self._layout.pack_into(view, args, grid, block, dynamic_lds, queue_address)

    def __repr__(self) -> str:
        return f"<ProgramKernel {self.info.signature}>"


class Program:
    """A code object loaded on one GPU; `program["name"]` is a kernel.

    Text is executable and not writable, constants are neither, data are writable: a store to code or
    constants is a memory fault.
    """

    def __init__(self, device: Device, code_object: CodeObject) -> None:
        """Load; raises `CodeObjectError` if it is for another target, `AllocationError` without memory."""
        _check_target(device, code_object)
        self.device = device
        self.code_object = code_object
        self.site = creation_site()
        self.freed = False
        self.size = -(-code_object.image_size // PAGE) * PAGE
        with ExitStack() as undo:
            self.address = device.backend.reserve(self.size)
            undo.callback(device.backend.unmap_cpu, self.address, self.size)
            # Text goes where the CPU can write it: on a small BAR that is system memory.
            location = Location.VRAM if device.node.large_bar else Location.GTT
            for request in _requests(code_object.segments, location, self.address):
                undo.callback(device.backend.free, device.backend.allocate(request))
            self._write_image()
            self._undo = undo.pop_all()
        device.host_writes_vram = True
        self._kernels = {
            name: ProgramKernel(self, info, self.address) for name, info in code_object.kernels.items()
        }
        device.tracker.add(self)

    def __getitem__(self, name: str) -> ProgramKernel:
        """Return a kernel; KeyError lists those that there are."""
        try:
            return self._kernels[name]
        except KeyError:
            known = ", ".join(self._kernels) or "none"
            raise KeyError(f"no kernel {name!r} in {self.code_object.name}; it has: {known}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self._kernels)

    def __len__(self) -> int:
        return len(self._kernels)

    @property
    def extent(self) -> tuple[int, int]:
        """First address and the one behind the last, also after `free`."""
        return self.address, self.address + self.size

    def describe(self) -> str:
        """One line that says what it is."""
        return f"program {self.code_object.name} of {self.size} bytes at {self.address:#x}"

    def free(self) -> None:
        """Free its memory; a second call raises `UseAfterFreeError`."""
        if self.freed:
            raise UseAfterFreeError(f"{self.describe()}, made at {self.site}, was freed")
        self.freed = True
        self.device.tracker.discard(self)
        self._undo.close()

    def release(self) -> None:
        """Free it unless that was done before."""
        if not self.freed:
            self.free()

    def _write_image(self) -> None:
        """Lay the segments out, relocated, in memory that the CPU sees, too."""
        code_object = self.code_object
        image = bytearray(code_object.image_size)
        for segment in code_object.segments:
            image[segment.address : segment.address + len(segment.data)] = segment.data
        relocate(memoryview(image), code_object.relocations, self.address, code_object.name)
        for segment in code_object.segments:
            content = bytes(image[segment.address : segment.address + segment.size])
            ctypes.memmove(self.address + segment.address, content, len(content))


def _check_target(device: Device, code_object: CodeObject) -> None:
    """Refuse a code object that this GPU cannot run as compiled, naming both."""
    if code_object.family != device.family:
        raise CodeObjectError(
            f"{code_object.name} is for {code_object.target}, but {device.name}"
            f" {'runs as' if device.node.stand_in else 'is'} {device.family.name}"
        )
    for feature, wanted, read_actual in (
        ("xnack", code_object.xnack, device.backend.xnack_enabled),
        ("sramecc", code_object.sramecc, lambda: device.node.sramecc),
    ):
        if wanted not in ("on", "off"):
            continue
        actual = read_actual()
        if (wanted == "on") != actual:
            raise CodeObjectError(
                f"{code_object.name} is for {code_object.target}, but {device.name} runs with "
                f"{feature} {'on' if actual else 'off'}"
            )


def _requests(segments: Sequence[Segment], location: Location, base: int) -> Iterator[MemoryRequest]:
    """Ask for the pages of each segment; segments that share a page share the wider protection."""
    pages: list[tuple[int, int, bool, bool]] = []
    for segment in segments:
        first = segment.address // PAGE * PAGE
        end = -(-(segment.address + segment.size) // PAGE) * PAGE
        writable, executable = segment.writable, segment.executable
        if pages and first < pages[-1][1]:
            first, _, before_writable, before_executable = pages.pop()
            writable, executable = writable or before_writable, executable or before_executable
        pages.append((first, end, writable, executable))
    for first, end, writable, executable in pages:
        yield MemoryRequest(
            location, end - first, executable=executable, writable=writable, address=base + first
        )
