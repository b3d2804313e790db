"""What the client has open: descriptors of device nodes, SMI events and dma-bufs.

Each has a real descriptor of this process behind it, so that numbers are unique among all of the
process's descriptors and mean what they mean everywhere, for poll(2) and for the limit of open files too.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from pytest_amdgpu.emulator.refusal import Refusal

if TYPE_CHECKING:
    from pytest_amdgpu.emulator.arena import HostMemory
    from pytest_amdgpu.kernel.protocol import Argument


class File:
    """An open file. What a kind of file does not offer is refused as the virtual file system does."""

    writable = True
    """Whether it was opened for writing, too."""

    def ioctl(self, request: int, argument: Argument) -> int | None:
        """Do an ioctl and return what ioctl(2) does, None for 0; raises Refusal."""
        raise Refusal(errno.ENOTTY, f"a {type(self).__name__} takes no ioctls")

    def mmap(self, length: int, offset: int) -> tuple[HostMemory, object]:
        """Return the memory to map and whose it is; `length` in whole pages. Raises Refusal."""
        raise Refusal(errno.ENODEV, f"a {type(self).__name__} cannot be mapped")

    def read(self, size: int) -> bytes:
        """Read at most `size` bytes; raises Refusal."""
        raise Refusal(errno.EINVAL, f"a {type(self).__name__} cannot be read")

    def write(self, data: bytes) -> int:
        """Write, and return how many bytes were taken; raises Refusal."""
        raise Refusal(errno.EINVAL, f"a {type(self).__name__} cannot be written")

    def release(self) -> None:
        """Take note that the last descriptor was closed."""


class FileTable:
    """The client's open files by descriptor."""

    def __init__(self, received: Callable[[int], File | None] = lambda fd: None) -> None:
        """`received` recognises descriptors that the client has from elsewhere, such as another process."""
        self._files: dict[int, File] = {}
        self._received = received

    @property
    def descriptors(self) -> list[int]:
        """All open descriptors."""
        return list(self._files)

    def find(self, fd: int) -> File | None:
        """Return an open file, if there is one."""
        # What was received is looked at anew each time: the client may close it behind our back.
        return self._files.get(fd) or self._received(fd)

    def get(self, fd: int) -> File:
        """Return an open file; EBADF if there is none."""
        file = self.find(fd)
        if file is None:
            raise Refusal(errno.EBADF, "not open")
        return file

    def open(self, file: File, name: str, flags: int) -> int:
        """Give a file a descriptor, closed on exec if `flags` has O_CLOEXEC. Raises Refusal (EMFILE)."""
        try:
            # Only a placeholder: what the file does, `file` does.
            fd = os.memfd_create(f"software{name}", os.MFD_CLOEXEC if flags & os.O_CLOEXEC else 0)
        except OSError as error:
            raise Refusal(error.errno or errno.EIO, f"no descriptor: {error}") from None
        self._files[fd] = file
        return fd

    def install(self, file: File, fd: int) -> None:
        """Enter a file under a descriptor that it has made itself."""
        self._files[fd] = file

    def close(self, fd: int) -> None:
        """Close a descriptor; raises Refusal."""
        file = self.get(fd)
        self._files.pop(fd, None)
        file.release()
        os.close(fd)
