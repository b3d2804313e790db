"""An open `/dev/kfd`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_amdgpu.emulator.files import File
from pytest_amdgpu.emulator.kfd.dispatch import kfd_ioctl
from pytest_amdgpu.emulator.kfd.mmap import kfd_mmap

if TYPE_CHECKING:
    from pytest_amdgpu.emulator.arena import HostMemory
    from pytest_amdgpu.emulator.process import Process
    from pytest_amdgpu.kernel.protocol import Argument


class KfdFile(File):
    """All descriptors that one process opens share its process object."""

    def __init__(self, process: Process) -> None:
        self.process = process

    def ioctl(self, request: int, argument: Argument) -> None:
        """Do an ioctl; raises Refusal."""
        kfd_ioctl(self.process, request, argument)

    def mmap(self, length: int, offset: int) -> tuple[HostMemory, object]:
        """Return the memory to map and whose it is; raises Refusal."""
        return kfd_mmap(self.process, length, offset)
