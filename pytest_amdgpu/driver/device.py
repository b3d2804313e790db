"""An open GPU: the factory of all that a test uses, and the one who takes it back."""

from __future__ import annotations

import warnings
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy.typing as npt

from pytest_amdgpu.driver.arguments import (
    check_device,
    check_timeout,
    check_type,
)
from pytest_amdgpu.driver.backend import NORMAL_PRIORITY, Backend, Fault, Location
from pytest_amdgpu.driver.buffer import Buffer
from pytest_amdgpu.driver.device_memory import new_buffer, new_shared_virtual_memory, new_user_memory
from pytest_amdgpu.driver.errors import (
    DeviceClosedError,
    NearestTargetWarning,
    QueueLostError,
)
from pytest_amdgpu.driver.links import Link, find_link, read_links
from pytest_amdgpu.driver.queue import Queue
from pytest_amdgpu.driver.resources import Leak, Resource, Tracker, attempt
from pytest_amdgpu.driver.semaphore import SemaphorePool, TimelineSemaphore
from pytest_amdgpu.driver.shared_memory import descriptor_number
from pytest_amdgpu.driver.topology import GpuNode

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from pytest_amdgpu.driver.backend import QueueKind
    from pytest_amdgpu.driver.compute_queue import ComputeQueue
    from pytest_amdgpu.driver.program import Program
    from pytest_amdgpu.driver.queries import Apertures, Clocks
    from pytest_amdgpu.driver.queue import QueueWatcher
    from pytest_amdgpu.driver.scheduling import CuMask
    from pytest_amdgpu.driver.sdma_queue import SdmaQueue
    from pytest_amdgpu.driver.shared_memory import SharedMemory
    from pytest_amdgpu.driver.svm import SvmRange
    from pytest_amdgpu.families.registry import Family
    from pytest_amdgpu.kernel.protocol import Kernel


class Device:
    """One open GPU. Make it with `Device.open`; it is a context manager that closes itself."""

    def __init__(self, backend: Backend) -> None:
        """Use `open`."""
        self.name = f"{backend.node.target}-{backend.node.identity}"
        """What messages call it."""
        self.queue_watcher: QueueWatcher | None = None
        """Whom to tell of each queue, so that it can be looked at from outside."""
        self._begin(backend)

    def _begin(self, backend: Backend) -> None:
        self.backend = backend
        self.kernel: Kernel = backend.kernel
        self.node: GpuNode = backend.node
        self.family: Family = backend.node.family
        self.tracker = Tracker()
        self.semaphores = SemaphorePool(self)
        self.host_writes_vram = False
        """Whether the CPU may have written VRAM, so that each submission must flush its writes."""
        self._told: set[Fault] = set()
        self._queues_made = 0
        self._closed = False

    @classmethod
    def open(cls, kernel: Kernel, node: GpuNode, backend: Backend | None = None) -> Self:
        """Open a GPU that `topology.discover` found, through amdkfd unless another backend is given.

        Raises `DeviceOpenError`, `UnknownFamilyError`, or `KernelError` for an ioctl that fails. Warns with
        `NearestTargetWarning` of a GPU that is taken for another one (see `discover`).
        """
        backend = backend or _kfd_backend(kernel, node)
        try:
            device = cls(backend)
            if device.node.stand_in:
                warnings.warn(
                    f"{device.node.description} has an unknown stepping and runs as {device.family.name}:"
                    f" whether it executes code for {device.family.name} is not known",
                    NearestTargetWarning,
                    stacklevel=2,
                )
        except BaseException:
            backend.close()
            raise
        return device

    def vram(
        self,
        size: int,
        *,
        cpu_visible: bool | None = None,
        executable: bool = False,
        uncached: bool = False,
        peers: Sequence[Device] = (),
    ) -> Buffer:
        """Allocate `size` bytes of the GPU's memory, reachable by `peers`, too.

        By default it is CPU visible if the PCI BAR allows that; where it does not, access by the CPU raises
        `SmallBarError`, and with `cpu_visible=True` this method does. Raises `AllocationError` otherwise.
        """
        visible = self.node.large_bar if cpu_visible is None else cpu_visible
        buffer = new_buffer(self, Location.VRAM, size, visible, executable, uncached, peers)
        buffer.behind_small_bar = cpu_visible is None and not visible
        self.host_writes_vram = self.host_writes_vram or visible
        return buffer

    def gtt(
        self,
        size: int,
        *,
        executable: bool = False,
        uncached: bool = False,
        peers: Sequence[Device] = (),
    ) -> Buffer:
        """Allocate `size` bytes of system memory that the GPU reaches; raises `AllocationError`."""
        return new_buffer(self, Location.GTT, size, True, executable, uncached, peers)

    def userptr(self, memory: npt.NDArray[Any] | int, *, peers: Sequence[Device] = ()) -> Buffer:
        """Let the GPU reach memory of the process: a contiguous array, or new memory of a size in bytes.

        The GPU gets whole pages, so it reaches what lies beside an array that does not fill its pages.
        """
        return new_user_memory(self, memory, peers)

    def import_buffer(self, descriptor: int | SharedMemory) -> Buffer:
        """Map memory that another process (or GPU) has exported; the descriptor may be closed afterwards.

        Its size is that of the exported memory in whole pages. Raises `SharingError` if it is no descriptor
        of GPU memory, and `PeerAccessError` if it is memory of a GPU that this one cannot reach.
        """
        self.check_open()
        allocation = self.backend.adopt(descriptor_number(descriptor))
        self.host_writes_vram = self.host_writes_vram or allocation.request.location is Location.VRAM
        return Buffer(self.backend, allocation, allocation.size, self.tracker)

    def svm(self, memory: npt.NDArray[Any] | int, *, peers: Sequence[Device] = ()) -> SvmRange:
        """Share memory of the process with this GPU and `peers`, at its own address and by pages.

        `memory` is an array that fills whole pages, or a size in bytes of new memory, which is rounded up.
        Raises `SvmError` where a GPU cannot do that (see `GpuNode.shares_virtual_memory`) or the kernel
        refuses, as for memory that a buffer has.
        """
        return new_shared_virtual_memory(self, memory, peers)

    def links(self) -> list[Link]:
        """Return the links from this GPU to the CPU and to other GPUs."""
        return read_links(self.kernel, self.node)

    def link_to(self, peer: Device) -> Link | None:
        """Return the link from this GPU to another one, None if there is none."""
        check_device(peer, "peer")
        return find_link(self.kernel, self.node, peer.node)

    def can_reach(self, peer: Device) -> bool:
        """Whether this GPU can be given access to another one's memory (`peer.vram(..., peers=[self])`)."""
        check_device(peer, "peer")
        return peer.node.gpu_id == self.node.gpu_id or self.link_to(peer) is not None

    def sdma_queue(
        self,
        ring_size: int | None = None,
        *,
        engine: int | None = None,
        peer: Device | None = None,
        priority: int | str = NORMAL_PRIORITY,
    ) -> SdmaQueue:
        """Create a queue of an SDMA engine: by default one that the kernel chooses, or a number.

        With a `peer` it is one that the kernel recommends for the link to it; `PeerAccessError` if there is
        no link. Raises `NoSdmaQueueError` where the GPU has no engine.
        """
        from pytest_amdgpu.driver.sdma_queue import sdma_queue

        self.check_open()
        return sdma_queue(self, ring_size, engine=engine, peer=peer, priority=priority)

    def compute_queue(
        self,
        kind: QueueKind | str | None = None,
        ring_size: int | None = None,
        *,
        priority: int | str = NORMAL_PRIORITY,
        cu_mask: CuMask | None = None,
    ) -> ComputeQueue:
        """Create a compute queue of kind `aql` or `pm4`.

        The default is AQL on a GPU with several XCCs, all of which it uses, and PM4 elsewhere. A PM4 queue
        on a GPU with several XCCs uses the first of them. `priority` is 0 to 15, or `low`, `normal` or
        `high`; `cu_mask` names the compute units that waves may run on (`ComputeQueue.set_cu_mask`).
        """
        from pytest_amdgpu.driver.compute_queue import compute_queue

        self.check_open()
        return compute_queue(self, kind, ring_size, priority=priority, cu_mask=cu_mask)

    def load(self, code_object: bytes | str | Path) -> Program:
        """Load a code object, given as its bytes or its file; raises `CodeObjectError`."""
        from pytest_amdgpu.driver.code_object import parse
        from pytest_amdgpu.driver.program import Program

        self.check_open()
        if isinstance(code_object, bytes):
            return Program(self, parse(code_object))
        check_type(code_object, (str, Path), "a code object is given as its bytes or its file")
        path = Path(code_object)
        return Program(self, parse(path.read_bytes(), path.name))

    def timeline_semaphore(self, initial: int = 0) -> TimelineSemaphore:
        """Make a semaphore with a value of 64 bits."""
        self.check_open()
        return self.semaphores.create(initial, self.tracker.add)

    def raise_fault(self, queues: Collection[str] = ()) -> None:
        """Raise `GpuFaultError` if the GPU has reported a fault that was seen by any wait.

        One that has stopped a single queue is raised once, and again to whom waits for that queue: the
        others go on. `queues` names those that are waited for.
        """
        for fault in self.backend.faults:
            if fault.queue is not None and fault.queue not in queues and fault in self._told:
                continue
            self._told.add(fault)
            raise fault.error(self._circumstances(fault))

    @property
    def fault_was_told(self) -> bool:
        """Whether a fault has been raised since the device was opened; others may be its consequences."""
        return bool(self._told)

    def refuse_lost(self, queue: str) -> None:
        """Raise `QueueLostError` if a fault has stopped a queue for good."""
        for fault in self.backend.faults:
            if fault.stops(queue):
                raise QueueLostError(
                    f"{queue} on {self.name} runs nothing more, because of an earlier fault: {fault.text}; "
                    "open the device anew with reopen()"
                )

    def _circumstances(self, fault: Fault) -> str:
        """Tell of a fault what the kernel does not know: what lies at the address, and what was going on."""
        place = "" if fault.address is None else self.tracker.describe_address(fault.address)
        busy = [queue.state() for queue in reversed(self.queues()) if not queue.ring.drained]
        return f"; the page is {place}" * bool(place) + "".join(f"\nnot done: {state}" for state in busy)

    def check_health(self) -> None:
        """Ask the kernel for faults, and raise `GpuFaultError` if there was one."""
        self.backend.wait_event(None, 0, 0.0)
        self.raise_fault()

    def queues(self) -> list[Queue[Any]]:
        """All open queues, newest first."""
        return self.tracker.of_type(Queue)  # type: ignore[type-abstract]

    def available_vram(self) -> int:
        """Bytes of the GPU's memory that could be allocated now (the kernel rounds them down)."""
        self.check_open()
        return self.backend.available_memory()

    def clocks(self) -> Clocks:
        """Read the GPU's counter, with its frequency in Hz, and clocks of the host at one time."""
        self.check_open()
        return self.backend.clocks()

    def apertures(self) -> Apertures:
        """Return where shaders see LDS and scratch, and where memory can be mapped."""
        self.check_open()
        return self.backend.apertures()

    def xnack_enabled(self) -> bool:
        """Whether this process's shaders may retry faulting accesses."""
        self.check_open()
        return self.backend.xnack_enabled()

    def describe_queues(self) -> list[str]:
        """One line per queue that says where it is."""
        return [queue.state() for queue in reversed(self.queues())]

    def leaks(self) -> list[Leak]:
        """What was handed out and not given back, with the line that made it."""
        return self.tracker.leaks()

    def reclaim_queues(self, idle_timeout: float = 10.0, *, keep: Sequence[Resource] = ()) -> None:
        """Take back the queues: wait for them, destroy them, free their memory.

        Everything is tried; what failed is raised as an `ExceptionGroup`. With a timeout of 0, and after a
        fault, nothing is waited for: a queue that faulted never becomes idle. What is in `keep` stays.
        """
        idle_timeout = check_timeout(idle_timeout)
        errors: list[Exception] = []
        kept = {id(resource) for resource in keep}
        queues = [queue for queue in self.queues() if id(queue) not in kept]
        for queue in queues:
            if idle_timeout and not self.backend.faults:
                attempt(errors, partial(queue.wait_idle, idle_timeout))
        for queue in queues:
            attempt(errors, queue.close)
        if errors:
            raise ExceptionGroup(f"could not take back all queues of {self.name}", errors)

    def reclaim(self, idle_timeout: float = 10.0, *, keep: Sequence[Resource] = ()) -> None:
        """Take back all that was handed out: the queues as by `reclaim_queues`, then the rest.

        Where devices use each other's memory, the queues of all of them must be taken back first.
        """
        errors: list[Exception] = []
        kept = {id(resource) for resource in keep}
        try:
            self.reclaim_queues(idle_timeout, keep=keep)
        except ExceptionGroup as group:
            errors += group.exceptions
        for resource in self.tracker.all():
            if id(resource) not in kept:
                attempt(errors, resource.release)
        if errors:
            raise ExceptionGroup(f"could not take back all of {self.name}", errors)

    def next_queue_number(self) -> int:
        """Number a new queue, for messages."""
        self._queues_made += 1
        return self._queues_made - 1

    def close(self) -> None:
        """Take everything back and close the GPU; errors as from `reclaim`."""
        if self._closed:
            return
        self._closed = True
        errors: list[Exception] = []
        attempt(errors, self.reclaim)
        attempt(errors, self.semaphores.close)
        attempt(errors, self.backend.close)
        if errors:
            raise ExceptionGroup(f"could not close {self.name}", errors)

    def reopen(self, backend: Backend | None = None) -> None:
        """Close the GPU and open it anew behind the same object, so that it works again after a fault.

        All that it had handed out is gone. Errors of closing are raised, as from `close`, once it is open.
        Raises `DeviceOpenError`, and stays closed, where the kernel lets this process use the GPU no more;
        where it goes on in a secondary process, user memory cannot be registered (`AllocationError`).
        """
        errors: list[Exception] = []
        attempt(errors, self.close)
        self._begin(backend or _kfd_backend(self.kernel, self.node))
        if errors:
            raise ExceptionGroup(f"{self.name} was opened anew, but could not be closed well", errors)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Device {self.name}{' (closed)' if self._closed else ''}>"

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._closed

    def check_open(self) -> None:
        """Raise `DeviceClosedError` if it was closed."""
        if self._closed:
            raise DeviceClosedError(f"{self.name} was closed")


def _kfd_backend(kernel: Kernel, node: GpuNode) -> Backend:
    from pytest_amdgpu.driver.kfd_backend import KfdBackend

    return KfdBackend(kernel, node)
