"""Memory that tests see: addresses for the GPU, numpy views for the CPU, and bounds on both."""

from __future__ import annotations

import ctypes
import weakref
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import numpy.typing as npt

from pytest_amdgpu.driver.arguments import check_device, shown, whole_number
from pytest_amdgpu.driver.backend import Allocation, Backend
from pytest_amdgpu.driver.errors import (
    ArgumentTypeError,
    BufferBoundsError,
    NotCpuVisibleError,
    PeerAccessError,
    SmallBarError,
    UseAfterFreeError,
)
from pytest_amdgpu.driver.resources import Tracker, creation_site
from pytest_amdgpu.driver.shared_memory import SharedMemory

if TYPE_CHECKING:
    from pytest_amdgpu.driver.device import Device


_BYTE = 255


class Buffer:
    """A piece of memory that one or more GPUs can reach, at the same address on all of them and the CPU.

    Sizes and offsets are in bytes. Every access is checked: `BufferBoundsError` outside the buffer,
    `UseAfterFreeError` after `free`, `NotCpuVisibleError` where the CPU has no mapping (`SmallBarError` where
    that is the machine's doing).
    """

    def __init__(
        self,
        backend: Backend,
        allocation: Allocation,
        size: int,
        tracker: Tracker | None = None,
        *,
        offset: int = 0,
        owner: object = None,
    ) -> None:
        """`size` bytes from `offset` in `allocation`; `owner` is what keeps user memory alive."""
        self._backend = backend
        self._allocation: Allocation | None = allocation
        self._tracker = tracker
        self._owner = owner
        self._address = allocation.address + offset
        self.size = size
        self.location = allocation.request.location.value
        """`vram`, `gtt` or `userptr`."""
        self.cpu_visible = allocation.request.cpu_visible
        self.behind_small_bar = False
        """Whether the CPU would see it but for the size of the PCI BAR."""
        self.site = creation_site()
        self._memory: ctypes.Array[ctypes.c_ubyte] | None = None
        if self.cpu_visible:
            self._memory = (ctypes.c_ubyte * size).from_address(self._address)
        if tracker is not None:
            tracker.add(self)

    @property
    def address(self) -> int:
        """Where it is, for the GPU and (if `cpu_visible`) for the CPU."""
        if self._allocation is None:
            self._refuse_freed()
        return self._address

    @property
    def extent(self) -> tuple[int, int]:
        """First address and the one behind the last, also after `free`."""
        return self._address, self._address + self.size

    @property
    def allocation(self) -> Allocation:
        """What the backend gave."""
        if self._allocation is None:
            self._refuse_freed()
        return self._allocation

    @property
    def array(self) -> npt.NDArray[np.uint8]:
        """All bytes as a numpy array, which stays valid memory (if useless) even after `free`."""
        return np.frombuffer(self.memory, dtype=np.uint8)

    @property
    def memory(self) -> memoryview:
        """All bytes as a memoryview, which is faster than numpy for single words."""
        return memoryview(self._cpu_memory()).cast("B")

    def view(self, dtype: npt.DTypeLike, offset: int = 0, count: int | None = None) -> npt.NDArray[Any]:
        """Return `count` elements from byte `offset` on as an array (default: as many as fit)."""
        try:
            kind = np.dtype(dtype)
        except TypeError as error:
            raise ArgumentTypeError(f"dtype is a type of numpy's, not {shown(dtype)}: {error}") from error
        if kind.hasobject or not kind.itemsize:
            raise ArgumentTypeError(f"elements of type {kind} have no bytes in memory of a GPU")
        if count is None:
            self.check_range(offset, 0)
            count = (self.size - offset) // kind.itemsize
        self.check_range(offset, whole_number(count, "count") * kind.itemsize)
        return np.frombuffer(self.memory, dtype=dtype, count=count, offset=offset)

    def read(self, offset: int = 0, size: int | None = None) -> bytes:
        """Copy bytes out (default: all from `offset`)."""
        length = self._length(offset, size)
        return bytes(self.memory[offset : offset + length])

    def write(self, data: bytes | bytearray | memoryview | npt.NDArray[Any], offset: int = 0) -> None:
        """Copy bytes, or the bytes of an array, in."""
        source = _bytes_of(data)
        self.check_range(offset, len(source))
        self.memory[offset : offset + len(source)] = source

    def fill(self, value: int, offset: int = 0, size: int | None = None) -> None:
        """Set bytes to `value` (0 to 255) from the CPU."""
        length = self._length(offset, size)
        value = whole_number(value, "the value of a byte")
        if not 0 <= value <= _BYTE:
            raise ValueError(f"{value} is not the value of a byte (0 to {_BYTE})")
        self.array[offset : offset + length] = value

    def check_range(self, offset: int, size: int) -> None:
        """Raise `BufferBoundsError` unless `size` bytes from `offset` lie inside."""
        if type(offset) is not int or type(size) is not int:
            offset, size = whole_number(offset, "an offset in bytes"), whole_number(size, "a size in bytes")
        if offset < 0 or size < 0 or offset + size > self.size:
            raise BufferBoundsError(f"bytes {offset} to {offset + size} are not inside {self.describe()}")

    def __getitem__(self, key: slice) -> BufferSlice:
        """Return a part of the buffer, for copies; like a range of bytes, but never clipped."""
        if not isinstance(key, slice):
            raise TypeError(f"a buffer is sliced (buffer[a:b]), not indexed with {key!r}; see .array")
        if key.step not in (None, 1):
            raise BufferBoundsError(f"a slice of a buffer is contiguous, its step cannot be {key.step}")
        start = 0 if key.start is None else whole_number(key.start, "the start of a slice, in bytes,")
        stop = self.size if key.stop is None else whole_number(key.stop, "the end of a slice, in bytes,")
        self.check_range(start, stop - start)
        return BufferSlice(self, start, stop - start)

    def __len__(self) -> int:
        return self.size

    def map_to(self, device: Device) -> None:
        """Let another GPU reach this buffer, until it is freed; harmless where it can already.

        Raises `PeerAccessError` with the reason where it cannot.
        """
        check_device(device, "what a buffer is mapped to")
        device.check_open()
        if device.kernel is not self._backend.kernel:
            raise PeerAccessError(f"{device.name} is behind another kernel than {self.describe()}")
        self._backend.map_to_peer(self.allocation, device.backend)

    def export(self) -> SharedMemory:
        """Make a descriptor of the memory, with which another process can `Device.import_buffer` it.

        The memory lives as long as anybody has it. Raises `SharingError` for memory of the process.
        """
        return SharedMemory(self._backend, self.allocation, self.size, self._tracker)

    @property
    def freed(self) -> bool:
        """Whether `free` was called."""
        return self._allocation is None

    def free(self) -> None:
        """Unmap it from all GPUs and free it; a second call raises `UseAfterFreeError`.

        Arrays that were taken from it keep the CPU's mapping until they are gone, so that they never
        point at memory of something else.
        """
        allocation = self.allocation
        self._backend.free(allocation)
        self._allocation = None
        if self._tracker is not None:
            self._tracker.discard(self)
        memory, self._memory = self._memory, None
        if self._owner is not None:
            return
        if memory is not None:
            alive = weakref.ref(memory)
            del memory
            still_used = alive()
            if still_used is not None:
                unmap = weakref.finalize(
                    still_used, self._backend.unmap_cpu, allocation.address, allocation.size
                )
                unmap.atexit = False
                return
        self._backend.unmap_cpu(allocation.address, allocation.size)

    def release(self) -> None:
        """Free it unless that was done before."""
        if self._allocation is not None:
            self.free()

    def describe(self) -> str:
        """One line that says what it is."""
        return f"a {self.location} buffer of {self.size} bytes at {self._address:#x}"

    def __repr__(self) -> str:
        return f"<Buffer: {self.describe()}{' (freed)' if self.freed else ''}>"

    def _length(self, offset: int, size: int | None) -> int:
        """Return how many bytes from `offset` are meant, if they lie inside."""
        length = self.size - whole_number(offset, "an offset in bytes") if size is None else size
        self.check_range(offset, length)
        return length

    def _cpu_memory(self) -> ctypes.Array[ctypes.c_ubyte]:
        if self._memory is None:
            if self._allocation is None:
                self._refuse_freed()
            if self.behind_small_bar:
                raise SmallBarError(self._backend.node.description)
            raise NotCpuVisibleError(f"{self.describe()} was made with cpu_visible=False")
        return self._memory

    def _refuse_freed(self) -> NoReturn:
        raise UseAfterFreeError(f"{self.describe()}, made at {self.site}, was freed")


def _bytes_of(data: Any) -> memoryview:
    """Return the bytes of an array, or of what has bytes."""
    if isinstance(data, np.ndarray):
        if data.dtype.hasobject:
            raise ArgumentTypeError(f"an array of {data.dtype} holds Python's objects, not bytes to write")
        return memoryview(data.tobytes())
    try:
        view = memoryview(data)
    except TypeError:
        raise ArgumentTypeError(f"what is written is bytes or an array, not {shown(data)}") from None
    return view.cast("B") if view.c_contiguous else memoryview(view.tobytes())


class BufferSlice:
    """Bytes of a buffer from `offset` on; usable where a command takes a buffer."""

    __slots__ = ("buffer", "offset", "size")

    def __init__(self, buffer: Buffer, offset: int, size: int) -> None:
        self.buffer = buffer
        self.offset = offset
        self.size = size

    @property
    def address(self) -> int:
        """Where it starts."""
        return self.buffer.address + self.offset

    @property
    def array(self) -> npt.NDArray[np.uint8]:
        """Its bytes as a numpy array."""
        return self.buffer.view(np.uint8, self.offset, self.size)

    def describe(self) -> str:
        """One line that says what it is."""
        return f"bytes {self.offset} to {self.offset + self.size} of {self.buffer.describe()}"

    def __repr__(self) -> str:
        return f"<BufferSlice: {self.describe()}>"
