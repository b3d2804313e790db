"""Memory as a descriptor, to be handed to another process: a dma-buf."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from pytest_amdgpu.driver.arguments import whole_number
from pytest_amdgpu.driver.errors import SharingError, UseAfterFreeError
from pytest_amdgpu.driver.resources import creation_site

if TYPE_CHECKING:
    from pytest_amdgpu.driver.backend import Allocation, Backend
    from pytest_amdgpu.driver.resources import Tracker


class SharedMemory:
    """A descriptor of a buffer's memory; made by `Buffer.export`, and a context manager that closes it.

    It can be sent over a Unix socket (`socket.send_fds`) or inherited (`pass_fds` of `subprocess`, a fork).
    The receiver gives the number that it has there to `Device.import_buffer`. The memory stays as long as a
    descriptor or a buffer of it does, in whichever process.
    """

    def __init__(self, backend: Backend, allocation: Allocation, size: int, tracker: Tracker | None) -> None:
        """Use `Buffer.export`."""
        self._kernel = backend.kernel
        self._tracker = tracker
        self._fd: int | None = backend.export(allocation)
        self.size = size
        """Bytes of the buffer; what is imported has whole pages."""
        self.site = creation_site()
        if tracker is not None:
            tracker.add(self)

    @property
    def fd(self) -> int:
        """The descriptor's number in this process."""
        if self._fd is None:
            raise UseAfterFreeError(f"{self.describe()}, made at {self.site}, was closed")
        return self._fd

    def fileno(self) -> int:
        """Return the descriptor's number, so that it passes for a file."""
        return self.fd

    def close(self) -> None:
        """Close the descriptor of this process; a second call raises `UseAfterFreeError`."""
        self._kernel.close(self.fd)
        self._fd = None
        if self._tracker is not None:
            self._tracker.discard(self)

    def release(self) -> None:
        """Close it unless that was done before."""
        if self._fd is not None:
            self.close()

    def describe(self) -> str:
        """One line that says what it is."""
        return f"a descriptor of {self.size} bytes of shared memory"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.release()


_LAST_DESCRIPTOR = (1 << 31) - 1


def descriptor_number(descriptor: int | SharedMemory) -> int:
    """Return the number of a descriptor given either way; raises `SharingError`."""
    if isinstance(descriptor, SharedMemory):
        return descriptor.fd
    number = whole_number(descriptor, "a descriptor, where it is no SharedMemory,")
    if not 0 <= number <= _LAST_DESCRIPTOR:
        raise SharingError(f"{number} is not the number of a descriptor (0 to {_LAST_DESCRIPTOR})")
    return number
