"""One GPU through amdkfd: its memory, queues, events and faults."""

from __future__ import annotations

import ctypes
import errno
import mmap
from collections.abc import Sequence
from contextlib import ExitStack

from pytest_amdgpu.abi.drm import AmdgpuInfo, DrmIoctl
from pytest_amdgpu.abi.drm_info import AmdgpuInfoDevice, InfoQuery
from pytest_amdgpu.abi.kfd import (
    DOORBELL_SLICE,
    AllocFlag,
    AllocMemoryOfGpuArgs,
    CreateQueueArgs,
    DestroyQueueArgs,
    FreeMemoryOfGpuArgs,
    GetAvailableMemoryArgs,
    GetClockCountersArgs,
    GetQueueWaveStateArgs,
    KfdIoctl,
    MmioRemap,
    QueueType,
    SetCuMaskArgs,
    SetEventArgs,
    SetXnackModeArgs,
    SvmAttributeType,
    UpdateQueueArgs,
)
from pytest_amdgpu.driver import kfd_svm
from pytest_amdgpu.driver.backend import (
    PAGE,
    Allocation,
    Backend,
    Event,
    Fault,
    HardwareQueue,
    Location,
    MemoryRequest,
    QueueKind,
    QueueRequest,
)
from pytest_amdgpu.driver.errors import AllocationError, NoFreeQueueError, PeerAccessError
from pytest_amdgpu.driver.kfd_faults import FaultListener
from pytest_amdgpu.driver.kfd_memory import KfdMemory
from pytest_amdgpu.driver.kfd_process import connect
from pytest_amdgpu.driver.links import why_unreachable
from pytest_amdgpu.driver.queries import Apertures, Clocks
from pytest_amdgpu.driver.topology import GpuNode
from pytest_amdgpu.kernel.protocol import Kernel, KernelError

_READ_WRITE = mmap.PROT_READ | mmap.PROT_WRITE


class KfdBackend:
    """Implements `Backend` with the ioctls of `/dev/kfd`."""

    name = "kfd"

    def __init__(self, kernel: Kernel, node: GpuNode) -> None:
        """Open a GPU; raises `DeviceOpenError`, or `KernelError` for an ioctl that fails."""
        self.kernel = kernel
        self.node = node
        self._process = connect(kernel)
        self._doorbells = 0
        self._counter_hz = 0
        self._hdp_flush: memoryview | None = None
        with ExitStack() as undo:
            self._process.enter()
            undo.callback(self._process.leave)
            self._render_fd = self._process.acquire_vm(node)
            self._memory = KfdMemory(self._process, node, self._render_fd)
            apertures = self._process.apertures(node.gpu_id)
            self.shared_aperture = int(apertures.lds_base)
            self.private_aperture = int(apertures.scratch_base)
            self._process.enable_exceptions()
            self._process.share_events_page(self._memory, node)
            self._listener = FaultListener(self._process, node)
            undo.callback(self._listener.close)
            self._undo = undo.pop_all()

    @property
    def faults(self) -> Sequence[Fault]:
        """Faults seen since the device was opened, oldest first."""
        return self._listener.faults

    def allocate(self, request: MemoryRequest) -> Allocation:
        """Allocate memory and map it on this GPU; raises `AllocationError`."""
        if request.location is Location.USERPTR and self._process.secondary:
            raise AllocationError(
                f"GPU {self.node.identity} cannot reach memory of the process: after an earlier fault this "
                "process goes on in a secondary process of the kernel's, which may not register user memory "
                "(EOPNOTSUPP); a new process may"
            )
        return self._memory.allocate(request)

    def reserve(self, size: int) -> int:
        """Reserve addresses for requests that name their place; raises `AllocationError`."""
        return self._memory.reserve(size)

    def map_to_peer(self, allocation: Allocation, peer: Backend) -> None:
        """Let another GPU reach memory of this one; raises `PeerAccessError`."""
        try:
            self._memory.map_to(allocation, [peer.node.gpu_id])
        except KernelError as error:
            # All GPUs reach system memory, so its refusal means something else.
            if error.errno != errno.EINVAL or allocation.request.location is not Location.VRAM:
                raise
            why = why_unreachable(self.kernel, self.node, peer.node)
            what = f"{allocation.request.location.value} of {self.node.identity}"
            raise PeerAccessError(f"{peer.node.identity} cannot reach {what}: {why} ({error})") from error

    def export(self, allocation: Allocation) -> int:
        """Return a descriptor of memory, for other processes; raises `SharingError`."""
        return self._memory.export(allocation)

    def adopt(self, fd: int) -> Allocation:
        """Map exported memory here; raises `SharingError`, or `PeerAccessError` for an unreachable GPU's."""
        return self._memory.adopt(fd)

    def free(self, allocation: Allocation) -> None:
        """Unmap memory from all GPUs and free it; the CPU's mapping stays until `unmap_cpu`."""
        if allocation.request.location is Location.SVM:
            # Registration ends with the mapping of the memory; until then only access can be taken away.
            denied = [(SvmAttributeType.NO_ACCESS, gpu_id) for gpu_id in allocation.mapped_gpus]
            self.set_svm(allocation.address, allocation.size, denied)
            return
        self._memory.free(allocation)

    def unmap_cpu(self, address: int, size: int) -> None:
        """Give back the address range of freed memory."""
        self._memory.unmap_cpu(address, size)

    def create_queue(self, request: QueueRequest) -> HardwareQueue:
        """Start a queue; all memory that it names must be mapped on this GPU.

        Raises `NoFreeQueueError` where all SDMA queues of the GPU are taken.
        """
        arguments = CreateQueueArgs(
            ring_base_address=request.ring.address,
            ring_size=request.ring.size,
            read_pointer_address=request.read_pointer,
            write_pointer_address=request.write_pointer,
            gpu_id=self.node.gpu_id,
            queue_type=_queue_type(request),
            # Bits 15:8 choose the XCC that reads a PM4 ring (kfd_chardev.c, pm4_target_xcc).
            queue_percentage=100 | request.xcc << 8,
            queue_priority=request.priority,
            sdma_engine_id=request.engine or 0,
        )
        if request.end_of_pipe is not None:
            arguments.eop_buffer_address = request.end_of_pipe.address
            arguments.eop_buffer_size = request.end_of_pipe.size
        if request.context_save is not None:
            arguments.ctx_save_restore_address = request.context_save.address
            arguments.ctx_save_restore_size = request.context_save_size
            arguments.ctl_stack_size = request.control_stack_size
        try:
            self._process.ioctl(KfdIoctl.CREATE_QUEUE, arguments)
        except KernelError as error:
            # What allocate_sdma_queue answers when none is left (kfd_device_queue_manager.c).
            if request.kind is QueueKind.SDMA and error.errno == errno.ENOMEM:
                raise NoFreeQueueError(self._no_free_queue(request, error)) from error
            raise
        queue_id, offset = int(arguments.queue_id), int(arguments.doorbell_offset)
        try:
            if not self._doorbells:
                # All queues of a process on a GPU share one slice of doorbells.
                slice_offset = offset & ~(DOORBELL_SLICE - 1)
                self._doorbells = self.kernel.mmap(
                    0, DOORBELL_SLICE, _READ_WRITE, mmap.MAP_SHARED, self._process.fd, slice_offset
                )
        except BaseException:
            self._process.ioctl(KfdIoctl.DESTROY_QUEUE, DestroyQueueArgs(queue_id=queue_id))
            raise
        return HardwareQueue(queue_id, self._doorbells + (offset & (DOORBELL_SLICE - 1)))

    def update_queue(
        self, queue: HardwareQueue, request: QueueRequest, *, priority: int, percentage: int
    ) -> None:
        """Give a queue another priority, or take it off the hardware with a `percentage` of 0."""
        arguments = UpdateQueueArgs(
            ring_base_address=request.ring.address,
            queue_id=queue.queue_id,
            ring_size=request.ring.size,
            queue_percentage=percentage | request.xcc << 8,
            queue_priority=priority,
        )
        self._process.ioctl(KfdIoctl.UPDATE_QUEUE, arguments)

    def set_cu_mask(self, queue: HardwareQueue, words: Sequence[int]) -> None:
        """Restrict a compute queue to the compute units of a mask, in words of 32 bits."""
        mask = (ctypes.c_uint32 * len(words))(*words)
        arguments = SetCuMaskArgs(
            queue_id=queue.queue_id, num_cu_mask=32 * len(words), cu_mask_ptr=ctypes.addressof(mask)
        )
        self._process.ioctl(KfdIoctl.SET_CU_MASK, arguments)

    def save_wave_state(self, queue: HardwareQueue, area: int) -> None:
        """Have the header of each XCC at the context save area say what a paused queue saved."""
        arguments = GetQueueWaveStateArgs(queue_id=queue.queue_id, ctl_stack_address=area)
        self._process.ioctl(KfdIoctl.GET_QUEUE_WAVE_STATE, arguments)

    def destroy_queue(self, queue: HardwareQueue) -> None:
        """Stop a queue, whatever it was doing.

        ETIME and EIO say that the waves could not be preempted; the queue is gone nevertheless
        (kfd_device_queue_manager.c), which is recorded as a fault.
        """
        try:
            self._process.ioctl(KfdIoctl.DESTROY_QUEUE, DestroyQueueArgs(queue_id=queue.queue_id))
        except KernelError as error:
            if error.errno not in (errno.ETIME, errno.EIO):
                raise
            self._listener.record(
                Fault("queue", f"queue {queue.queue_id} did not stop when destroyed: {error}")
            )

    def watch_queue(self, payload_address: int, name: str) -> int:
        """Report as a fault what the kernel will OR into the 64-bit word at `payload_address`."""
        self._listener.watch(payload_address, name)
        return self._listener.queue_error_event

    def unwatch_queue(self, payload_address: int) -> None:
        """End what `watch_queue` began."""
        self._listener.unwatch(payload_address)

    def create_event(self) -> Event:
        """Create an event that one waiter consumes."""
        return self._process.create_event(self.node)

    def destroy_event(self, event: Event) -> None:
        """Destroy an event."""
        self._process.destroy_event(event)

    def signal_event(self, event: Event) -> None:
        """Signal an event from the host."""
        self._process.ioctl(KfdIoctl.SET_EVENT, SetEventArgs(event_id=event.event_id))

    def wait_event(self, event: Event | None, age: int, timeout: float) -> int:
        """Sleep until `event` was signalled since `age`, a fault arrived, or `timeout` seconds passed."""
        return self._listener.wait(event, age, timeout)

    def flush_host_writes(self) -> None:
        """Make the GPU see what the CPU wrote to VRAM: flush the host data path's write buffer."""
        if self._hdp_flush is None:
            self._hdp_flush = self._map_hdp_registers()
        self._hdp_flush[MmioRemap.HDP_MEM_FLUSH_CNTL // 4] = 1

    def clock_counters(self) -> tuple[int, int]:
        """Read the GPU's constant counter and CLOCK_MONOTONIC_RAW (ns) at one time."""
        arguments = GetClockCountersArgs(gpu_id=self.node.gpu_id)
        self._process.ioctl(KfdIoctl.GET_CLOCK_COUNTERS, arguments)
        return int(arguments.gpu_clock_counter), int(arguments.cpu_clock_counter)

    def clocks(self) -> Clocks:
        """Read all clocks at one time; the GPU's frequency is that of DEV_INFO (`gpu_counter_freq`, kHz)."""
        arguments = GetClockCountersArgs(gpu_id=self.node.gpu_id)
        self._process.ioctl(KfdIoctl.GET_CLOCK_COUNTERS, arguments)
        if not self._counter_hz:
            told = AmdgpuInfoDevice()
            query = AmdgpuInfo(
                return_pointer=ctypes.addressof(told),
                return_size=ctypes.sizeof(told),
                query=InfoQuery.DEV_INFO,
            )
            self.kernel.ioctl(self._render_fd, DrmIoctl.AMDGPU_INFO, query)
            self._counter_hz = told.gpu_counter_freq * 1000
        return Clocks(
            gpu_ticks=int(arguments.gpu_clock_counter),
            gpu_hz=self._counter_hz,
            cpu_ns=int(arguments.cpu_clock_counter),
            # The kernel tells this clock's frequency with it, which has always been 1 GHz (kfd_chardev.c).
            system_ns=int(arguments.system_clock_counter) * 1_000_000_000 // arguments.system_clock_freq,
        )

    def apertures(self) -> Apertures:
        """Return the address ranges of this GPU."""
        told = self._process.apertures(self.node.gpu_id)
        return Apertures(
            (told.lds_base, told.lds_limit),
            (told.scratch_base, told.scratch_limit),
            (told.gpuvm_base, told.gpuvm_limit),
        )

    def set_svm(self, address: int, size: int, attributes: Sequence[tuple[SvmAttributeType, int]]) -> None:
        """Set attributes of memory of the process, which registers it for sharing."""
        kfd_svm.set_attributes(self._process, address, size, attributes)

    def get_svm(
        self, address: int, size: int, attributes: Sequence[tuple[SvmAttributeType, int]]
    ) -> list[tuple[SvmAttributeType, int]]:
        """Return what all of a range has in common; an access attribute asks for the GPU in its value."""
        return kfd_svm.get_attributes(self._process, address, size, attributes)

    def xnack_enabled(self) -> bool:
        """Ask for the process's XNACK mode; a kernel without shared virtual memory (EPERM) has none."""
        arguments = SetXnackModeArgs(xnack_enabled=-1)
        try:
            self._process.ioctl(KfdIoctl.SET_XNACK_MODE, arguments)
        except KernelError as error:
            if error.errno != errno.EPERM:
                raise
            return False
        return bool(arguments.xnack_enabled)

    def available_memory(self) -> int:
        """Bytes of VRAM that could be allocated now."""
        arguments = GetAvailableMemoryArgs(gpu_id=self.node.gpu_id)
        self._process.ioctl(KfdIoctl.AVAILABLE_MEMORY, arguments)
        return int(arguments.available)

    def close(self) -> None:
        """Give back events, doorbells and registers; the VM and the events page stay the process's."""
        with self._undo as undo:
            if self._doorbells:
                undo.callback(self.kernel.munmap, self._doorbells, DOORBELL_SLICE)
                self._doorbells = 0
            self._hdp_flush = None

    def _no_free_queue(self, request: QueueRequest, error: KernelError) -> str:
        per_engine = self.node.properties.get("num_sdma_queues_per_engine", 0)
        engines = 1 if request.engine is not None else self.node.properties.get("num_sdma_engines", 0)
        return (
            f"no SDMA queue is free on {self.node.description}: all processes share {per_engine * engines},"
            f" {per_engine} of each engine; close some, or find the other processes that use the GPU in"
            f" /sys/class/kfd/kfd/proc ({error})"
        )

    def _map_hdp_registers(self) -> memoryview:
        """Map the page with the two flush registers, which the driver remaps for user space."""
        arguments = AllocMemoryOfGpuArgs(
            size=PAGE, gpu_id=self.node.gpu_id, flags=AllocFlag.MMIO_REMAP | AllocFlag.WRITABLE
        )
        self._process.ioctl(KfdIoctl.ALLOC_MEMORY_OF_GPU, arguments)
        free = FreeMemoryOfGpuArgs(handle=arguments.handle)
        try:
            address = self.kernel.mmap(
                0, PAGE, _READ_WRITE, mmap.MAP_SHARED, self._process.fd, arguments.mmap_offset
            )
        except BaseException:
            self._process.ioctl(KfdIoctl.FREE_MEMORY_OF_GPU, free)
            raise
        self._undo.callback(self._process.ioctl, KfdIoctl.FREE_MEMORY_OF_GPU, free)
        self._undo.callback(self.kernel.munmap, address, PAGE)
        return memoryview((ctypes.c_uint32 * 2).from_address(address)).cast("B").cast("I")


def _queue_type(request: QueueRequest) -> QueueType:
    if request.kind is QueueKind.SDMA:
        if request.engine is not None:
            return QueueType.SDMA_BY_ENG_ID
        return QueueType.SDMA_XGMI if request.xgmi else QueueType.SDMA
    return QueueType.COMPUTE_AQL if request.kind is QueueKind.AQL else QueueType.COMPUTE
