"""Arguments of ioctls: calls recorded from the driver, and what to put into a field by its name."""

from __future__ import annotations

import ctypes
import os
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from pytest_amdgpu.abi.drm import DRM_IOCTLS
from pytest_amdgpu.abi.kfd import KFD_IOCTLS
from pytest_amdgpu.driver.device import Device
from pytest_amdgpu.driver.topology import discover
from pytest_amdgpu.emulator.kernel import EmulatedKernel
from pytest_amdgpu.families.models import model

PAGE = 4096
SIZES = (0, 1, 8, 64, 4095, PAGE, 2 * PAGE, 1 << 16, 1 << 20, 1 << 30, 1 << 40, 1 << 63, (1 << 64) - 1, 12345)
JUNK = (0, 1, 2, 3, 7, 16, 63, 255, 4096, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)
BAD_ADDRESSES = (0, 1, 8, PAGE, 1 << 46, 1 << 47, (1 << 47) - PAGE, 0xFFFF_8000_0000_0000, (1 << 64) - 8)
_NUMBERS_OF_64_BITS = (
    "size",
    "handle",
    "mask",
    "offset",
    "counter",
    "freq",
    "available",
    "len",
    "bytes_copied",
)
"""Parts of the names of fields of 64 bits that hold no address; all others may be followed by the kernel."""


class RecordingKernel:
    """Passes calls on to a kernel and keeps the arguments of its ioctls, as they went in."""

    def __init__(self, inner: EmulatedKernel) -> None:
        self.inner = inner
        self.calls: list[tuple[int, bytes]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def ioctl(self, fd: int, request: int, argument: Any) -> int:
        self.calls.append((request, bytes(argument)))
        return self.inner.ioctl(fd, request, argument)


def recorded_calls() -> list[tuple[int, bytes]]:
    """Return the ioctls of a driver that opens GPUs, copies, dispatches, waits and closes."""
    calls = []
    for name in ("mi300x", "rx7900xtx"):
        kernel = RecordingKernel(EmulatedKernel([model(name)]))
        with Device.open(kernel, discover(kernel)[0]) as device:  # type: ignore[arg-type]
            a, b = device.vram(PAGE), device.gtt(PAGE)
            done = device.timeline_semaphore()
            device.sdma_queue().copy(a, b).signal(done, 1).submit()
            for kind in ("aql", "pm4"):
                device.compute_queue(kind).wait(done, 1).signal(done, 2).submit()
                done.wait(2, timeout=10)
                done = device.timeline_semaphore(1)
            device.available_vram()
        kernel.inner.shutdown()
        calls += kernel.calls
    return calls


@dataclass
class Pools:
    """What exists, or did, by what a field may hold."""

    gpu_ids: list[int]
    files: list[int]
    handles: list[int] = field(default_factory=list)
    queues: list[int] = field(default_factory=list)
    events: list[int] = field(default_factory=list)
    addresses: list[int] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)

    def sound(self, rng: random.Random, name: str, bits: int, now: int) -> int:
        """Choose what a field may well hold: something that exists, or what was recorded."""
        if "timeout" in name:
            return rng.randrange(3)
        pool = self._named(name, bits)
        if pool is not None:
            return rng.choice(pool) if pool else 0
        if not now and "size" in name:
            return rng.choice((PAGE, 1 << 16))
        if name == "num_cu_mask":
            return 32
        if not now and name.startswith(("num_", "n_devices", "nattr", "op", "queue_percentage")):
            return rng.choice((0, 1, 1, 1, 2))
        return now

    def value(self, rng: random.Random, name: str, bits: int, now: int) -> int:
        """Choose what a field should not hold, most of the time."""
        pool = self._named(name, bits)
        if pool is not None:
            wild = BAD_ADDRESSES if bits == 64 else (0, 0xFFFFFFFF, 1 << 20)
            chosen = rng.choice(pool) if pool and rng.random() < 0.3 else rng.choice(wild)
            return chosen + (rng.choice((0, 0, 0, 1, 4, 8, 64, PAGE)) if bits == 64 else 0)
        if "timeout" in name:
            return rng.randrange(3)
        if "size" in name:
            return rng.choice(SIZES)
        kind = rng.random()
        if kind < 0.4:
            return rng.choice(JUNK)
        return now ^ 1 << rng.randrange(bits) if kind < 0.8 else rng.getrandbits(bits)

    def _named(self, name: str, bits: int) -> list[int] | None:
        if name in ("gpu_id", "gpuid"):
            return self.gpu_ids
        if name.endswith("fd"):
            return self.files
        if name == "pid":
            return [os.getpid()]
        if "handle" in name or name == "event_page_offset":
            return self.handles
        if name == "queue_id":
            return self.queues
        if name == "event_id":
            return self.events
        if name == "mmap_offset":
            return [*self.offsets, *self.addresses]
        if bits == 64 and not any(part in name for part in _NUMBERS_OF_64_BITS):
            return self.addresses
        return None


def leaves(struct: type[Any]) -> Iterator[tuple[str, int, int]]:
    """Yield name, offset and bytes of every number in a structure, in those within it, too."""
    for name, kind, *_ in struct._fields_:
        offset = getattr(struct, name).offset
        if hasattr(kind, "_fields_"):
            yield from ((inner, offset + start, size) for inner, start, size in leaves(kind))
        elif ctypes.sizeof(kind) <= 8 and not hasattr(kind, "_length_"):
            yield name, offset, ctypes.sizeof(kind)


def argument(rng: random.Random, pools: Pools, request: int, content: bytes) -> bytearray:
    """Return an argument with references to what exists, and a few fields changed."""
    spec = (KFD_IOCTLS if request >> 8 & 0xFF == ord("K") else DRM_IOCTLS).get(request & 0xFF)
    result = bytearray(content)
    if spec is None or spec.struct is None:
        return result
    fields = [leaf for leaf in leaves(spec.struct) if leaf[1] + leaf[2] <= len(result)]
    changed = rng.sample(fields, min(rng.choice((0, 0, 0, 1, 1, 2, 4)), len(fields)))
    for name, offset, size in fields:
        now = int.from_bytes(result[offset : offset + size], "little")
        choose = pools.value if (name, offset, size) in changed else pools.sound
        value = choose(rng, name, 8 * size, now) & (1 << 8 * size) - 1
        result[offset : offset + size] = value.to_bytes(size, "little")
    return result
