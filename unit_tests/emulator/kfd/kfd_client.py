"""A client of the emulated kernel that speaks the raw ABI: structures and ioctls, no driver."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from pytest_amdgpu.abi import kfd
from pytest_amdgpu.abi.kfd import KFD_IOCTLS, AllocFlag, KfdIoctl, QueueType
from pytest_amdgpu.devices.software import software_model
from pytest_amdgpu.emulator.compute_units import EngineMasks
from pytest_amdgpu.emulator.engine.context import QueueContext
from pytest_amdgpu.emulator.engine.wave_save import SavedWaves
from pytest_amdgpu.emulator.gpu import SoftwareGpu
from pytest_amdgpu.emulator.kernel import EmulatedKernel
from pytest_amdgpu.emulator.process import Process
from pytest_amdgpu.kernel.protocol import KernelError

PAGE = 4096
MAP_SHARED, MAP_PRIVATE, MAP_FIXED, MAP_ANONYMOUS = 0x01, 0x02, 0x10, 0x20
PROT_NONE, PROT_RW = 0, 3
WRITABLE_VRAM = AllocFlag.VRAM | AllocFlag.WRITABLE | AllocFlag.PUBLIC
GTT = AllocFlag.GTT | AllocFlag.WRITABLE


class StubEngine:
    """Stands for the engine of a queue and records what the kernel side asks of it."""

    def __init__(self, context: QueueContext) -> None:
        self.context = context
        self.calls: list[Any] = []
        self.stop_error: Exception | None = None

    def ring_doorbell(self, value: int) -> None:
        self.calls.append(("ring", value))

    def evict(self) -> None:
        self.calls.append("evict")

    def restore(self) -> None:
        self.calls.append("restore")

    def update(self, ring_address: int, ring_size: int, *, priority: int = 7, active: bool = True) -> None:
        self.calls.append(("update", ring_address, ring_size, priority, active))

    def set_engine_masks(self, masks: EngineMasks) -> None:
        self.calls.append(("masks", masks))

    def saved_waves(self) -> tuple[SavedWaves, ...]:
        return (SavedWaves(),) * self.context.gpu.num_xcc

    def stop(self) -> None:
        self.calls.append("stop")
        if self.stop_error is not None:
            raise self.stop_error

    def state(self) -> str:
        return "stub"


class Client:
    """A process with `/dev/kfd` and a render node of each GPU open, and the VMs acquired."""

    def __init__(
        self, models: Sequence[str] = ("rx7900xtx",), *, acquire: bool = True, **options: Any
    ) -> None:
        self.kernel = EmulatedKernel([software_model(name) for name in models], **options)
        self.fd = self.kernel.open("/dev/kfd", os.O_RDWR | os.O_CLOEXEC)
        self.renders = [
            self.kernel.open(f"/dev/dri/renderD{gpu.render_minor}", os.O_RDWR) for gpu in self.kernel.gpus
        ]
        if acquire:
            for gpu, render in zip(self.kernel.gpus, self.renders, strict=True):
                self.call(KfdIoctl.ACQUIRE_VM, drm_fd=render, gpu_id=gpu.gpu_id)

    @property
    def process(self) -> Process:
        assert self.kernel._process is not None
        return self.kernel._process

    @property
    def gpus(self) -> list[SoftwareGpu]:
        return self.kernel.gpus

    @property
    def gpu(self) -> SoftwareGpu:
        return self.kernel.gpus[0]

    @property
    def gpu_id(self) -> int:
        return self.gpu.gpu_id

    def call(self, request: KfdIoctl, **fields: Any) -> Any:
        struct = KFD_IOCTLS[request & 0xFF].struct
        assert struct is not None
        args = struct(**fields)
        self.kernel.ioctl(self.fd, request, args)
        return args

    def refused(
        self,
        errno: int,
        request: KfdIoctl,
        *,
        changes: bool = False,
        out: Mapping[str, Any] | None = None,
        **fields: Any,
    ) -> Any:
        """Expect a refusal, and no change of state unless `changes`; return the argument afterwards.

        `out` are the fields that the kernel has written although it refused; all others must be as given.
        """
        struct = KFD_IOCTLS[request & 0xFF].struct
        assert struct is not None
        args, expected = struct(**fields), struct(**fields | dict(out or {}))
        before = self.state()
        with pytest.raises(KernelError) as caught:
            self.kernel.ioctl(self.fd, request, args)
        assert (caught.value.errno, caught.value.call) == (errno, f"AMDKFD_IOC_{request.name}")
        if not changes:
            assert self.state() == before
        assert bytes(args) == bytes(expected), _differences(args, expected)
        return args

    def state(self) -> dict[str, Any]:
        """Everything that a refused call must leave as it was."""
        process = self.process
        return {
            "objects": [sorted(device.objects) for device in process.devices.values()],
            "mappings": [
                [(item.start, item.end, item.queue_references) for item in device.space.mappings]
                for device in process.devices.values()
            ],
            "bound": [device.render_file for device in process.devices.values()],
            "queues": {queue.id: (queue.ring_address, queue.ring_size) for queue in process.queues.values()},
            "gpu": [(gpu.vram_used, gpu.queue_count, set(gpu._sdma_queues)) for gpu in self.gpus],
            "system memory": self.kernel._machine.system_memory_used,
            "events": {
                event.id: (event.signaled, event.age, len(event.waiters))
                for event in process.events._events.values()
            },
            "slots": process.events.slot_limit,
            "event page": process.event_page_handle,
            "modes": (process.runtime_enabled, process.xnack_enabled),
            "svm": [
                (item.start, item.end, item.flags, sorted(item.access), sorted(item.in_place), item.prefetch)
                for item in process.svm._ranges
            ],
            "files": self.kernel._files.descriptors,
            "debugger": (process.debug.enabled, process.debug.subscribed, process.debug.exceptions),
            "exceptions": [device.exceptions for device in process.devices.values()]
            + [queue.exceptions for queue in process.queues.values()],
            "gws": [device.gws_queue for device in process.devices.values()],
            "cu masks": [queue.cu_mask for queue in process.queues.values()],
        }

    def client_maps(self) -> list[tuple[int, int]]:
        """Address and length of what this client has mapped of emulated memory."""
        return [(item.start, item.end - item.start) for item in self.kernel._maps._maps]

    def close(self) -> None:
        """Shut down, and unmap what the client itself has left mapped."""
        maps = self.client_maps()
        try:
            self.kernel.shutdown()
        finally:
            for start, length in maps:
                self.kernel.munmap(start, length)

    def reserve(self, size: int) -> int:
        """Reserve CPU addresses."""
        return self.kernel.mmap(0, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)

    def alloc(
        self, size: int = PAGE, flags: int = WRITABLE_VRAM, *, va: int | None = None, gpu: int = 0
    ) -> Any:
        """Allocate at reserved addresses; returns the arguments, with handle, va_addr and mmap_offset."""
        address = self.reserve(size) if va is None else va
        return self.call(
            KfdIoctl.ALLOC_MEMORY_OF_GPU,
            va_addr=address,
            size=size,
            gpu_id=self.gpus[gpu].gpu_id,
            flags=flags,
        )

    def map(self, handle: int, *gpus: int) -> Any:
        return self._map_call(KfdIoctl.MAP_MEMORY_TO_GPU, handle, gpus or (0,))

    def unmap(self, handle: int, *gpus: int) -> Any:
        return self._map_call(KfdIoctl.UNMAP_MEMORY_FROM_GPU, handle, gpus or (0,))

    def _map_call(self, request: KfdIoctl, handle: int, gpus: Sequence[int]) -> Any:
        ids = self.ids(*(self.gpus[gpu].gpu_id for gpu in gpus))
        return self.call(
            request, handle=handle, device_ids_array_ptr=ctypes.addressof(ids), n_devices=len(ids)
        )

    @staticmethod
    def ids(*values: int) -> ctypes.Array[ctypes.c_uint32]:
        return (ctypes.c_uint32 * len(values))(*values)

    def buffer(self, size: int = PAGE, flags: int = WRITABLE_VRAM, *, gpu: int = 0) -> Any:
        """Allocate, map for the CPU and for the GPU that it is on."""
        args = self.alloc(size, flags, gpu=gpu)
        self.cpu_map(args, gpu=gpu)
        self.map(args.handle, gpu)
        return args

    def cpu_map(self, args: Any, *, gpu: int = 0) -> int:
        return self.kernel.mmap(
            args.va_addr, args.size, PROT_RW, MAP_SHARED | MAP_FIXED, self.renders[gpu], args.mmap_offset
        )

    def queue_fields(self, queue_type: int = QueueType.SDMA, *, gpu: int = 0) -> dict[str, Any]:
        """Allocate what a queue needs and return valid fields of CREATE_QUEUE."""
        sizes = self.gpus[gpu].queue_sizes
        pointers = self.buffer(PAGE, GTT, gpu=gpu).va_addr
        fields: dict[str, Any] = {
            "ring_base_address": self.buffer(PAGE, GTT, gpu=gpu).va_addr,
            "ring_size": PAGE,
            "write_pointer_address": pointers,
            "read_pointer_address": pointers + 64,
            "gpu_id": self.gpus[gpu].gpu_id,
            "queue_type": queue_type,
            "queue_percentage": 100,
            "queue_priority": 7,
        }
        if queue_type in (QueueType.COMPUTE, QueueType.COMPUTE_AQL):
            fields["eop_buffer_address"] = self.buffer(sizes.eop_size, gpu=gpu).va_addr
            fields["eop_buffer_size"] = sizes.eop_size
            fields["ctx_save_restore_address"] = self.buffer(sizes.cwsr_mapping_size, GTT, gpu=gpu).va_addr
            fields["ctx_save_restore_size"] = sizes.cwsr_size
            fields["ctl_stack_size"] = sizes.ctl_stack_size
        return fields

    def create_queue(self, queue_type: int = QueueType.SDMA, *, gpu: int = 0) -> Any:
        return self.call(KfdIoctl.CREATE_QUEUE, **self.queue_fields(queue_type, gpu=gpu))

    def map_doorbells(self, gpu: int = 0) -> int:
        offset = kfd.MmapType.DOORBELL << 62 | self.gpus[gpu].gpu_id << 46
        return self.kernel.mmap(0, kfd.DOORBELL_SLICE, PROT_RW, MAP_SHARED, self.fd, offset)

    def event_page(self) -> Any:
        """Make an events page of 32 KiB and hand it in with a first signal event; returns its buffer."""
        page = self.buffer(kfd.EVENT_PAGE_SIZE, GTT)
        self.call(KfdIoctl.CREATE_EVENT, event_page_offset=page.handle, event_type=0)
        return page


def _differences(args: ctypes.Structure, expected: ctypes.Structure) -> str:
    """Name the fields in which two structures differ."""
    pairs = [(field[0], getattr(args, field[0]), getattr(expected, field[0])) for field in args._fields_]
    return "; ".join(f"{name} is {value}, not {wanted}" for name, value, wanted in pairs if value != wanted)


def refusal_in_child(call: Callable[[], object]) -> tuple[int, str]:
    """Make a call in a forked child; return the child's id, and what it was refused with, if it was."""
    told, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            call()
        except KernelError as error:
            os.write(tell, f"{error.errno_name} {error.__notes__[0]}".encode())
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    os.close(tell)
    with os.fdopen(told) as answer:
        return pid, answer.read()
