"""Target for the emulated kernel: sequences of calls, from valid ones with changes to random numbers."""

from __future__ import annotations

import ctypes
import gc
import os
import random
import sys
import warnings
import weakref
from collections.abc import Callable
from pathlib import Path

from fuzz_calls import BAD_ADDRESSES, PAGE, SIZES, Pools, argument, recorded_calls
from fuzz_runner import Done, outcome
from fuzz_state import Books

from pytest_amdgpu.abi import ioctl
from pytest_amdgpu.abi.drm import DRM_IOCTLS
from pytest_amdgpu.abi.kfd import KFD_IOCTLS, KfdIoctl, QueueType
from pytest_amdgpu.kernel.protocol import KernelError

sys.path.insert(0, str(Path(__file__).parents[1] / "emulator" / "kfd"))
from kfd_client import GTT, MAP_ANONYMOUS, MAP_FIXED, MAP_PRIVATE, MAP_SHARED, PROT_RW, Client

MACHINES = (("rx7900xtx",), ("mi300x",), ("mi210", "r9700"), ("strixhalo",))
SCRATCH_PAGES = 4
LAST_UPSTREAM = 0x28
COMPOSED = [
    *[spec for number, spec in KFD_IOCTLS.items() if spec.struct and number <= LAST_UPSTREAM] * 4,
    *[spec for spec in (*KFD_IOCTLS.values(), *DRM_IOCTLS.values()) if spec.struct],
]
"""Those of the mainline kernel most often."""


class Session(Client):
    """A client that does anything; it gives back what it maps."""

    def __init__(self, rng: random.Random, corpus: list[tuple[int, bytes]]) -> None:
        self._reserved: list[tuple[int, int]] = []
        super().__init__(rng.choice(MACHINES), host_memory=1 << 30, behaviour=rng.choice(("6.12", "newest")))
        self._books = Books(self.kernel)
        self._rng, self._corpus = rng, corpus
        self.ioctls = 0
        """How many were issued as input."""
        self._mapped: list[tuple[int, int]] = []
        whole = self.reserve((SCRATCH_PAGES + 1) * PAGE)
        self._scratch = self.kernel.mmap(
            *(whole, SCRATCH_PAGES * PAGE, PROT_RW), MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0
        )
        end = whole + SCRATCH_PAGES * PAGE
        unused = os.memfd_create("unused")
        self._own_files = [unused]
        self._pools = Pools([gpu.gpu_id for gpu in self.gpus], [self.fd, *self.renders, unused])
        self._pools.addresses += [self._scratch, self._scratch, self._scratch + PAGE, self._scratch + 256]
        self._pools.addresses += [end - 4, end - 16, end]
        for _ in range(rng.randrange(4)):
            self._remember(self.buffer(rng.choice((PAGE, 1 << 16)), rng.choice((GTT, 0xE0000001))))
        if rng.random() < 0.7:
            self._remember(self.event_page())
            for event_type in (0, 0, 5, 8):
                self._remember(self.call(KfdIoctl.CREATE_EVENT, event_type=event_type))
        self._doorbells = [self.map_doorbells(gpu) for gpu in range(len(self.gpus))]
        for _ in range(rng.randrange(3)):
            kind = rng.choice((QueueType.SDMA, QueueType.COMPUTE, QueueType.COMPUTE_AQL))
            self._remember(self.create_queue(kind))
        self._steps: tuple[tuple[int, Callable[[], object]], ...] = (
            *((30, self._mutated), (20, self._composed), (4, self._resized), (4, self._wild)),
            *((3, self._map), (2, self._unmap), (4, self._ring), (2, self._files), (1, self._good_queue)),
        )

    def reserve(self, size: int) -> int:
        address = super().reserve(size)
        self._reserved.append((address, size))
        return address

    def step(self) -> str:
        """Make one call and return what came of it."""
        self._fill_scratch()
        act = self._rng.choices(*reversed(list(zip(*self._steps, strict=True))))[0]
        return f"{act.__name__[1:]}: {outcome(act, KernelError)}"

    def _remember(self, args: object) -> None:
        """Keep what a call has made, for others to name, also when it is gone."""
        for name, pool in (
            *(
                ("handle", self._pools.handles),
                ("queue_id", self._pools.queues),
                ("event_id", self._pools.events),
            ),
            *(("va_addr", self._pools.addresses), ("mmap_offset", self._pools.offsets)),
            *(("dmabuf_fd", self._pools.files), ("anon_fd", self._pools.files)),
        ):
            value = getattr(args, name, None)
            if value is not None and value not in pool:
                pool.append(value)

    def _fill_scratch(self) -> None:
        """Let the client's memory hold ids and small numbers, 4 bytes each."""
        known = [*self._pools.gpu_ids, *self._pools.queues, *self._pools.events, 0, 1, 2, 0xFFFFFFFF]
        words = [self._rng.choice(known) for _ in range(64)]
        ctypes.memmove(self._scratch, (ctypes.c_uint32 * 64)(*words), 256)

    def _do(self, request: int, content: bytes | bytearray) -> None:
        rng = self._rng
        type_, size = request >> 8 & 0xFF, request >> 16 & 0x3FFF
        spec = (KFD_IOCTLS if type_ == ord("K") else DRM_IOCTLS).get(request & 0xFF)
        length = max(size, len(content), 1)
        if spec is not None and spec.struct is not None and ctypes.sizeof(spec.struct) == length:
            arguments = spec.struct.from_buffer_copy(bytes(content).ljust(length, b"\0"))
        else:
            arguments = (ctypes.c_char * length).from_buffer_copy(bytes(content).ljust(length, b"\0"))
        fd = self.fd if type_ == ord("K") else rng.choice(self.renders)
        if rng.random() < 0.05:
            fd = rng.choice([*self._pools.files, -1, 1 << 20])
        self.ioctls += 1
        assert self.kernel.ioctl(fd, request, arguments) >= 0
        if type_ == ord("K") and not isinstance(arguments, ctypes.Array):
            self._remember(arguments)

    def _mutated(self) -> None:
        request, content = self._rng.choice(self._corpus)
        self._do(request, argument(self._rng, self._pools, request, content))

    def _composed(self) -> None:
        """A call of any kind, from nothing but its structure."""
        spec = self._rng.choice(COMPOSED)
        assert spec.struct is not None
        content = argument(self._rng, self._pools, spec.request, bytes(ctypes.sizeof(spec.struct)))
        if spec.request == KfdIoctl.SVM:
            content += self._attributes(int.from_bytes(content[20:24], "little") % 8)
        self._do(ioctl.with_size(spec.request, len(content)), content)

    def _attributes(self, count: int) -> bytes:
        """Pairs of type and value that stand behind the arguments of SVM."""
        values = (0, 1, 2, 3, 15, 31, *self._pools.gpu_ids)
        pairs = [(self._rng.randrange(9), self._rng.choice(values)) for _ in range(count)]
        return b"".join(number.to_bytes(4, "little") for pair in pairs for number in pair)

    def _resized(self) -> None:
        request, content = self._rng.choice(self._corpus)
        size = self._rng.choice((0, 1, 4, 8, len(content) - 1, len(content) + 1, len(content) + 8, 0x3FFF))
        changed = argument(self._rng, self._pools, request, content)
        request = ioctl.with_size(request, size) ^ (self._rng.randrange(4) << 30)
        self._do(request, changed[:size])

    def _wild(self) -> None:
        request = self._rng.getrandbits(32)
        if self._rng.random() < 0.7:
            request = request & ~0xFF00 | self._rng.choice((ord("K"), ord("d"))) << 8
        self._do(request, self._rng.randbytes(request >> 16 & 0x3FFF))

    def _map(self) -> None:
        rng = self._rng
        length = rng.choice((PAGE, PAGE, PAGE, 0, 1, 2 * PAGE, 1 << 16, 1 << 40))
        flags = rng.choice((MAP_SHARED, MAP_SHARED, MAP_SHARED, MAP_PRIVATE))
        wild = (0, 1, PAGE, 1 << 62, 3 << 62, *BAD_ADDRESSES)
        offset = rng.choice(self._pools.offsets if self._pools.offsets and rng.random() < 0.7 else wild)
        fd = rng.choice([self.fd, *self.renders, *self.renders, *self._pools.files, -2])
        self._mapped.append((self.kernel.mmap(0, length, rng.randrange(4), flags, fd, offset), length))

    def _unmap(self) -> None:
        if self._mapped:
            self.kernel.munmap(*self._mapped.pop(self._rng.randrange(len(self._mapped))))

    def _ring(self) -> None:
        """Store to a doorbell, of a queue or not; the rings hold zeros, which are packets or not."""
        rng = self._rng
        place = rng.choice(self._doorbells) + 8 * rng.randrange(1024) + rng.choice((0, 0, 0, 4))
        self.kernel.store_doorbell(
            rng.choice((place, place, 0, self._scratch)), rng.choice((0, 4, 64, *SIZES))
        )

    def _files(self) -> None:
        rng, kernel = self._rng, self.kernel
        fd = rng.choice([*self._pools.files, -1])
        paths = ("/dev/kfd", f"/dev/dri/renderD{self.gpu.render_minor}", "/dev/dri/renderD7", "", "/dev/mem")
        rng.choice(
            (
                lambda: self._pools.files.append(kernel.open(rng.choice(paths), os.O_RDWR)),
                lambda: kernel.read(fd, rng.choice((0, 1, PAGE))),
                lambda: kernel.write(fd, rng.randbytes(rng.choice((0, 1, 8, 64)))),
                lambda: kernel.close(fd) if fd not in (self.fd, *self.renders) else None,
                lambda: kernel.poll([(self.fd, 1)], 0.0),
                lambda: kernel.listdir(rng.choice(("/sys", "/sys/class/kfd/kfd/topology/nodes/1", "/x"))),
            )
        )()

    def _good_queue(self) -> None:
        """Create a queue of what it needs, often with one field a bit wrong, and let it run its ring."""
        rng = self._rng
        fields = self.queue_fields(rng.choice((QueueType.SDMA, QueueType.COMPUTE, QueueType.COMPUTE_AQL)))
        words = [rng.choice((0, 0x80000000, 0x00030005, rng.getrandbits(32))) for _ in range(64)]
        ctypes.memmove(fields["ring_base_address"], (ctypes.c_uint32 * 64)(*words), 256)
        if rng.random() < 0.5:
            name = rng.choice([name for name in fields if name not in ("gpu_id", "queue_type")])
            fields[name] = max(fields[name] + rng.choice((-1, 1, 3, 4, 8, 256, PAGE)), 0)
        self.ioctls += 1
        queue = self.call(KfdIoctl.CREATE_QUEUE, **fields)
        self._remember(queue)
        self.kernel.store_doorbell(self._doorbells[0] + queue.doorbell_offset % PAGE, rng.choice((4, 16, 64)))

    def close(self) -> None:
        """End the process; nothing may be left of it."""
        if self._rng.random() < 0.5:
            self.kernel.munmap(self._scratch, SCRATCH_PAGES * PAGE)
        log, disagreements = self.kernel.log, self._books.disagreements()
        super().close()
        for address, size in self._reserved:
            self.kernel.munmap(address, size)
        for fd in self._own_files:
            os.close(fd)
        left = [f"left when the processes had ended: {text}" for text in self._books.left()]
        assert not disagreements + left, "\n".join(disagreements + left)
        failed = [line for line in log if "the emulator failed" in line]
        assert not failed, failed


class IoctlTarget:
    """Sequences of calls on a machine of their own: refused with a reason or done, and all is taken back."""

    name = "ioctls"
    limit = 60.0
    unit = "ioctls issued"
    per_case = 100

    def __init__(self) -> None:
        self._corpus = recorded_calls()

    def case(self, rng: random.Random) -> Done:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            session = Session(rng, self._corpus)
            machine = weakref.ref(session.kernel._machine)
            try:
                kinds = []
                while session.ioctls < self.per_case:
                    kinds.append(session.step())
                done = Done(kinds, len(kinds), session.ioctls)
            finally:
                session.close()
                # What refers to each other holds memory until Python collects it.
                del session
                gc.collect()
        assert machine() is None, f"the machine is still referred to by {gc.get_referrers(machine())}"
        return done

    def close(self) -> None:
        """Nothing is shared that must be given back."""
