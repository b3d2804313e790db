"""What amdkfd keeps for a process: on each GPU an address space, buffers, doorbells and queues; and events.

A process object lives as long as the process that opened `/dev/kfd`, not as long as the descriptor:
amdkfd frees it when the process's memory goes away (kfd_process_notifier_release), and so keeps the VM of
the first render node descriptor that was acquired. Here `EmulatedKernel.shutdown` plays the exit.
"""

from __future__ import annotations

import errno
import itertools
import os
import threading
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from pytest_amdgpu.abi.kfd import DOORBELL_SLICE, QueueEvictionTrigger
from pytest_amdgpu.abi.kfd_debug import RuntimeInfo, RuntimeState
from pytest_amdgpu.emulator.debug import Debug
from pytest_amdgpu.emulator.dmabuf import received
from pytest_amdgpu.emulator.doorbells import Doorbells
from pytest_amdgpu.emulator.engine.preemption import EngineThread
from pytest_amdgpu.emulator.events import EventTable
from pytest_amdgpu.emulator.files import FileTable
from pytest_amdgpu.emulator.memory import PAGE_SIZE, AddressSpace, BufferObject, Location
from pytest_amdgpu.emulator.refusal import Refusal
from pytest_amdgpu.emulator.svm import SvmRanges

if TYPE_CHECKING:
    from pytest_amdgpu.abi.kfd import HsaMemoryExceptionData
    from pytest_amdgpu.emulator.arena import Arena, HostMemory
    from pytest_amdgpu.emulator.behaviour import Behaviour
    from pytest_amdgpu.emulator.client_maps import ClientMaps
    from pytest_amdgpu.emulator.drm import RenderFile
    from pytest_amdgpu.emulator.gpu import SoftwareGpu
    from pytest_amdgpu.emulator.hostile import Hostility
    from pytest_amdgpu.emulator.injection.injections import Injections
    from pytest_amdgpu.emulator.kfd.queue import Queue

Handler: TypeAlias = Callable[["Process", Any], int | None]
"""What does an ioctl: takes the process and the argument, raises Refusal, returns what ioctl(2) does."""

HANDLE_GPU_SHIFT = 32
MAX_QUEUE_IDS = 1024
FIRST_PASID = 0x8000
"""Amdkfd allocates ids of 16 bits with the highest one set (kfd_pasid.c)."""


class Machine:
    """What all parts of one emulated kernel share: GPUs, host memory, the client's mappings, the log."""

    def __init__(
        self,
        gpus: list[SoftwareGpu],
        arena: Arena,
        maps: ClientMaps,
        log: Callable[[str], None],
        misuse: Callable[[str], None],
        misuse_later: Callable[[str], None],
        host_memory: int,
        system_memory: int,
        behaviour: Behaviour,
        hostility: Hostility | None = None,
    ) -> None:
        self.gpus = gpus
        self.arena = arena
        self.maps = maps
        self.log = log
        self.misuse = misuse
        """Warn about a bug of the driver; only in the thread of the client's call."""
        self.misuse_later = misuse_later
        """Have the client's next call warn about a bug of the driver; for the threads of engines."""
        self.host_memory = host_memory
        """Bytes of the host's memory that buffers may occupy; TTM's limit, too, half of it by default."""
        self.behaviour = behaviour
        self.hostility = hostility
        """Whose timing the machine has, if it is not a friendly one."""
        self.files = FileTable(partial(received, self))
        self.due: list[Callable[[], None]] = []
        """What the kernel has put off until the client calls next."""
        self.pasids = itertools.count(FIRST_PASID)
        self.processes: list[Process] = []
        """The client's process, and the secondary ones that it made on descriptors."""
        self.system_memory = system_memory
        """Bytes that the kernel lets GTT and user pointers have."""
        self.system_memory_used: int = 0
        self.gtt_used: int = 0
        """Bytes of `system_memory_used` that are no memory of the client's own (`ttm_mem_used` of amdkfd)."""
        self.injections: Injections | None = None
        """The defects that the GPUs were told to have, if there were ever any."""
        self.user_pointers: set[BufferObject] = set()
        """Buffer objects that are the client's own memory."""

    def host_memory_free(self) -> int:
        """Return how many more bytes buffers may occupy; pages that nobody touched do not count."""
        return self.host_memory - self.arena.resident()


class ProcessDevice:
    """A process on one GPU. Until ACQUIRE_VM gives it a render node's address space it is not bound."""

    def __init__(self, process: Process, gpu: SoftwareGpu) -> None:
        self.process = process
        self.gpu = gpu
        self.space = AddressSpace(process.atomic_lock, process.memory_changed)
        self.render_file: RenderFile | None = None
        self.objects: dict[int, BufferObject] = {}
        """Buffer objects by the low half of their handle."""
        self.queues: dict[int, Queue] = {}
        self.evicted = False
        """Set by a VM fault or a reset, for good: amdkfd evicts the process's queues and nothing restores
        them, so queues made later do not run either (`is_evicted` in create_queue_cpsch)."""
        self.gws_queue: Queue | None = None
        """The queue that has the GPU's global wave sync."""
        self.exceptions = 0
        """What is raised on the GPU and was not cleared by a debugger."""
        self.memory_violation: HsaMemoryExceptionData | None = None
        """The page fault that a debugger can ask for."""
        self._doorbells: Doorbells | None = None
        self._mmio_page: HostMemory | None = None
        self._lowest_object = 1

    @property
    def bound(self) -> bool:
        """Whether ACQUIRE_VM was done."""
        return self.render_file is not None

    @property
    def doorbells(self) -> Doorbells:
        """The process's doorbells on this GPU, allocated at first use."""
        if self._doorbells is None:
            self._doorbells = Doorbells(self.gpu, self.process.machine.arena.allocate(DOORBELL_SLICE))
        return self._doorbells

    @property
    def mmio_page(self) -> HostMemory:
        """The page of HDP flush registers. Software GPUs have no HDP cache: writing there does nothing."""
        if self._mmio_page is None:
            self._mmio_page = self.process.machine.arena.allocate(PAGE_SIZE)
        return self._mmio_page

    def add_object(self, bo: BufferObject) -> None:
        """Give a buffer object the lowest free handle."""
        number = self._lowest_object
        while number in self.objects:
            number += 1
        self._lowest_object = number + 1
        bo.handle = self.gpu.gpu_id << HANDLE_GPU_SHIFT | number
        self.objects[number] = bo

    def remove_object(self, bo: BufferObject) -> None:
        """Take a buffer object's handle back, and its share of memory."""
        number = bo.handle & ((1 << HANDLE_GPU_SHIFT) - 1)
        del self.objects[number]
        self._lowest_object = min(self._lowest_object, number)
        self.gpu.mmap_objects.pop(bo.mmap_offset, None)
        if bo.imported:
            return
        machine = self.process.machine
        if bo.vram_charge:
            self.gpu.discharge(bo.vram_charge)
        if bo.location in (Location.GTT, Location.USERPTR):
            machine.system_memory_used -= bo.size
            machine.user_pointers.discard(bo)
        if bo.location is Location.GTT:
            machine.gtt_used -= bo.size

    def evict(self) -> None:
        """Stop all queues here, for good."""
        self.evicted = True
        for queue in list(self.queues.values()):
            queue.engine.evict()

    def teardown(self) -> None:
        """Free everything: the process ends. Its queues are gone already."""
        for bo in list(self.objects.values()):
            bo.mappings.clear()
            self.remove_object(bo)
        for mapping in self.space.mappings:
            self.space.unmap(mapping)
        self._doorbells = self._mmio_page = None
        self.render_file = None


class Process:
    """The process that opened `/dev/kfd`. Ioctls other than those of events run one at a time."""

    def __init__(self, machine: Machine, *, secondary: bool = False) -> None:
        self.machine = machine
        self.secondary = secondary
        """Whether it belongs to a descriptor and not to the client as a whole."""
        machine.processes.append(self)
        self.pid = os.getpid()
        self.pasid = next(machine.pasids)
        self.lock_poison = threading.Lock()
        self.poison_consumed = False
        """Whether it has been told of poison, which happens once (`poison` of struct kfd_process)."""
        self.lock = threading.RLock()
        self.atomic_lock = threading.RLock()
        self.memory_changed = threading.Condition()
        self.devices = {gpu.gpu_id: ProcessDevice(self, gpu) for gpu in machine.gpus}
        self.events = EventTable(machine.hostility.interrupts_wait if machine.hostility else None)
        self.event_page: HostMemory | None = None
        self.event_page_handle = 0
        """Handle of the buffer object that is the events page; 0 if it is the kernel's own."""
        self.queues: dict[int, Queue] = {}
        self.runtime_info = RuntimeInfo()
        self.debug = Debug(self)
        self.svm = SvmRanges(self)
        self.xnack_enabled = False

    @property
    def runtime_enabled(self) -> bool:
        """Whether a runtime has told that it takes exceptions."""
        return bool(self.runtime_info.runtime_state == RuntimeState.ENABLED)

    def require_primary(self, what: str) -> None:
        """Refuse with EOPNOTSUPP what secondary processes cannot do."""
        if self.secondary:
            raise Refusal(errno.EOPNOTSUPP, f"{what} in a secondary process")

    def device(self, gpu_id: int) -> ProcessDevice:
        """Return the process's part on a GPU; EINVAL for an unknown id."""
        device = self.devices.get(gpu_id)
        if device is None:
            known = ", ".join(map(str, self.devices))
            raise Refusal(errno.EINVAL, f"gpu_id {gpu_id} is none of the process's GPUs ({known})")
        return device

    def bound_device(self, gpu_id: int, unbound_errno: int) -> ProcessDevice:
        """Return the process's part on a GPU that ACQUIRE_VM was done for."""
        device = self.device(gpu_id)
        if not device.bound:
            raise Refusal(unbound_errno, f"ACQUIRE_VM was not done on gpu_id {gpu_id}")
        return device

    def object(self, handle: int, missing_errno: int) -> BufferObject:
        """Return a buffer object; EINVAL if the handle's GPU is unknown, `missing_errno` if its number is."""
        device = self.device(handle >> HANDLE_GPU_SHIFT)
        bo = device.objects.get(handle & ((1 << HANDLE_GPU_SHIFT) - 1))
        if bo is None:
            raise Refusal(missing_errno, f"there is no buffer object with handle {handle:#x}")
        return bo

    def forget(self, start: int, end: int) -> None:
        """Take note that CPU addresses [start, end) are unmapped or replaced."""
        for bo in list(self.machine.user_pointers):
            first = bo.data.ctypes.data
            if first < end and start < first + bo.size:
                self._invalidate(bo)
        if not self.svm.overlapping(start, end):
            return
        if isinstance(threading.current_thread(), EngineThread):
            # Python ran a finalizer of the client's here; who has the lock may be waiting for this thread.
            self.machine.due.append(lambda: self._forget_shared(start, end))
        else:
            self._forget_shared(start, end)

    def _forget_shared(self, start: int, end: int) -> None:
        with self.lock:
            self.svm.forget(start, end)

    def preempt(self, change: Callable[[], None], trigger: QueueEvictionTrigger | None = None) -> None:
        """Do a change of memory while no queue runs; recorded as an eviction if there is a trigger."""
        queues = [queue for queue in list(self.queues.values()) if not queue.device.evicted]
        for queue in queues:
            queue.engine.evict()
        if trigger is not None:
            self._record_eviction(trigger)
        try:
            change()
        finally:
            for queue in queues:
                queue.restore()
            if trigger is not None:
                for device in self.devices.values():
                    device.gpu.smi.queue_restore(self.pid)

    def evict_all(self, trigger: QueueEvictionTrigger) -> None:
        """Stop all queues on all GPUs, for good."""
        self._record_eviction(trigger)
        for device in self.devices.values():
            device.evict()

    def _record_eviction(self, trigger: QueueEvictionTrigger) -> None:
        for device in self.devices.values():
            device.gpu.smi.queue_eviction(self.pid, trigger)

    def _invalidate(self, bo: BufferObject) -> None:
        # The kernel evicts the queues and cannot restore them, because the pages are gone.
        for gpu_id, mapping in bo.mappings.items():
            self.machine.misuse(
                f"user memory {bo.handle:#x} is unmapped by the CPU but still mapped as {mapping!r}"
            )
            device = self.devices[gpu_id]
            device.gpu.smi.queue_eviction(self.pid, QueueEvictionTrigger.TRIGGER_USERPTR)
            device.evict()

    def teardown(self) -> list[str]:
        """End the process: stop its queues, wake who waits, free its memory; return what went wrong."""
        problems = []
        with self.lock:
            for queue in list(self.queues.values()):
                try:
                    queue.destroy()
                except Exception as error:
                    problems.append(f"queue {queue.id}: {error}")
            self.debug.disable()
            self.events.destroy_all()
            self.event_page, self.event_page_handle = None, 0
            for device in self.devices.values():
                device.teardown()
        return problems
