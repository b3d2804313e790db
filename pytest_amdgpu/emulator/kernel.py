"""The kernel boundary on software GPUs: device nodes, mappings, sysfs and doorbells of `/dev/kfd`.

Descriptors and mappings are real ones of this process, so their numbers and addresses mean what they mean
everywhere; what they lead to is emulated.
"""

from __future__ import annotations

import errno
import os
import select
import threading
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn

from pytest_amdgpu.emulator import host
from pytest_amdgpu.emulator.arena import Arena
from pytest_amdgpu.emulator.behaviour import DEFAULT_BEHAVIOUR
from pytest_amdgpu.emulator.behaviour import behaviour as known_behaviour
from pytest_amdgpu.emulator.client_maps import ClientMap, ClientMaps
from pytest_amdgpu.emulator.doorbells import Doorbells
from pytest_amdgpu.emulator.drm import RenderFile
from pytest_amdgpu.emulator.fault_injection import FaultInjection
from pytest_amdgpu.emulator.files import File
from pytest_amdgpu.emulator.gpu import make_gpus
from pytest_amdgpu.emulator.hostile import Hostility
from pytest_amdgpu.emulator.kernel_log import KernelLog
from pytest_amdgpu.emulator.kfd.file import KfdFile
from pytest_amdgpu.emulator.memory import PAGE_SIZE, BufferObject
from pytest_amdgpu.emulator.process import Machine, Process
from pytest_amdgpu.emulator.refusal import KfdMisuse, Refusal
from pytest_amdgpu.emulator.sysfs import Sysfs
from pytest_amdgpu.kernel.protocol import KernelError

if TYPE_CHECKING:
    from pytest_amdgpu.families.models import Model
    from pytest_amdgpu.kernel.protocol import Argument

_KERNEL_RESERVE = 3 << 29
"""System memory that KFD leaves to others, besides 1/64 of it (amdgpu_amdkfd_gpuvm_init_mem_limits)."""
_OFFSET_MASK = (1 << 64) - 1


class EmulatedKernel(FaultInjection):
    """A machine with software GPUs of the given models, which may repeat.

    `host_memory` bounds the bytes of host memory that all buffers may occupy (default: half of what the
    host has); pages count when they are first touched. `log` has lines as dmesg would. `behaviour` chooses
    the kernel: `6.12` (amdgpu-dkms, interface 1.17) or `newest` (mainline, 1.22); see `behaviour.py`.
    `hostile` is the seed of hostile timing (`hostile.py`); None: events happen when they are caused.

    Refusals are raised as `KernelError` with a note that says why. Bugs of the driver that a real kernel
    would not notice are warned about as `KfdMisuse`; those that an engine's thread finds are warned about
    at the client's next call.
    """

    name = "software"

    def __init__(
        self,
        models: Sequence[Model],
        *,
        host_memory: int | None = None,
        behaviour: str = DEFAULT_BEHAVIOUR,
        hostile: int | None = None,
    ) -> None:
        self.log = KernelLog()
        self._hostility = None if hostile is None else Hostility(hostile)
        self.gpus = make_gpus(models)
        if self._hostility is not None:
            for gpu, gpu_id in zip(self.gpus, self._hostility.gpu_ids(len(models)), strict=True):
                gpu.gpu_id = gpu_id
        self._misuses: list[str] = []
        self._maps_lock = threading.Lock()
        total = host.memory_size()
        self._maps = ClientMaps()
        self._machine = Machine(
            self.gpus,
            Arena(),
            self._maps,
            self.log.append,
            self._misuse,
            self._misuses.append,
            total // 2 if host_memory is None else host_memory,
            total - total // 64 - _KERNEL_RESERVE,
            known_behaviour(behaviour),
            self._hostility,
        )
        self._sysfs = Sysfs(self._machine)
        self._process: Process | None = None
        self._owner: int | None = None
        """Pid of the process that has opened `/dev/kfd`."""
        self._files = self._machine.files
        self._doorbell_pages: dict[int, tuple[Doorbells, int]] = {}

    def open(self, path: str, flags: int) -> int:
        """Open `/dev/kfd` or a render node.

        ENODEV for a forked child that opens `/dev/kfd` after its parent did: amdkfd would make a process of
        it, but the threads and locks of software GPUs stay in the parent.
        """
        file: File
        if path == "/dev/kfd":
            if self._owner not in (None, os.getpid()):
                why = (
                    f"these software GPUs live in process {self._owner}; a forked child such as {os.getpid()}"
                    " needs an EmulatedKernel of its own"
                )
                self._fail(errno.ENODEV, "open", f"{path!r}, flags={flags:#x}", why)
            self._owner = os.getpid()
            if self._process is None:
                self._process = Process(self._machine)
            file = KfdFile(self._process)
        else:
            gpu = next((gpu for gpu in self.gpus if path == f"/dev/dri/renderD{gpu.render_minor}"), None)
            if gpu is None or gpu.gone:
                self._fail(errno.ENOENT, "open", f"{path!r}, flags={flags:#x}", "no such device node")
            file = RenderFile(self._machine, gpu)
        try:
            return self._files.open(file, path, flags)
        except Refusal as refusal:
            self._fail(refusal.errno, "open", f"{path!r}, flags={flags:#x}", refusal.why)

    def close(self, fd: int) -> None:
        """Close a descriptor. The process object and its memory stay: see `shutdown`."""
        try:
            self._files.close(fd)
        except Refusal as refusal:
            self._fail(refusal.errno, "close", str(fd), refusal.why)

    def read(self, fd: int, size: int) -> bytes:
        """Read from a descriptor, which never blocks."""
        self._catch_up()
        try:
            return self._files.get(fd).read(size)
        except Refusal as refusal:
            self._fail(refusal.errno, "read", f"{fd}, {size} bytes", refusal.why)

    def write(self, fd: int, data: bytes) -> int:
        """Write to a descriptor."""
        try:
            return self._files.get(fd).write(data)
        except Refusal as refusal:
            self._fail(refusal.errno, "write", f"{fd}, {len(data)} bytes", refusal.why)

    def ioctl(self, fd: int, request: int, argument: Argument) -> int:
        """Do an ioctl; `argument` is read and written in place, also when the call fails."""
        if self._misuses or self._machine.due:
            self._catch_up()
        try:
            return self._files.get(fd).ioctl(request, argument) or 0
        except Refusal as refusal:
            from pytest_amdgpu.kernel.describe import describe

            name, text = describe(request, argument)
            self._fail(refusal.errno, name, f"fd={fd}, {text}" if text else f"fd={fd}", refusal.why)

    def mmap(self, address: int, length: int, protection: int, flags: int, fd: int, offset: int) -> int:
        """Map anonymous memory, or what a device node shows, and return the CPU address."""
        offset &= _OFFSET_MASK
        pages = -(-length // PAGE_SIZE) * PAGE_SIZE
        try:
            if fd == -1:
                if flags & host.MAP_FIXED:
                    self._forget(address, pages)
                result = host.mmap(address, length, protection, flags, -1, 0)
                if self._process is not None and not flags & host.MAP_FIXED:
                    # What was registered where there is room now was unmapped behind the emulator's back.
                    self._process.forget(result, result + pages)
                return result
            file = self._files.get(fd)
            if offset % PAGE_SIZE or not pages:
                raise Refusal(errno.EINVAL, f"offset {offset:#x} or length {length} are not whole pages")
            if protection & host.PROT_WRITE and not flags & host.MAP_SHARED:
                raise Refusal(errno.EINVAL, "device memory cannot be mapped copy-on-write")
            if protection & host.PROT_WRITE and not file.writable:
                raise Refusal(errno.EACCES, "the file was not opened for writing")
            memory, owner = file.mmap(pages, offset)
            if flags & host.MAP_FIXED:
                self._forget(address, pages)
            if isinstance(owner, BufferObject) and protection and not owner.cpu_visible:
                self._misuse(f"VRAM {owner.handle:#x} is mapped for the CPU but was not allocated PUBLIC")
            result = host.mmap(address, length, protection, flags, memory.fd, memory.offset)
        except (OSError, Refusal) as error:
            self._fail_mmap(error, address, length, protection, flags, fd, offset)
        if not isinstance(owner, BufferObject):
            host.madvise(result, pages, host.MADV_DONTFORK)
        with self._maps_lock:
            self._maps.add(ClientMap(result, result + pages, memory, 0, owner))
            self._doorbell_pages.clear()
        return result

    def _fail_mmap(
        self,
        error: OSError | Refusal,
        address: int,
        length: int,
        protection: int,
        flags: int,
        fd: int,
        offset: int,
    ) -> NoReturn:
        from pytest_amdgpu.kernel.describe import describe_mmap

        text = describe_mmap(address, length, protection, flags, fd, offset)
        self._fail(error.errno or errno.EIO, "mmap", text, str(error))

    def munmap(self, address: int, length: int) -> None:
        """Unmap memory."""
        self._forget(address, -(-length // PAGE_SIZE) * PAGE_SIZE)
        try:
            host.munmap(address, length)
        except OSError as error:
            text = f"address={address:#x}, length={length:#x}"
            self._fail(error.errno or errno.EIO, "munmap", text, str(error))

    def _forget(self, address: int, length: int) -> None:
        """Prepare for [address, address+length) to be replaced or unmapped."""
        with self._maps_lock:
            self._maps.remove(address, address + length)
            self._doorbell_pages.clear()
        if self._process is not None:
            self._process.forget(address, address + length)

    def poll(self, fds: Sequence[tuple[int, int]], timeout: float | None) -> list[tuple[int, int]]:
        """Wait for events on descriptors: device nodes never have to be waited for, SMI events do."""
        self._catch_up()
        poller = select.poll()
        for fd, events in fds:
            poller.register(fd, events)
        return poller.poll(None if timeout is None else timeout * 1000)

    def listdir(self, path: str) -> list[str]:
        """List a directory of sysfs."""
        try:
            return self._sysfs.listdir(path)
        except Refusal as refusal:
            self._fail(refusal.errno, "listdir", repr(path), refusal.why)

    def read_text(self, path: str) -> str:
        """Read a file of sysfs."""
        try:
            return self._sysfs.read_text(path)
        except Refusal as refusal:
            self._fail(refusal.errno, "read", repr(path), refusal.why)

    def store_doorbell(self, address: int, value: int) -> None:
        """Store 64 bits to a mapped doorbell and ring the queue that it belongs to.

        EFAULT stands for the SIGSEGV of a store to where no doorbells are mapped. A forked child has none:
        their mappings are not copied (VM_DONTCOPY, kfd_doorbell_mmap).
        """
        if self._owner not in (None, os.getpid()):
            why = f"doorbells of process {self._owner} are not mapped in its forked child {os.getpid()}"
            self._fail(errno.EFAULT, "store_doorbell", f"{address:#x}, {value:#x}", why)
        if self._misuses or self._machine.due:
            self._catch_up()
        page = self._doorbell_pages.get(address // PAGE_SIZE)
        if page is None:
            shown = self._maps.find(address)
            if shown is None or not isinstance(shown.owner, Doorbells):
                self._fail(
                    errno.EFAULT, "store_doorbell", f"{address:#x}, {value:#x}", "no doorbell is mapped here"
                )
            start = address & -PAGE_SIZE
            page = self._doorbell_pages[address // PAGE_SIZE] = (
                shown.owner,
                start - shown.start + shown.offset,
            )
        doorbells, base = page
        if address % 8:
            self._misuse(f"store of {value:#x} to unaligned doorbell {address:#x}")
            return
        queue = doorbells.store(base + address % PAGE_SIZE, value)
        if queue is None:
            self._misuse(f"store of {value:#x} to doorbell {address:#x}, which no queue has")
            return
        injected = queue.device.gpu.injected
        if injected is not None and not injected.at_doorbell(queue):
            return
        if self._hostility is None or not self._hostility.evicts(queue):
            queue.engine.ring_doorbell(value)

    def shutdown(self) -> None:
        """Play the exit of the client: stop its queues, free its memory, close its descriptors.

        Closing `/dev/kfd` does none of this, on hardware neither. What the client still has mapped stays
        readable until it unmaps it. Afterwards the same GPUs can be opened anew. Raises RuntimeError when
        an engine did not stop.
        """
        process, self._process = self._process, None
        # A forked child has none of the threads, and its parent still uses the memory.
        forked = process is not None and process.pid != os.getpid()
        problems = process.teardown() if process is not None and not forked else []
        for fd in self._files.descriptors:
            self.close(fd)
        self._machine.processes.clear()
        self._machine.due.clear()
        self._maps.clear()
        self._doorbell_pages.clear()
        self._machine.arena.close()
        self._warn()
        if problems:
            raise RuntimeError("software GPU did not shut down cleanly: " + "; ".join(problems))

    def _misuse(self, text: str) -> None:
        self.log.append(f"driver bug: {text}")
        warnings.warn(text, KfdMisuse, stacklevel=2)

    def _catch_up(self) -> None:
        """Do what has been put off until now, and warn about what the threads of engines have found."""
        due = self._machine.due
        # A forked child has none of the threads that there is something to do with.
        while due and self._process is not None and self._process.pid == os.getpid():
            due.pop(0)()
        self._warn()

    def _warn(self) -> None:
        """Warn about what the threads of engines have found since the last call."""
        while self._misuses:
            self._misuse(self._misuses.pop(0))

    def _fail(self, number: int, call: str, arguments: str, why: str) -> NoReturn:
        error = KernelError(number, call, arguments)
        error.add_note(f"software kernel: {why}")
        self.log.append(f"{call}: {error.errno_name}: {why}")
        raise error from None
