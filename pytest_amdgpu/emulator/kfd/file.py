"""An open `/dev/kfd`, and the secondary processes that newer kernels give to one."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from pytest_amdgpu.abi.kfd import KfdIoctl
from pytest_amdgpu.emulator.files import File
from pytest_amdgpu.emulator.kfd.dispatch import kfd_ioctl, require_owner
from pytest_amdgpu.emulator.kfd.mmap import kfd_mmap
from pytest_amdgpu.emulator.process import Process
from pytest_amdgpu.emulator.refusal import Refusal

if TYPE_CHECKING:
    from pytest_amdgpu.emulator.arena import HostMemory
    from pytest_amdgpu.kernel.protocol import Argument

_CREATE_PROCESS = KfdIoctl.CREATE_PROCESS & 0xFF


class KfdFile(File):
    """All descriptors that one process opens share its process object, until CREATE_PROCESS."""

    def __init__(self, process: Process) -> None:
        self.process = process

    def ioctl(self, request: int, argument: Argument) -> int | None:
        """Do an ioctl; raises Refusal."""
        if request & 0xFF == _CREATE_PROCESS and self.process.machine.behaviour.secondary_processes:
            require_owner(self.process)
            self._create_process()
            return None
        return kfd_ioctl(self.process, request, argument)

    def mmap(self, length: int, offset: int) -> tuple[HostMemory, object]:
        """Return the memory to map and whose it is; raises Refusal."""
        return kfd_mmap(self.process, length, offset)

    def release(self) -> None:
        """End a secondary process; the primary one lives as long as the client (kfd_release)."""
        machine = self.process.machine
        # A forked child has none of the threads, and its parent still uses the memory.
        if self.process.secondary and self.process.pid == os.getpid():
            machine.processes.remove(self.process)
            for problem in self.process.teardown():
                machine.log(f"kfd: secondary process does not end cleanly: {problem}")

    def _create_process(self) -> None:
        if self.process.secondary:
            raise Refusal(errno.EINVAL, "the descriptor has a secondary process already")
        self.process = Process(self.process.machine, secondary=True)
