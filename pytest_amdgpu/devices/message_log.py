"""What the kernel of this machine says to its log, from now on: `/dev/kmsg`.

Records as Documentation/ABI/testing/dev-kmsg of the kernel describes them: each read returns one, which is
`level,sequence,time,flags;text`, and lines that begin with a space and tell more of it.
"""

from __future__ import annotations

import errno
import os
from collections import deque
from collections.abc import Sequence
from typing import overload

KMSG = "/dev/kmsg"
_RECORD = 8192
"""Bytes of the longest record (PRINTK_MESSAGE_MAX is 2048, and each byte may be escaped as `\\x41`)."""
_KEPT = 2000
"""Lines that are kept; a storm of messages must not fill the memory."""


class MessageLog(Sequence[str]):
    """The lines that came since it was made, counted from 0. What is too old is no longer in slices.

    Where the log may not be read there are none, and `obstacle` says why.
    """

    def __init__(self, fd: int | None = None) -> None:
        """`fd` gives records, one with each read, and EAGAIN if there is none."""
        self.obstacle = ""
        self._lines: deque[str] = deque(maxlen=_KEPT)
        self._count = 0
        self._fd = self._open() if fd is None else fd

    def _open(self) -> int | None:
        try:
            fd = os.open(KMSG, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            os.lseek(fd, 0, os.SEEK_END)
        except OSError as error:
            self.obstacle = f"{error} (reading it takes CAP_SYSLOG where kernel.dmesg_restrict is 1)"
            return None
        return fd

    def __len__(self) -> int:
        """Lines that have come."""
        self._drain()
        return self._count

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> list[str]: ...

    def __getitem__(self, index: int | slice) -> str | list[str]:
        """Return a line, or those of a slice that are kept."""
        self._drain()
        first = self._count - len(self._lines)
        if isinstance(index, int):
            return self._lines[range(self._count)[index] - first]
        return [self._lines[number - first] for number in range(self._count)[index] if number >= first]

    def _drain(self) -> None:
        while self._fd is not None:
            try:
                record = os.read(self._fd, _RECORD)
            except OSError as error:
                if error.errno == errno.EPIPE:
                    # Some were overwritten before they were read; the next read goes on behind them.
                    self._add("(messages were lost)")
                    continue
                if error.errno != errno.EAGAIN:
                    self.obstacle = str(error)
                    self._fd = None
                return
            if not record:
                return
            text = record.decode("utf-8", "replace").partition(";")[2]
            self._add(text.partition("\n")[0])

    def _add(self, line: str) -> None:
        self._lines.append(line)
        self._count += 1
