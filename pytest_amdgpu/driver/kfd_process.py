"""What a process has of amdkfd once, whichever GPUs it opens: descriptors, version, events page.

The kernel keeps this state until the process ends: a GPU stays bound to the render node's descriptor
that acquired its VM (a second descriptor gets EBUSY), and the events page can neither be replaced nor
freed (kfd_process.c, kfd_events.c). So it is kept here, and a GPU may be closed and opened again.

After a memory fault or a reset the kernel runs no queue of the process any more. Since interface 1.19 a
descriptor of `/dev/kfd` can be made a secondary process of its own, with VMs, events and queues that know
nothing of the fault (CREATE_PROCESS; kfd_ioctl_create_process). It ends with the descriptor, and the kernel
serves it no user memory, no shared virtual memory and no debugger (series "amdkfd: introduce multiple
contexts", October and November 2025).
"""

from __future__ import annotations

import ctypes
import errno
import os
import weakref
from contextlib import ExitStack

from pytest_amdgpu.abi.kfd import (
    EVENT_PAGE_SIZE,
    AcquireVmArgs,
    CreateEventArgs,
    DestroyEventArgs,
    EventType,
    GetProcessAperturesNewArgs,
    GetVersionArgs,
    KfdIoctl,
    ProcessDeviceApertures,
    RuntimeEnableArgs,
    RuntimeEnableMode,
)
from pytest_amdgpu.driver.backend import Allocation, Event, Location, MemoryRequest
from pytest_amdgpu.driver.errors import DeviceOpenError
from pytest_amdgpu.driver.kfd_memory import KfdMemory
from pytest_amdgpu.driver.topology import GpuNode
from pytest_amdgpu.kernel.protocol import Kernel, KernelError

KFD_PATH = "/dev/kfd"

NEEDED_VERSION = (1, 14)
"""First interface with `last_event_age` in WAIT_EVENTS, without which a wake-up can be missed."""

SECONDARY_VERSION = (1, 19)
"""First interface with secondary processes."""

_OPEN_FLAGS = os.O_RDWR | os.O_CLOEXEC


class _Nothing(ctypes.Structure):
    """The argument of an ioctl that has none."""


class KfdProcess:
    """This process's connection to amdkfd; get it with `connect`."""

    def __init__(self, kernel: Kernel, *, secondary: bool = False) -> None:
        """Open `/dev/kfd` and check its interface; raises `DeviceOpenError`."""
        # Weak, because `connect` keeps this object for as long as the kernel lives.
        self._kernel = weakref.ref(kernel)
        self.pid = os.getpid()
        self.secondary = secondary
        """Whether it is a secondary process, for which the kernel does less."""
        self.spoiled = ""
        """What happened, if the kernel will run no more queues of this process."""
        self._users = 0
        self._render_fds: dict[int, int] = {}
        self._events_page: Allocation | None = None
        self._runtime_enabled = False
        self.fd = open_node(kernel, KFD_PATH, "the amdgpu kernel driver is not loaded or has no KFD")
        try:
            version = GetVersionArgs()
            self.ioctl(KfdIoctl.GET_VERSION, version)
            self.version = (version.major_version, version.minor_version)
            if self.version[0] != NEEDED_VERSION[0] or self.version < NEEDED_VERSION:
                raise DeviceOpenError(
                    f"{KFD_PATH} speaks interface {self.version[0]}.{self.version[1]};"
                    f" needed is {NEEDED_VERSION[0]}.{NEEDED_VERSION[1]} or a later one of"
                    f" version {NEEDED_VERSION[0]}"
                )
            if secondary:
                self.ioctl(KfdIoctl.CREATE_PROCESS, _Nothing())
        except BaseException:
            kernel.close(self.fd)
            raise

    @property
    def kernel(self) -> Kernel:
        """The kernel that this is a connection to."""
        kernel = self._kernel()
        assert kernel is not None, "whoever uses the connection holds the kernel"
        return kernel

    @property
    def can_be_left(self) -> bool:
        """Whether the kernel lets this process go on in another one of its own."""
        return self.version >= SECONDARY_VERSION

    def enter(self) -> None:
        """Count a GPU that is open through this connection."""
        self._users += 1

    def leave(self) -> None:
        """Count it no more; a connection that is of no use any more ends with its last GPU."""
        self._users -= 1
        if self.spoiled and not self._users:
            self._end()

    def _end(self) -> None:
        """Close all descriptors; with them a secondary process ends, whatever it still has."""
        kernel = self.kernel
        with ExitStack() as undo:
            undo.callback(kernel.close, self.fd)
            for fd in self._render_fds.values():
                undo.callback(kernel.close, fd)
            page, self._events_page = self._events_page, None
            if page is not None:
                undo.callback(kernel.munmap, page.address, page.size)

    def ioctl(self, request: KfdIoctl, argument: ctypes.Structure) -> int:
        """Do an ioctl on `/dev/kfd`."""
        return self.kernel.ioctl(self.fd, request, argument)

    def acquire_vm(self, node: GpuNode) -> int:
        """Bind a GPU to this process and return the render node's descriptor that its memory is mapped by."""
        known = self._render_fds.get(node.gpu_id)
        if known is not None:
            return known
        render_fd = open_node(self.kernel, node.render_path, "the device node is missing or hidden")
        try:
            self.ioctl(KfdIoctl.ACQUIRE_VM, AcquireVmArgs(drm_fd=render_fd, gpu_id=node.gpu_id))
        except BaseException as error:
            self.kernel.close(render_fd)
            # kfd_ioctl_acquire_vm: the process has given the GPU another descriptor before.
            if isinstance(error, KernelError) and error.errno == errno.EBUSY:
                raise DeviceOpenError(
                    f"cannot use {node.render_path}: this process has opened {node.description} another way,"
                    " through HIP or ROCr perhaps; amdkfd allows one per process, so use another process"
                ) from error
            raise
        self._render_fds[node.gpu_id] = render_fd
        return render_fd

    def enable_exceptions(self) -> None:
        """Ask the kernel to report what stops queues; must come before the first queue (EEXIST after it)."""
        if self._runtime_enabled:
            return
        try:
            self.ioctl(KfdIoctl.RUNTIME_ENABLE, RuntimeEnableArgs(mode_mask=RuntimeEnableMode.ENABLE))
        except KernelError as error:
            # Another runtime in this process (ROCr, say) has asked for it before.
            if error.errno != errno.EBUSY:
                raise
        self._runtime_enabled = True

    def apertures(self, gpu_id: int) -> ProcessDeviceApertures:
        """Return the address ranges of one GPU; raises `DeviceOpenError` if the kernel lists no such GPU."""
        arguments = GetProcessAperturesNewArgs()
        self.ioctl(KfdIoctl.GET_PROCESS_APERTURES_NEW, arguments)
        table = (ProcessDeviceApertures * arguments.num_of_nodes)()
        arguments.kfd_process_device_apertures_ptr = ctypes.addressof(table)
        self.ioctl(KfdIoctl.GET_PROCESS_APERTURES_NEW, arguments)
        for index in range(arguments.num_of_nodes):
            entry: ProcessDeviceApertures = table[index]
            if entry.gpu_id == gpu_id:
                return entry
        raise DeviceOpenError(f"the kernel has no apertures for gpu_id {gpu_id}")

    def share_events_page(self, memory: KfdMemory, node: GpuNode) -> None:
        """Let a GPU reach the page into which GPUs write before they signal an event.

        It must be handed over with the first event of the process: the kernel would otherwise make a page
        of its own that no GPU can reach.
        """
        if self._events_page is not None:
            memory.map_to(self._events_page, [node.gpu_id])
            return
        page = memory.allocate(MemoryRequest(Location.GTT, EVENT_PAGE_SIZE, uncached=True))
        try:
            first = CreateEventArgs(event_page_offset=page.handle, node_id=node.index, auto_reset=1)
            self.ioctl(KfdIoctl.CREATE_EVENT, first)
        except BaseException:
            memory.free(page)
            memory.unmap_cpu(page.address, page.size)
            raise
        self._events_page = page
        # The first event has only carried the page.
        self.destroy_event(Event(first.event_id, 0))

    def create_event(self, node: GpuNode, kind: EventType = EventType.SIGNAL) -> Event:
        """Create an event that resets itself when it has been waited for."""
        assert self._events_page is not None, "events are created after share_events_page"
        arguments = CreateEventArgs(event_type=kind, auto_reset=1, node_id=node.index)
        self.ioctl(KfdIoctl.CREATE_EVENT, arguments)
        slot = self._events_page.address + 8 * arguments.event_slot_index if kind is EventType.SIGNAL else 0
        return Event(arguments.event_id, slot)

    def destroy_event(self, event: Event) -> None:
        """Destroy an event."""
        self.ioctl(KfdIoctl.DESTROY_EVENT, DestroyEventArgs(event_id=event.event_id))


_processes: weakref.WeakKeyDictionary[Kernel, KfdProcess] = weakref.WeakKeyDictionary()


def connect(kernel: Kernel) -> KfdProcess:
    """Return this process's connection through `kernel`, and open it the first time.

    After a fault it is another one than before. Raises `DeviceOpenError` where the kernel has no such thing.
    """
    process = _processes.get(kernel)
    # A fork inherits the object, but amdkfd serves a descriptor only to the process that opened it.
    if process is None or process.pid != os.getpid():
        process = _processes[kernel] = KfdProcess(kernel)
    elif process.spoiled:
        if not process.can_be_left:
            raise DeviceOpenError(
                f"the kernel runs no more queues of this process after an earlier fault ({process.spoiled}); "
                f"{KFD_PATH} speaks interface {process.version[0]}.{process.version[1]}, which has no "
                f"secondary processes ({SECONDARY_VERSION[0]}.{SECONDARY_VERSION[1]} has): only another "
                "process, for instance a forked one, can use the GPU"
            )
        process = _processes[kernel] = KfdProcess(kernel, secondary=True)
    return process


def connection(kernel: Kernel) -> KfdProcess | None:
    """Return the connection through `kernel` that `connect` opened last, if any."""
    return _processes.get(kernel)


def disconnect(kernel: Kernel) -> None:
    """Forget the connection through `kernel`, whose other end the kernel has ended."""
    _processes.pop(kernel, None)


def open_node(kernel: Kernel, path: str, when_missing: str) -> int:
    """Open a device node; raises `DeviceOpenError` that says what to do about it."""
    try:
        return kernel.open(path, _OPEN_FLAGS)
    except KernelError as error:
        reasons = {
            errno.ENOENT: when_missing,
            errno.ENXIO: when_missing,
            errno.EACCES: "no permission; the user must be in the group that owns it (often render)",
            errno.EPERM: "hidden from this container by its device rules",
        }
        reason = reasons.get(error.errno or 0, error.strerror)
        raise DeviceOpenError(f"cannot open {path}: {reason}") from error
