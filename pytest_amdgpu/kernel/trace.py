"""A kernel that records every call at the boundary, decoded, and passes it on to another kernel."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import TextIO, TypeVar

from pytest_amdgpu.kernel.describe import describe_fields, describe_mmap, describe_open
from pytest_amdgpu.kernel.protocol import Argument, Kernel, KernelError

_T = TypeVar("_T")


class TracingKernel:
    """Writes one line per call of `inner`: start in seconds, thread, call, arguments, result, duration.

    Arguments of an ioctl are shown as they went in, and after `->` the members that the kernel changed.
    After `stop` calls are passed on without a record: buffers give their address ranges back whenever
    Python collects them, also after the end of a run. So they are when the record cannot be written (any
    more), which is no failure of who makes the call.
    """

    def __init__(self, inner: Kernel, out: TextIO) -> None:
        self.inner = inner
        self.name = inner.name
        self._out = out
        self._start = time.monotonic()
        self._lock = threading.Lock()
        self._error: OSError | None = None

    def stop(self) -> None:
        """Close the record; raises OSError if not all of it could be written."""
        with self._lock:
            self._close()
        if self._error is not None:
            raise self._error

    def _close(self) -> None:
        try:
            self._out.close()
        except OSError as error:
            self._error = self._error or error

    def open(self, path: str, flags: int) -> int:
        """Open a device node."""
        return self._traced(f"open({describe_open(path, flags)})", lambda: self.inner.open(path, flags), str)

    def close(self, fd: int) -> None:
        """Close a descriptor."""
        self._traced(f"close({fd})", lambda: self.inner.close(fd), _nothing)

    def read(self, fd: int, size: int) -> bytes:
        """Read from a descriptor."""
        return self._traced(f"read({fd}, {size})", lambda: self.inner.read(fd, size), repr)

    def write(self, fd: int, data: bytes) -> int:
        """Write to a descriptor."""
        return self._traced(f"write({fd}, {data.hex(' ', 4)})", lambda: self.inner.write(fd, data), str)

    def ioctl(self, fd: int, request: int, argument: Argument) -> int:
        """Do an ioctl."""
        name, before = describe_fields(request, argument)
        arguments = "".join(f", {member}={value}" for member, value in before)

        def changes(succeeded: bool) -> str:
            after = describe_fields(request, argument, result=succeeded)[1]
            changed = [f"{member}={value}" for member, value in after if (member, value) not in before]
            return f" -> {', '.join(changed)}" if changed else ""

        call = f"ioctl({fd}, {name}{arguments})"
        return self._traced(call, lambda: self.inner.ioctl(fd, request, argument), str, changes)

    def mmap(self, address: int, length: int, protection: int, flags: int, fd: int, offset: int) -> int:
        """Map memory."""
        return self._traced(
            f"mmap({describe_mmap(address, length, protection, flags, fd, offset)})",
            lambda: self.inner.mmap(address, length, protection, flags, fd, offset),
            hex,
        )

    def munmap(self, address: int, length: int) -> None:
        """Unmap memory."""
        self._traced(
            f"munmap({address:#x}, {length:#x})", lambda: self.inner.munmap(address, length), _nothing
        )

    def poll(self, fds: Sequence[tuple[int, int]], timeout: float | None) -> list[tuple[int, int]]:
        """Wait for events on descriptors."""
        return self._traced(f"poll({list(fds)}, {timeout})", lambda: self.inner.poll(fds, timeout), str)

    def listdir(self, path: str) -> list[str]:
        """List a directory of sysfs."""
        return self._traced(
            f"listdir({path!r})", lambda: self.inner.listdir(path), lambda names: f"{len(names)} names"
        )

    def read_text(self, path: str) -> str:
        """Read a file of sysfs."""
        return self._traced(
            f"read({path!r})", lambda: self.inner.read_text(path), lambda text: f"{len(text)} characters"
        )

    def store_doorbell(self, address: int, value: int) -> None:
        """Ring a doorbell."""
        self._traced(
            f"doorbell({address:#x}, {value:#x})",
            lambda: self.inner.store_doorbell(address, value),
            _nothing,
        )

    def _traced(
        self,
        call: str,
        function: Callable[[], _T],
        show: Callable[[_T], str],
        changes: Callable[[bool], str] = lambda _succeeded: "",
    ) -> _T:
        start = time.monotonic()
        try:
            result = function()
        except KernelError as error:
            self._write(start, call, f"-1 {error.errno_name}{changes(False)}")
            raise
        self._write(start, call, show(result) + changes(True))
        return result

    def _write(self, start: float, call: str, result: str) -> None:
        microseconds = (time.monotonic() - start) * 1e6
        line = (
            f"{start - self._start:.6f} {threading.current_thread().name} "
            f"{call} = {result} <{microseconds:.0f} us>\n"
        )
        with self._lock:
            if self._out.closed:
                return
            try:
                self._out.write(line)
                # A test that crashes the process must leave the calls that led there.
                self._out.flush()
            except OSError as error:
                self._error = error
                self._close()


def _nothing(_result: None) -> str:
    return "0"
