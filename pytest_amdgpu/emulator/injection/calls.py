"""Defects of the process: a call of the kernel boundary does not return, or the process stops or ends."""

from __future__ import annotations

import ctypes
import os
import signal
import struct
import threading
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from pytest_amdgpu.abi.kfd import KFD_IOCTLS
from pytest_amdgpu.emulator import client
from pytest_amdgpu.emulator.injection.defect import DOORBELL, Defect
from pytest_amdgpu.emulator.injection.options import Option, choice, one_of
from pytest_amdgpu.emulator.process import HANDLE_GPU_SHIFT

if TYPE_CHECKING:
    from pytest_amdgpu.emulator.process import Machine, Process

PREFIX = "AMDKFD_IOC_"
CALLS = ("any", DOORBELL, *(spec.name.removeprefix(PREFIX) for spec in KFD_IOCTLS.values()))
CALL = Option(
    "call",
    "any, DOORBELL (the store to a doorbell), or the name of an ioctl of kfd_ioctl.h without its prefix",
    "any",
    "only in this call. Of an ioctl that names no GPU only WAIT_EVENTS counts, as a call about each GPU on "
    "which the process has queues",
    one_of(CALLS),
)
_MUTEX_BYTES = 256
"""More than a pthread_mutex_t has on any machine; zeros are PTHREAD_MUTEX_INITIALIZER on Linux."""


def concerned(process: Process, call: str, args: Any) -> set[int]:
    """Return the ids of the GPUs that an ioctl of `/dev/kfd` is about.

    A mapping is about the GPUs that are to reach the memory. Raises Refusal where those cannot be read.
    """
    if call == "WAIT_EVENTS":
        return {queue.device.gpu.gpu_id for queue in list(process.queues.values())}
    if call in ("MAP_MEMORY_TO_GPU", "UNMAP_MEMORY_FROM_GPU"):
        count = min(args.n_devices, len(process.devices))
        return set(struct.unpack(f"<{count}I", client.read(args.device_ids_array_ptr, 4 * count)))
    found = {getattr(args, "gpu_id", 0), getattr(args, "handle", 0) >> HANDLE_GPU_SHIFT}
    queue = process.queues.get(args.queue_id) if hasattr(args, "queue_id") else None
    if queue is not None and call != "CREATE_QUEUE":
        found.add(queue.device.gpu.gpu_id)
    return found


class CallDefect(Defect, ABC):
    """One whose occasions are calls about the GPU."""

    occasion: ClassVar[str] = "a call about the GPU"
    options: ClassVar[tuple[Option, ...]] = (CALL,)

    def at_call(self, machine: Machine, call: str) -> None:
        """Let it happen where it is the call."""
        if self.values["call"] in ("any", call) and self.happens():
            machine.log(f"injected: {self.name} in {call} on {self.gpu!r}")
            self.strike(machine)

    @abstractmethod
    def strike(self, machine: Machine) -> None:
        """Do what goes wrong."""


class CallNeverReturns(CallDefect):
    """A call that hangs. The thread waits in the C library for a lock that nobody gives."""

    name: ClassVar[str] = "call-never-returns"
    summary: ClassVar[str] = "a call of the kernel boundary never returns"
    options: ClassVar[tuple[Option, ...]] = (
        choice(
            "kind",
            ("uninterruptible", "interruptible", "holds-gil"),
            "uninterruptible",
            "whether no signal ends it, but other threads run; Python's handler of a signal runs in it and "
            "may end it; or no Python code of the process runs any more",
        ),
        CALL,
    )

    def strike(self, machine: Machine) -> None:
        """Hang."""
        kind = self.values["kind"]
        if kind == "interruptible":
            threading.Event().wait()
        # Python's own locks run the handlers of signals meanwhile; this wait no signal ends.
        library = ctypes.PyDLL(None) if kind == "holds-gil" else ctypes.CDLL(None)
        mutex = ctypes.create_string_buffer(_MUTEX_BYTES)
        library.pthread_mutex_lock(mutex)
        library.pthread_mutex_lock(mutex)


class ProcessStopped(CallDefect):
    """The process stops as by SIGSTOP; SIGCONT lets it go on."""

    name: ClassVar[str] = "process-stopped"
    summary: ClassVar[str] = "the process is stopped (SIGSTOP) in a call"

    def strike(self, machine: Machine) -> None:
        """Stop."""
        os.kill(os.getpid(), signal.SIGSTOP)


class ProcessKilled(CallDefect):
    """The process ends as by the kernel's OOM killer."""

    name: ClassVar[str] = "process-killed"
    summary: ClassVar[str] = "the process is killed (SIGKILL) in a call"

    def strike(self, machine: Machine) -> None:
        """End."""
        os.kill(os.getpid(), signal.SIGKILL)
