"""GPU memory as an engine or wave sees it: buffer objects, mappings, an address space per process and GPU.

A GPU address means nothing to the host. Every access goes through `AddressSpace`, which plays the page
table: an access outside a mapping, or without permission, raises `VmFault`.
"""

from __future__ import annotations

import enum
import threading
from bisect import bisect_right
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    # Not needed before there is memory: who only looks at the GPUs does not pay for the import.
    import numpy as np
    import numpy.typing as npt

    from pytest_amdgpu.emulator.arena import HostMemory

PAGE_SIZE = 4096
ADDRESS_LIMIT = 1 << 48
"""The page tables of every supported generation translate 48 bits."""

Bytes: TypeAlias = "npt.NDArray[np.uint8]"


class Access(enum.Enum):
    """What an access wanted to do."""

    READ = "read"
    WRITE = "write"
    EXECUTE = "execute"
    ATOMIC = "atomic"


class Reason(enum.Enum):
    """Why the page tables refused an access."""

    NOT_PRESENT = "not present"
    READ_ONLY = "read-only"
    NO_EXECUTE = "not executable"


class VmFault(Exception):
    """A GPU access that the page tables refuse; `address` is the first byte that cannot be accessed."""

    def __init__(self, address: int, access: Access, reason: Reason) -> None:
        super().__init__(f"{access.value} of {address:#x}: page is {reason.value}")
        self.address = address
        self.access = access
        self.reason = reason


class PoisonConsumed(Exception):
    """A GPU read of memory with an uncorrectable error; `address` is the first bad byte that it met."""

    def __init__(self, address: int) -> None:
        super().__init__(f"read of {address:#x}: memory is poisoned")
        self.address = address


class Location(enum.Enum):
    """Where a buffer object lives."""

    VRAM = "vram"
    GTT = "gtt"
    USERPTR = "userptr"
    DOORBELL = "doorbell"
    MMIO = "mmio"
    SVM = "svm"
    """The client's own memory at its own address, without a buffer object of KFD's."""


@dataclass(eq=False)
class BufferObject:
    """Memory that can be mapped into GPU address spaces.

    `data` is the emulator's own view of the memory, a whole number of pages. `handle` is the KFD handle
    and `gpu_id` the GPU it was allocated on (0 where a test needs neither). `va` is the address recorded at
    allocation, where it will be mapped on every GPU. `mmap_offset` is the offset to mmap on the render node.
    """

    data: Bytes
    location: Location = Location.VRAM
    handle: int = 0
    gpu_id: int = 0
    va: int = 0
    writable: bool = True
    executable: bool = True
    uncached: bool = False
    mmap_offset: int = 0
    memory: HostMemory | None = None
    """What backs `data`, for the client's mappings; None for memory that is the client's own."""
    cpu_visible: bool = True
    mappings: dict[int, Mapping] = field(default_factory=dict)
    """The mapping on each GPU, by gpu_id."""
    home_gpu_id: int = 0
    """The GPU whose memory it is, where that is not `gpu_id`; 0 where it is."""
    imported: bool = False
    """Whether the memory was allocated by another buffer object, which is charged for it."""
    vram_charge: int = 0
    """Bytes of it that amdkfd counts as memory of its GPU (`SoftwareGpu.charge`)."""
    poison: list[tuple[int, int]] = field(default_factory=list)
    """Bytes [start, end) of it whose contents an uncorrectable error has destroyed."""

    @property
    def size(self) -> int:
        """Size in bytes, a whole number of pages."""
        return self.data.size

    @property
    def home(self) -> int:
        """The gpu_id of the GPU whose memory it is."""
        return self.home_gpu_id or self.gpu_id


class Mapping:
    """A buffer object at an address of one address space: bytes [start, end)."""

    __slots__ = (
        "bo",
        "data",
        "end",
        "executable",
        "queue_references",
        "start",
        "u32",
        "u64",
        "uncached",
        "writable",
    )

    def __init__(self, start: int, bo: BufferObject) -> None:
        self.start = start
        self.end = start + bo.size
        self.bo = bo
        self.data = bo.data
        self.writable = bo.writable
        self.executable = bo.executable
        self.uncached = bo.uncached
        # An aligned item of a memoryview is one load or store, and cheaper than a numpy scalar.
        self.u32 = bo.data.data.cast("I")
        self.u64 = bo.data.data.cast("Q")
        self.queue_references = 0

    def __repr__(self) -> str:
        rights = "r" + "w" * self.writable + "x" * self.executable
        return f"<Mapping {self.start:#x}-{self.end:#x} {rights} {self.bo.location.value}>"


class AddressSpace:
    """The mappings of one process on one GPU.

    Mapping and unmapping may happen while engines read: a reader sees the table before or after.
    `version` changes with every change of the table, for those who cache translations. Address spaces
    whose buffers can be shared must share `atomic_lock` and `changed`; the defaults suit a lone one.
    """

    def __init__(
        self, atomic_lock: threading.RLock | None = None, changed: threading.Condition | None = None
    ) -> None:
        self.atomic_lock = atomic_lock or threading.RLock()
        """To be held for every read-modify-write."""
        self.changed = changed or threading.Condition()
        """Notified after writes of engines that others may poll."""
        self.version = 0
        self.poisoned: tuple[tuple[int, int], ...] = ()
        """Addresses [start, end) at which poisoned memory is mapped."""
        self._lock = threading.Lock()
        # Replaced as a whole and never changed in place, so that readers need no lock.
        self._table: tuple[list[int], list[Mapping]] = ([], [])

    @property
    def mappings(self) -> tuple[Mapping, ...]:
        """All mappings, by address."""
        return tuple(self._table[1])

    def overlaps(self, start: int, end: int) -> Mapping | None:
        """Return a mapping that has bytes of [start, end), if any."""
        starts, mappings = self._table
        index = bisect_right(starts, end - 1) - 1
        return mappings[index] if index >= 0 and mappings[index].end > start else None

    def map(self, start: int, bo: BufferObject) -> Mapping:
        """Map a whole buffer object; ValueError for an address that is unaligned, too high or in use."""
        mapping = Mapping(start, bo)
        if (
            start % PAGE_SIZE
            or bo.size % PAGE_SIZE
            or not bo.size
            or not 0 <= start <= ADDRESS_LIMIT - bo.size
        ):
            raise ValueError(f"cannot map {bo.size} bytes at {start:#x}: not whole pages below 2^48")
        with self._lock:
            other = self.overlaps(start, mapping.end)
            if other is not None:
                raise ValueError(f"{mapping!r} overlaps {other!r}")
            starts, mappings = self._table
            index = bisect_right(starts, start)
            self._table = (
                [*starts[:index], start, *starts[index:]],
                [*mappings[:index], mapping, *mappings[index:]],
            )
            self.version += 1
        if bo.poison:
            self.find_poison()
        return mapping

    def unmap(self, mapping: Mapping) -> None:
        """Remove a mapping; ValueError if it is not here."""
        with self._lock:
            starts, mappings = self._table
            index = mappings.index(mapping)
            self._table = (starts[:index] + starts[index + 1 :], mappings[:index] + mappings[index + 1 :])
            self.version += 1
        if mapping.bo.poison:
            self.find_poison()

    def find_poison(self) -> None:
        """Take note of which addresses lead to poisoned memory now."""
        with self._lock:
            self.poisoned = tuple(
                (mapping.start + first, mapping.start + last)
                for mapping in self._table[1]
                for first, last in mapping.bo.poison
            )
            self.version += 1

    def check_poison(self, va: int, size: int) -> None:
        """Raise PoisonConsumed if a read of [va, va+size) meets poison; called before anything is read."""
        met = [max(start, va) for start, end in self.poisoned if start < va + size and va < end]
        if met:
            raise PoisonConsumed(min(met))

    def find(self, va: int) -> Mapping | None:
        """Return the mapping that holds an address, if any."""
        starts, mappings = self._table
        index = bisect_right(starts, va) - 1
        if index >= 0 and va < mappings[index].end:
            return mappings[index]
        return None

    def translate(self, va: int, access: Access) -> Mapping:
        """Return the mapping that holds an address and permits the access, or raise VmFault."""
        mapping = self.find(va)
        if mapping is None:
            raise VmFault(va, access, Reason.NOT_PRESENT)
        if access is Access.READ:
            return mapping
        if access is Access.EXECUTE:
            if not mapping.executable:
                raise VmFault(va, access, Reason.NO_EXECUTE)
        elif not mapping.writable:
            raise VmFault(va, access, Reason.READ_ONLY)
        return mapping

    def view(self, va: int, size: int, access: Access) -> Bytes:
        """Return the bytes [va, va+size) in place; they must lie in one mapping, else VmFault at its end."""
        mapping = self.translate(va, access)
        if va + size > mapping.end:
            raise VmFault(mapping.end, access, Reason.NOT_PRESENT)
        if self.poisoned and access is not Access.WRITE:
            self.check_poison(va, size)
        offset = va - mapping.start
        return mapping.data[offset : offset + size]

    def spans(self, va: int, size: int, access: Access) -> list[Bytes]:
        """Return the bytes [va, va+size) in place, as consecutive pieces of adjacent mappings."""
        pieces = []
        end = va + size
        while va < end:
            mapping = self.translate(va, access)
            stop = min(end, mapping.end)
            if self.poisoned and access is not Access.WRITE:
                self.check_poison(va, stop - va)
            pieces.append(mapping.data[va - mapping.start : stop - mapping.start])
            va = stop
        return pieces

    def read(self, va: int, size: int) -> bytes:
        """Copy bytes out of GPU memory."""
        return b"".join(piece.tobytes() for piece in self.spans(va, size, Access.READ))

    def write(self, va: int, data: bytes) -> None:
        """Copy bytes into GPU memory; nothing is written if any of them cannot be."""
        source = memoryview(data)
        offset = 0
        for piece in self.spans(va, len(data), Access.WRITE):
            piece.data[:] = source[offset : offset + piece.size]
            offset += piece.size

    def read_u32(self, va: int) -> int:
        """Load 32 bits at once; ValueError if the address is not a multiple of 4."""
        if va & 3:
            raise ValueError(f"32-bit load from unaligned address {va:#x}")
        mapping = self.translate(va, Access.READ)
        if self.poisoned:
            self.check_poison(va, 4)
        return mapping.u32[(va - mapping.start) >> 2]

    def read_u64(self, va: int) -> int:
        """Load 64 bits at once; ValueError if the address is not a multiple of 8."""
        if va & 7:
            raise ValueError(f"64-bit load from unaligned address {va:#x}")
        mapping = self.translate(va, Access.READ)
        if self.poisoned:
            self.check_poison(va, 8)
        return mapping.u64[(va - mapping.start) >> 3]

    def write_u32(self, va: int, value: int) -> None:
        """Store 32 bits at once; ValueError if the address is not a multiple of 4."""
        if va & 3:
            raise ValueError(f"32-bit store to unaligned address {va:#x}")
        mapping = self.translate(va, Access.WRITE)
        mapping.u32[(va - mapping.start) >> 2] = value

    def write_u64(self, va: int, value: int) -> None:
        """Store 64 bits at once; ValueError if the address is not a multiple of 8."""
        if va & 7:
            raise ValueError(f"64-bit store to unaligned address {va:#x}")
        mapping = self.translate(va, Access.WRITE)
        mapping.u64[(va - mapping.start) >> 3] = value

    def notify(self) -> None:
        """Wake whoever polls memory, after a write that may end the wait."""
        with self.changed:
            self.changed.notify_all()
