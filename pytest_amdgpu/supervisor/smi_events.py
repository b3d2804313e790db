"""System management events of GPUs, from descriptors that processes of pytest have passed on.

What a record says: KFD_EVENT_FMT_* in the kernel's kfd_ioctl.h. Reading never blocks, and older kernels give
at most 8 bytes at a time (kfd_smi_ev_read in kfd_smi_events.c, which took the size of a pointer).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable

_READS = 4096
"""Most reads in a row, so that a flood of events keeps nobody waiting."""
_SIZE = 4096
_LONGEST = 96
"""Bytes of the longest record (KFD_SMI_EVENT_MSG_SIZE)."""
_RECORDS: tuple[tuple[str, Callable[[re.Match[str]], str]], ...] = (
    (r"1 ([0-9a-f]+):(.*)", lambda match: f"VM fault of process {int(match[1], 16)} ({match[2]})"),
    (
        r"2 ([0-9a-f]+):([0-9a-f]+)",
        lambda match: f"thermal throttling, bits {int(match[1], 16):#x}, for the {int(match[2], 16)}. time",
    ),
    # Older kernels tell no cause.
    (
        r"3 ([0-9a-f]+)(?: (.*))?",
        lambda match: f"GPU reset {int(match[1], 16)} begins{f' ({match[2]})' if match[2] else ''}",
    ),
    (r"4 ([0-9a-f]+) ?", lambda match: f"GPU reset {int(match[1], 16)} has ended"),
)
"""By the form of a record, what it says in words."""


def in_words(record: str) -> str:
    """Return what a record says; one that is not known as it is."""
    for form, words in _RECORDS:
        if match := re.fullmatch(form, record):
            return words(match)
    return f"event {record}"


class Listener:
    """A descriptor of the events of one GPU, which is the listener's to close."""

    def __init__(self, device: str, fd: int) -> None:
        self.device = device
        self.fd = fd
        self.ended = False
        """Whether nothing can come any more: the emulated kernel ends with its process."""
        self._rest = b""

    def read(self) -> list[str]:
        """Return a line for each event that has come."""
        for _ in range(_READS):
            try:
                data = os.read(self.fd, _SIZE)
            except BlockingIOError:
                break
            except OSError as error:
                self.ended = True
                return [f"{self.device}: no more can be heard: {error.strerror}"]
            if not data:
                self.ended = True
                break
            self._rest += data
        *records, self._rest = self._rest.split(b"\n")
        self._rest = self._rest[-_LONGEST:]
        return [f"{self.device}: {in_words(record.decode(errors='replace'))}" for record in records]

    def close(self) -> None:
        """Hear no more."""
        os.close(self.fd)
