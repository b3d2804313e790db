"""System management events: who listens to a GPU, and the records that they read.

Rules and formats: kfd_smi_events.c of amdkfd and the KFD_EVENT_FMT_* of its uapi header. A record is the
event's number in hex, a space, and text that ends in a newline; addresses and sizes in it are pages, in hex.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import termios
import threading
import time
from typing import TYPE_CHECKING

from pytest_amdgpu.abi.kfd import (
    SMI_EVENT_MSG_SIZE,
    MigrateTrigger,
    QueueEvictionTrigger,
    SmiEvent,
    SvmUnmapTrigger,
)
from pytest_amdgpu.emulator.fault_log import task
from pytest_amdgpu.emulator.files import File
from pytest_amdgpu.emulator.memory import PAGE_SIZE
from pytest_amdgpu.emulator.refusal import Refusal

if TYPE_CHECKING:
    from pytest_amdgpu.emulator.gpu import SoftwareGpu

FIFO_SIZE = 8192
"""Bytes that a listener can be behind (KFD_MAX_KFIFO_SIZE); a record that does not fit is lost."""
_MASK_SIZE = 8
NO_PROCESS = 0
"""The pid of events that concern the device: everyone may read them."""


def _bit(event: SmiEvent) -> int:
    return 1 << (event - 1)


class SmiFile(File):
    """One listener to one GPU: nothing until it writes a mask of the events that it wants.

    The descriptor is one end of a pipe, so that records can be read by read(2) and by whoever the descriptor
    was passed on to, as with that of amdkfd, and poll(2) works on it.
    """

    def __init__(self, events: SmiEvents) -> None:
        self._events = events
        self._mask = 0
        self._pid = os.getpid()
        self._privileged = os.geteuid() == 0
        self.fd, self._end = os.pipe2(os.O_NONBLOCK)
        os.set_inheritable(self._end, False)

    def wants(self, event: SmiEvent, pid: int) -> bool:
        """Whether this listener takes an event of a process, or of the device where `pid` is NO_PROCESS."""
        if pid not in (NO_PROCESS, self._pid) and not (
            self._privileged and self._mask & _bit(SmiEvent.ALL_PROCESS)
        ):
            return False
        return bool(self._mask & _bit(event))

    def put(self, record: bytes) -> bool:
        """Take a record; False if there is no room, and it is lost."""
        waiting = ctypes.c_int()
        fcntl.ioctl(self.fd, termios.FIONREAD, waiting)
        if waiting.value + len(record) > FIFO_SIZE:
            return False
        try:
            # A pipe takes as little at once as this whole or not at all (PIPE_BUF).
            os.write(self._end, record)
        except BlockingIOError:
            # A user with many pipes has small ones.
            return False
        return True

    def read(self, size: int) -> bytes:
        """Take at most `size` bytes out, also parts of records; EAGAIN when there is nothing."""
        try:
            data = os.read(self.fd, size)
        except BlockingIOError:
            data = b""
        if not data:
            raise Refusal(errno.EAGAIN, "no SMI event to read")
        return data

    def write(self, data: bytes) -> int:
        """Choose the events to listen to by 64 bits; more is ignored, less is EFAULT."""
        if len(data) < _MASK_SIZE:
            raise Refusal(errno.EFAULT, f"the mask of SMI events is {_MASK_SIZE} bytes, not {len(data)}")
        self._mask = int.from_bytes(data[:_MASK_SIZE], "little")
        return _MASK_SIZE

    def release(self) -> None:
        """Stop listening."""
        self._events.remove(self)
        os.close(self._end)


class SmiEvents:
    """The system management events of one GPU; thread-safe."""

    def __init__(self, gpu: SoftwareGpu) -> None:
        self._gpu = gpu
        self._lock = threading.Lock()
        self._listeners: tuple[SmiFile, ...] = ()
        self._resets = 0

    def listen(self) -> SmiFile:
        """Make a listener; OSError where the process has no descriptor left."""
        file = SmiFile(self)
        with self._lock:
            self._listeners += (file,)
        return file

    def remove(self, file: SmiFile) -> None:
        """Forget a listener."""
        with self._lock:
            self._listeners = tuple(other for other in self._listeners if other is not file)

    def _add(self, event: SmiEvent, text: str, pid: int = NO_PROCESS) -> None:
        record = f"{event:x} {text}\n".encode()
        assert len(record) <= SMI_EVENT_MSG_SIZE, record
        with self._lock:
            for listener in self._listeners:
                if listener.wants(event, pid):
                    listener.put(record)

    def vm_fault(self, pid: int) -> None:
        """Record a page fault of a process (`%x:%s`, pid in hex, name of the task)."""
        self._add(SmiEvent.VMFAULT, f"{pid:x}:{task()}")

    def pre_reset(self, cause: str) -> None:
        """Record that a reset begins (`%x %s`, number of the reset, cause)."""
        self._resets += 1
        self._add(SmiEvent.GPU_PRE_RESET, f"{self._resets:x} {cause}")

    def post_reset(self) -> None:
        """Record that a reset has ended; the cause is empty."""
        self._add(SmiEvent.GPU_POST_RESET, f"{self._resets:x} ")

    def queue_eviction(self, pid: int, trigger: QueueEvictionTrigger) -> None:
        """Record that a process's queues are preempted (`%lld -%d %x %d`: ns, pid, node, trigger)."""
        self._add(SmiEvent.QUEUE_EVICTION, f"{self._ns()} -{pid} {self._gpu.gpu_id:x} {trigger}", pid)

    def queue_restore(self, pid: int) -> None:
        """Record that a process's queues run again (`%lld -%d %x %c`).

        The last character says that a restore was rescheduled; it is a zero byte where it was not, as in
        kfd_smi_event_queue_restore.
        """
        self._add(SmiEvent.QUEUE_RESTORE, f"{self._ns()} -{pid} {self._gpu.gpu_id:x} \0", pid)

    def unmap_from_gpu(self, pid: int, start: int, end: int, trigger: SvmUnmapTrigger) -> None:
        """Record that shared virtual memory [start, end) left the page table (`%lld -%d @%lx(%lx) %x %d`)."""
        extent = f"@{start // PAGE_SIZE:x}({(end - start) // PAGE_SIZE:x})"
        self._add(
            SmiEvent.UNMAP_FROM_GPU, f"{self._ns()} -{pid} {extent} {self._gpu.gpu_id:x} {trigger}", pid
        )

    def migration(
        self,
        pid: int,
        start: int,
        end: int,
        locations: tuple[int, int],
        wanted: tuple[int, int],
        trigger: MigrateTrigger,
    ) -> None:
        """Record a migration that succeeds, its start and its end.

        `locations` are where from and where to, `wanted` the range's prefetch and preferred location.
        """
        extent = f"@{start // PAGE_SIZE:x}({(end - start) // PAGE_SIZE:x})"
        path = f"{locations[0]:x}->{locations[1]:x}"
        begin = f"{self._ns()} -{pid} {extent} {path} {wanted[0]:x}:{wanted[1]:x} {trigger}"
        self._add(SmiEvent.MIGRATE_START, begin, pid)
        self._add(SmiEvent.MIGRATE_END, f"{self._ns()} -{pid} {extent} {path} {trigger} 0", pid)

    @staticmethod
    def _ns() -> int:
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME)
