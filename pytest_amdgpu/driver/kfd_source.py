"""The way to GPUs through amdkfd. What opening one needs is imported when one is opened."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pytest_amdgpu.driver.topology import GpuNode, discover
from pytest_amdgpu.kernel.protocol import Kernel

if TYPE_CHECKING:
    from pytest_amdgpu.driver.backend import Backend


class KfdSource:
    """Implements `BackendSource` with `/dev/kfd` of a kernel."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel

    def kernel(self) -> Kernel:
        """Return the kernel that it was made with."""
        return self._kernel

    def discover(self, kernel: Kernel, *, nearest_target: bool) -> Sequence[GpuNode]:
        """Return the GPUs of the kernel's topology."""
        return discover(kernel, nearest_target=nearest_target)

    def open(self, kernel: Kernel, node: GpuNode) -> Backend:
        """Open a GPU; raises `DeviceOpenError`, or `KernelError` for an ioctl that fails."""
        from pytest_amdgpu.driver.kfd_backend import KfdBackend

        return KfdBackend(kernel, node)

    def renew(self, kernel: Kernel) -> None:
        """Forget the process's connection, whose other end a fault has made useless."""
        from pytest_amdgpu.driver.kfd_process import disconnect

        disconnect(kernel)
