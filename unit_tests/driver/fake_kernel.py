"""A kernel of plain memory for tests of the driver: it keeps books and fails on demand, and runs nothing.

It is deliberately not the emulated kernel: it shares no code with it, checks only that what was taken is
given back, and lets a test see the order of calls and the bytes in a ring.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pytest_amdgpu.abi import ioctl, kfd
from pytest_amdgpu.abi.kfd import AllocFlag, EventType
from pytest_amdgpu.driver.topology import TOPOLOGY
from pytest_amdgpu.families.models import model
from pytest_amdgpu.kernel.describe import describe
from pytest_amdgpu.kernel.protocol import KernelError

PAGE = 4096
_LIBC = ctypes.CDLL(None, use_errno=True)
_LIBC.mmap.restype = ctypes.c_void_p
_LIBC.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, *(ctypes.c_int,) * 3, ctypes.c_int64)
_LIBC.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
_MAP_FIXED = 0x10
_ANONYMOUS = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
_READ_WRITE = mmap.PROT_READ | mmap.PROT_WRITE


@dataclass
class FakeObject:
    """A buffer object."""

    address: int
    size: int
    flags: AllocFlag
    gpu_id: int
    mapped: set[int] = field(default_factory=set)


@dataclass
class FakeEvent:
    """An event."""

    kind: EventType
    slot: int
    age: int = 1
    data: kfd.EventData | None = None


class FakeKernel:
    """Implements `Kernel`. `calls` lists the names of all calls in order; `fail` makes one fail."""

    name = "fake"

    def __init__(self, *models: str, small_bar: bool = False) -> None:
        self.version = (1, 17)
        self.small_bar = small_bar
        self.files = topology_files([model(name) for name in models or ("mi300x",)], small_bar=small_bar)
        self.calls: list[str] = []
        self.mappings: dict[int, int] = {}
        self.descriptors: dict[int, str] = {}
        self.acquired: dict[int, int] = {}
        self.objects: dict[int, FakeObject] = {}
        self.events: dict[int, FakeEvent] = {}
        self.queues: dict[int, kfd.CreateQueueArgs] = {}
        self.cu_masks: dict[int, list[int]] = {}
        self.saved_waves: list[tuple[int, int]] = []
        self.events_page = 0
        self.events_pages: set[int] = set()
        """Those of processes before, too: the kernel keeps them until the process ends."""
        self.doorbells: list[tuple[int, int]] = []
        self.lie_about_mapping = False
        self.xnack = 0
        self.on_wait: Callable[[], None] = lambda: None
        self.on_wait_element: Callable[[kfd.EventData], None] = lambda element: None
        self.on_create_queue: Callable[[], None] = lambda: None
        self.on_doorbell: Callable[[int, int], None] = lambda address, value: None
        self._failures: dict[str, list[int]] = {}
        self._partial_success = 0
        self._next = 1
        self._next_fd = 100

    def fail(self, call: str, errno_value: int, *, after: int = 0) -> None:
        """Make a call (`MAP_MEMORY_TO_GPU`, `mmap`) fail once, after `after` more that succeed."""
        self._failures[call] = [after, errno_value]

    def fail_nth(self, count: int, errno_value: int = errno.EIO) -> None:
        """Make the `count`th call of any kind from now on fail, counting from 0."""
        self._failures["*"] = [count, errno_value]

    @property
    def failures_left(self) -> bool:
        """Whether a failure that was asked for has not happened."""
        return bool(self._failures)

    def forgive(self) -> None:
        """Cancel failures that were asked for."""
        self._failures.clear()

    def held(self) -> dict[str, int]:
        """What a process that closed its devices may not hold (descriptors and events page excepted)."""
        return {
            "objects": len(self.objects.keys() - self.events_pages),
            "mappings": len(
                self.mappings.keys()
                - {self.objects[page].address for page in self.events_pages if page in self.objects}
            ),
            "events": len(self.events),
            "queues": len(self.queues),
        }

    def open(self, path: str, flags: int) -> int:
        self._call("open", path)
        self._next_fd += 1
        self.descriptors[self._next_fd] = path
        return self._next_fd

    def close(self, fd: int) -> None:
        self._call("close", str(fd))
        del self.descriptors[fd]

    def ioctl(self, fd: int, request: int, argument: Any) -> int:
        name, text = describe(request, argument)
        name = name.removeprefix("AMDKFD_IOC_")
        assert self.descriptors[fd] == "/dev/kfd"
        assert ctypes.sizeof(argument) == ioctl.decode(request).size
        if name == "MAP_MEMORY_TO_GPU":
            argument.n_success = self._partial_success
        self._call(name, text)
        getattr(self, f"_{name.lower()}")(argument)
        return 0

    def mmap(self, address: int, length: int, protection: int, flags: int, fd: int, offset: int) -> int:
        self._call("mmap", f"{address:#x}, {length:#x}")
        if fd >= 0:
            # Plain memory stands for buffer objects, doorbells and registers.
            flags = _ANONYMOUS | (flags & _MAP_FIXED)
            protection = _READ_WRITE
        result = _LIBC.mmap(address, length, protection, flags, -1, 0)
        if result == ctypes.c_void_p(-1).value:
            raise KernelError(ctypes.get_errno(), "mmap", f"{length:#x}")
        self._forget(result, length)
        self.mappings[result] = length
        return int(result)

    def munmap(self, address: int, length: int) -> None:
        self._call("munmap", f"{address:#x}, {length:#x}")
        assert _LIBC.munmap(address, length) == 0
        self._forget(address, length)

    def poll(self, fds: Sequence[tuple[int, int]], timeout: float | None) -> list[tuple[int, int]]:
        raise NotImplementedError

    def listdir(self, path: str) -> list[str]:
        prefix = f"{path}/"
        return sorted({name[len(prefix) :].split("/")[0] for name in self.files if name.startswith(prefix)})

    def read_text(self, path: str) -> str:
        content = self.files.get(path, errno.ENOENT)
        if isinstance(content, int):
            raise KernelError(content, "read", path)
        return content() if callable(content) else content

    def store_doorbell(self, address: int, value: int) -> None:
        self.doorbells.append((address, value))
        self.on_doorbell(address, value)

    def signal(self, event_id: int) -> None:
        """Do what an interrupt does."""
        self.events[event_id].age += 1

    def raise_memory_fault(self, gpu_id: int, address: int) -> None:
        """Report a fault to all who listen."""
        for event in self.events.values():
            if event.kind is EventType.MEMORY:
                event.data = kfd.EventData()
                event.data.memory_exception_data.va = address
                event.data.memory_exception_data.gpu_id = gpu_id
                event.data.memory_exception_data.failure.NotPresent = 1

    def _call(self, name: str, text: str) -> None:
        self.calls.append(name)
        for key in (name, "*"):
            failure = self._failures.get(key)
            if failure is None:
                continue
            if failure[0] == 0:
                del self._failures[key]
                raise KernelError(failure[1], name, text)
            failure[0] -= 1

    def _forget(self, address: int, length: int) -> None:
        """Cut a range out of the list of mappings."""
        for start, size in list(self.mappings.items()):
            end, cut = start + size, address + length
            if start < cut and address < end:
                del self.mappings[start]
                if start < address:
                    self.mappings[start] = address - start
                if cut < end:
                    self.mappings[cut] = end - cut

    def _get_version(self, argument: kfd.GetVersionArgs) -> None:
        argument.major_version, argument.minor_version = self.version

    def _create_process(self, argument: object) -> None:
        self.acquired.clear()
        self.events_page = 0

    def _acquire_vm(self, argument: kfd.AcquireVmArgs) -> None:
        if self.acquired.setdefault(argument.gpu_id, argument.drm_fd) != argument.drm_fd:
            raise KernelError(errno.EBUSY, "ACQUIRE_VM", "")

    def _get_process_apertures_new(self, argument: kfd.GetProcessAperturesNewArgs) -> None:
        gpu_ids = [
            int(text)
            for path, text in self.files.items()
            if path.endswith("/gpu_id") and isinstance(text, str) and int(text)
        ]
        if argument.num_of_nodes:
            table = (kfd.ProcessDeviceApertures * argument.num_of_nodes).from_address(
                argument.kfd_process_device_apertures_ptr
            )
            for entry, gpu_id in zip(table, gpu_ids, strict=False):
                entry.gpu_id, entry.lds_base, entry.scratch_base = gpu_id, 1 << 48, 2 << 48
        argument.num_of_nodes = len(gpu_ids)

    def _runtime_enable(self, argument: kfd.RuntimeEnableArgs) -> None:
        if self.queues:
            raise KernelError(errno.EEXIST, "RUNTIME_ENABLE", "")

    def _alloc_memory_of_gpu(self, argument: kfd.AllocMemoryOfGpuArgs) -> None:
        flags = AllocFlag(argument.flags)
        if self.small_bar and AllocFlag.VRAM | AllocFlag.PUBLIC in flags:
            raise KernelError(errno.EINVAL, "ALLOC_MEMORY_OF_GPU", "")
        handle = self._new_id()
        self.objects[handle] = FakeObject(argument.va_addr, argument.size, flags, argument.gpu_id)
        argument.handle, argument.mmap_offset = handle, handle * PAGE

    def _free_memory_of_gpu(self, argument: kfd.FreeMemoryOfGpuArgs) -> None:
        assert not self.objects[argument.handle].mapped, "freed while mapped"
        assert argument.handle not in self.events_pages
        del self.objects[argument.handle]

    def _map_memory_to_gpu(self, argument: kfd.MapMemoryToGpuArgs) -> None:
        ids = (ctypes.c_uint32 * argument.n_devices).from_address(argument.device_ids_array_ptr)
        if self.lie_about_mapping:
            return
        self.objects[argument.handle].mapped.update(ids)
        argument.n_success = argument.n_devices

    def map_partially(self, count: int) -> None:
        """Let MAP_MEMORY_TO_GPU report `count` successes when it fails."""
        self._partial_success = count

    def _unmap_memory_from_gpu(self, argument: kfd.UnmapMemoryFromGpuArgs) -> None:
        ids = (ctypes.c_uint32 * argument.n_devices).from_address(argument.device_ids_array_ptr)
        held = self.objects[argument.handle]
        for queue in self.queues.values():
            assert not held.address <= queue.ring_base_address < held.address + held.size
            assert not held.address <= queue.ctx_save_restore_address < held.address + held.size
        held.mapped.difference_update(ids)
        argument.n_success = argument.n_devices

    def _create_event(self, argument: kfd.CreateEventArgs) -> None:
        if argument.event_page_offset:
            assert not self.events_page
            page = self.objects[argument.event_page_offset]
            assert page.size == kfd.EVENT_PAGE_SIZE
            assert AllocFlag.GTT in page.flags
            self.events_page = argument.event_page_offset
            self.events_pages.add(self.events_page)
        kind = EventType(argument.event_type)
        slots = {event.slot for event in self.events.values()}
        slot = next(index for index in range(1, 4096) if index not in slots)
        event_id = slot if kind is EventType.SIGNAL else 0x40000000 + self._new_id()
        self.events[event_id] = FakeEvent(kind, slot if kind is EventType.SIGNAL else 0)
        argument.event_id, argument.event_slot_index = event_id, self.events[event_id].slot

    def _destroy_event(self, argument: kfd.DestroyEventArgs) -> None:
        del self.events[argument.event_id]

    def _set_event(self, argument: kfd.SetEventArgs) -> None:
        self.signal(argument.event_id)

    def _wait_events(self, argument: kfd.WaitEventsArgs) -> None:
        table = (kfd.EventData * argument.num_events).from_address(argument.events_ptr)
        self.on_wait()
        argument.wait_result = kfd.WaitResult.TIMEOUT
        for entry in table:
            self.on_wait_element(entry)
            event = self.events[entry.event_id]
            if event.kind is EventType.SIGNAL:
                # Age 0 is taken by the kernel, but misses what was signalled between two waits.
                assert entry.signal_event_data.last_event_age != 0
                if entry.signal_event_data.last_event_age != event.age:
                    argument.wait_result = kfd.WaitResult.COMPLETE
                    entry.signal_event_data.last_event_age = event.age
            elif event.data is not None:
                argument.wait_result = kfd.WaitResult.COMPLETE
                entry.payload = event.data.payload
                event.data = None

    def _create_queue(self, argument: kfd.CreateQueueArgs) -> None:
        queue_id = next(index for index in range(1024) if index not in self.queues)
        for address in (argument.ring_base_address, argument.read_pointer_address & -PAGE):
            assert any(
                held.address == address and argument.gpu_id in held.mapped for held in self.objects.values()
            )
        argument.queue_id = queue_id
        argument.doorbell_offset = 3 << 62 | argument.gpu_id << 46 | 8 * queue_id
        self.on_create_queue()
        self.queues[queue_id] = type(argument).from_buffer_copy(argument)

    def _update_queue(self, argument: kfd.UpdateQueueArgs) -> None:
        queue = self.queues[argument.queue_id]
        for name in ("ring_base_address", "ring_size", "queue_percentage", "queue_priority"):
            setattr(queue, name, getattr(argument, name))

    def _set_cu_mask(self, argument: kfd.SetCuMaskArgs) -> None:
        words = (ctypes.c_uint32 * (argument.num_cu_mask // 32)).from_address(argument.cu_mask_ptr)
        self.cu_masks[argument.queue_id] = list(words)

    def _get_queue_wave_state(self, argument: kfd.GetQueueWaveStateArgs) -> None:
        queue = self.queues[argument.queue_id]
        assert queue.queue_percentage & 0xFF == 0
        for xcc, (stack, state) in enumerate(self.saved_waves):
            header = kfd.ContextSaveWaveState.from_address(
                argument.ctl_stack_address + xcc * queue.ctx_save_restore_size
            )
            header.control_stack_size, header.wave_state_size = stack, state

    def _destroy_queue(self, argument: kfd.DestroyQueueArgs) -> None:
        del self.queues[argument.queue_id]

    def _set_xnack_mode(self, argument: kfd.SetXnackModeArgs) -> None:
        assert argument.xnack_enabled == -1
        argument.xnack_enabled = self.xnack

    def _available_memory(self, argument: kfd.GetAvailableMemoryArgs) -> None:
        argument.available = 1 << 30

    def _get_clock_counters(self, argument: kfd.GetClockCountersArgs) -> None:
        argument.gpu_clock_counter, argument.cpu_clock_counter = 1000, 10000

    def _new_id(self) -> int:
        self._next += 1
        return self._next


def topology_files(models: Sequence[Any], *, small_bar: bool = False) -> dict[str, Any]:
    """Make a sysfs tree: node 0 is a CPU, the GPUs follow."""
    files: dict[str, Any] = {f"{TOPOLOGY}/generation_id": "2\n"}
    add_node(files, 0, 0, {"cpu_cores_count": 16, "simd_count": 0}, ())
    for index, row in enumerate(models, 1):
        properties = dict(row.properties)
        properties.update(
            location_id=index << 8, domain=0, drm_render_minor=127 + index, unique_id=7000 + index
        )
        banks = [dict(bank) for bank in row.mem_banks]
        for bank in banks:
            bank["heap_type"] = 2 if small_bar else 1
        add_node(files, index, 0x1000 + index, properties, banks)
    return files


def add_node(
    files: dict[str, Any],
    index: int,
    gpu_id: int,
    properties: Mapping[str, int],
    banks: Sequence[Mapping[str, int]],
) -> None:
    """Add the files of a node to a sysfs tree."""
    path = f"{TOPOLOGY}/nodes/{index}"
    files[f"{path}/gpu_id"] = f"{gpu_id}\n"
    files[f"{path}/name"] = "ip discovery\n" if gpu_id else "\n"
    files[f"{path}/properties"] = _text(properties)
    for number, bank in enumerate(banks):
        files[f"{path}/mem_banks/{number}/properties"] = _text(bank)


def _text(properties: Mapping[str, int]) -> str:
    return "".join(f"{key} {value}\n" for key, value in properties.items())
