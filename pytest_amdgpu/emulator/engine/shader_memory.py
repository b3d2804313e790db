"""Memory as shaders see it through their caches: the worst case that hardware allows, always.

What a shader writes to cacheable memory reaches memory when a release writes the caches back, and never
before; what it has read once it reads again unchanged until an acquire invalidates. So a driver that forgets
either gets wrong data at once, and not once in a thousand runs.

Each cacheable buffer that shaders touch has a copy (what the caches hold) and, once written, a second one
(what memory held), so that writing back touches only the dwords that shaders have changed. All queues of a
process on a GPU share this one cache. Uncached buffers are not copied; nor are those beyond `LARGEST`, most
of which any real cache would have evicted. The command processor is a client of the same cache: see
`CommandMemory`.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt

from pytest_amdgpu.emulator.engine.caches import Maintenance
from pytest_amdgpu.emulator.memory import Access, AddressSpace, Bytes, Location, Mapping

LARGEST = 32 << 20
"""Bytes of a buffer that is cached as a whole; the largest L2 among the supported parts has 4 MiB per XCC."""
_BLOCK = 1 << 18
"""Dwords compared at once: what stays in the host's own cache."""

Dwords = npt.NDArray[np.uint32]


class CachedMapping(Mapping):
    """A mapping through the caches: filled when first looked at, `base` made when first written."""

    __slots__ = ("_copy", "_fill_lock", "base", "memory", "touched")

    def __init__(self, memory: Mapping) -> None:
        self.start, self.end, self.bo = memory.start, memory.end, memory.bo
        self.executable, self.uncached = memory.executable, memory.uncached
        self.queue_references = 0
        self.memory = memory
        self.touched = False
        self.base: Dwords | None = None
        self._copy: Bytes | None = None
        self._fill_lock = threading.Lock()

    # A reader or writer asks for one of these before it touches bytes, which is how the caches notice it.

    @property
    def data(self) -> Bytes:  # type: ignore[override]
        """The cached bytes."""
        copy = self._copy
        if copy is None:
            with self._fill_lock:
                if self._copy is None:
                    self._copy = self.memory.data.copy()
                copy = self._copy
        self.touched = True
        return copy

    @property
    def writable(self) -> bool:  # type: ignore[override]
        """Whether shaders may write; who asks is about to."""
        if self.memory.writable and self.base is None:
            data = self.data.view(np.uint32)
            with self._fill_lock:
                if self.base is None:
                    self.base = data.copy()
        return self.memory.writable

    @property
    def u32(self) -> memoryview:  # type: ignore[override]
        """The cached dwords."""
        return self.data.data.cast("I")

    @property
    def u64(self) -> memoryview:  # type: ignore[override]
        """The cached quadwords."""
        return self.data.data.cast("Q")

    @property
    def filled(self) -> bool:
        """Whether the caches hold anything of it."""
        return self._copy is not None

    def write_back(self) -> None:
        """Write the dwords that shaders have changed to memory."""
        if self.base is None or self._copy is None:
            return
        cached, target = self._copy.view(np.uint32), self.memory.data.view(np.uint32)
        for first in range(0, cached.size, _BLOCK):
            part = slice(first, first + _BLOCK)
            changed = np.flatnonzero(cached[part] != self.base[part])
            if changed.size:
                changed += first
                values = cached[changed]
                target[changed] = values
                self.base[changed] = values

    def invalidate(self) -> None:
        """Take over what memory holds, but for dwords that wait to be written back."""
        if self._copy is None:
            return
        cached, source = self._copy.view(np.uint32), self.memory.data.view(np.uint32)
        if self.base is None:
            if self.touched:
                np.copyto(cached, source)
            else:
                self._copy = None
            self.touched = False
            return
        dirty = False
        for first in range(0, cached.size, _BLOCK):
            part = slice(first, first + _BLOCK)
            clean = cached[part] == self.base[part]
            dirty |= not clean.all()
            self.base[part] = source[part]
            np.copyto(cached[part], self.base[part], where=clean)
        if not dirty and not self.touched:
            self._copy = self.base = None
        self.touched = False

    def newest(self, address: int, size: int) -> bytes:
        """Return bytes of one aligned item: the shaders' if they have changed it, else memory's."""
        offset = address - self.start
        part = slice(offset, offset + size)
        if self.base is not None and self._copy is not None:
            cached = self._copy[part].tobytes()
            if cached != self.base.view(np.uint8)[part].tobytes():
                return cached
        return self.memory.data[part].tobytes()

    def write_through(self, address: int, data: bytes) -> None:
        """Store bytes to memory and to the copies, so that they are seen by all and dirty nowhere."""
        offset = address - self.start
        part = slice(offset, offset + len(data))
        source = np.frombuffer(data, np.uint8)
        for place in (self._copy, None if self.base is None else self.base.view(np.uint8), self.memory.data):
            if place is not None:
                place[part] = source


class ShaderMemory(AddressSpace):
    """The address space of a process on a GPU behind the shaders' caches."""

    def __init__(self, memory: AddressSpace) -> None:
        super().__init__(memory.atomic_lock, memory.changed)
        self._memory = weakref.ref(memory)
        self._seen = -1
        self._cached: dict[Mapping, CachedMapping] = {}
        self._turn = threading.Condition()
        self._running = 0
        self._maintenance = 0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run shaders: the page table is followed, and no other thread maintains the caches meanwhile."""
        with self._turn:
            while self._maintenance:
                self._turn.wait()
            self._running += 1
            self._follow()
        try:
            yield
        finally:
            with self._turn:
                self._running -= 1
                self._turn.notify_all()

    def idle(self) -> None:
        """Let go of the page table and of buffers without data in the caches: no shaders run for now."""
        with self._turn:
            if not self._running:
                self._seen = -1
                self._table = ([], [])
                self._keep({mapping: cached for mapping, cached in self._cached.items() if cached.filled})

    def maintain(self, maintenance: Maintenance) -> None:
        """Write back, so that everybody sees what shaders wrote; invalidate, so that they see memory."""
        write_back, invalidate = maintenance
        if not (write_back or invalidate):
            return
        with self._turn:
            self._maintenance += 1
            while self._running:
                self._turn.wait()
            self._keep(self._cached)
            for cached in self._cached.values():
                if write_back:
                    cached.write_back()
                if invalidate:
                    cached.invalidate()
            self.version += invalidate
            self._maintenance -= 1
            self._turn.notify_all()

    def find_cached(self, address: int) -> CachedMapping | None:
        """Return the cached mapping that holds an address, None where the caches have nothing."""
        memory = self._memory()
        mapping = memory.find(address) if memory is not None else None
        return self._cached.get(mapping) if mapping is not None else None

    def _keep(self, cached: dict[Mapping, CachedMapping]) -> None:
        """Drop what is not mapped any more: the memory behind it may be gone."""
        memory = self._memory()
        if memory is not None:
            self._cached = {
                mapping: view for mapping, view in cached.items() if memory.find(mapping.start) is mapping
            }

    def _follow(self) -> None:
        """Take over the page table if it has changed."""
        memory = self._memory()
        if memory is None or memory.version == self._seen:
            return
        self._seen = memory.version
        mappings = memory.mappings
        self._cached = {
            mapping: self._cached.get(mapping) or CachedMapping(mapping)
            for mapping in mappings
            if _is_cacheable(mapping)
        }
        # Also for what the caches hold already: a driver cannot rely on either.
        self.poisoned = memory.poisoned
        table = [self._cached.get(mapping, mapping) for mapping in mappings]
        self._table = ([mapping.start for mapping in table], table)
        self.version += 1


class CommandMemory:
    """Memory as the command processor reads and writes it.

    It sees what shaders have written, written back or not, and what it writes is seen by everybody.
    """

    def __init__(self, memory: AddressSpace, shaders: ShaderMemory) -> None:
        self._memory = memory
        self._shaders = shaders
        self.atomic_lock = memory.atomic_lock

    def read(self, address: int, size: int) -> bytes:
        """Load an aligned item of 4 or 8 bytes."""
        self._memory.translate(address, Access.READ)
        if self._memory.poisoned:
            self._memory.check_poison(address, size)
        cached = self._shaders.find_cached(address)
        return self._memory.read(address, size) if cached is None else cached.newest(address, size)

    def write(self, address: int, data: bytes) -> None:
        """Store bytes; VmFault before anything is stored."""
        self._memory.spans(address, len(data), Access.WRITE)
        done = 0
        while done < len(data):
            cached = self._shaders.find_cached(address + done)
            mapping = self._memory.translate(address + done, Access.WRITE)
            part = data[done : done + mapping.end - address - done]
            if cached is None:
                self._memory.write(address + done, part)
            else:
                cached.write_through(address + done, part)
            done += len(part)

    def read_u32(self, address: int) -> int:
        """Load 32 bits; the address is a multiple of 4."""
        return int.from_bytes(self.read(address, 4), "little")

    def read_u64(self, address: int) -> int:
        """Load 64 bits; the address is a multiple of 8."""
        return int.from_bytes(self.read(address, 8), "little")

    def write_u32(self, address: int, value: int) -> None:
        """Store 32 bits; the address is a multiple of 4."""
        if self._shaders.find_cached(address) is None:
            self._memory.write_u32(address, value)
        else:
            self.write(address, value.to_bytes(4, "little"))

    def write_u64(self, address: int, value: int) -> None:
        """Store 64 bits; the address is a multiple of 8."""
        if self._shaders.find_cached(address) is None:
            self._memory.write_u64(address, value)
        else:
            self.write(address, value.to_bytes(8, "little"))


def _is_cacheable(mapping: Mapping) -> bool:
    kind = mapping.bo.location
    return (
        not mapping.uncached
        and kind in (Location.VRAM, Location.GTT, Location.USERPTR)
        and mapping.end - mapping.start <= LARGEST
    )


_of_memory: weakref.WeakKeyDictionary[AddressSpace, ShaderMemory] = weakref.WeakKeyDictionary()
_of_memory_lock = threading.Lock()


def shader_memory(memory: AddressSpace) -> ShaderMemory:
    """Return the one view through caches that all queues of an address space share."""
    with _of_memory_lock:
        found = _of_memory.get(memory)
        if found is None:
            found = _of_memory[memory] = ShaderMemory(memory)
        return found
