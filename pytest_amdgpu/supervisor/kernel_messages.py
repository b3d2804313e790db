"""What the kernel of the machine said lately of GPUs, resets and hung tasks."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

LINES = 50
"""Lines that are shown, the newest ones."""
_CONCERNS = re.compile(r"amdgpu|amdkfd|kfd|drm|iommu|pcie|aer:|mce:|hung_task|blocked for more than", re.I)
_RECORD = 8192
"""Bytes that hold any record (CONSOLE_EXT_LOG_MAX in include/linux/printk.h up to 6.2)."""


def recent(since: float, path: str = "/dev/kmsg") -> Iterator[str]:
    """Yield the lines of the kernel's log from `since` on (seconds), nothing where it is not ours to read.

    A record is `priority,number,microseconds,flags;text` (Documentation/ABI/testing/dev-kmsg). Its clock is
    the scheduler's, which differs from CLOCK_MONOTONIC by little, so a second more is read.
    """
    try:
        log = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return
    lines = []
    try:
        while True:
            try:
                record = os.read(log, _RECORD)
            except BlockingIOError:
                break
            except BrokenPipeError:
                # Records were overwritten before they were read; the next call goes on behind them.
                continue
            if not record:
                break
            line = _line(record.decode(errors="replace"), since - 1.0)
            if line:
                lines.append(line)
    except OSError as error:
        lines.append(f"the kernel's log cannot be read further: {error.strerror}")
    finally:
        os.close(log)
    yield from lines[-LINES:]


def _line(record: str, since: float) -> str:
    head, _, text = record.partition(";")
    fields = head.split(",")
    if len(fields) < 3 or not fields[2].isdecimal():
        return ""
    seconds = int(fields[2]) / 1e6
    text = text.partition("\n")[0]
    return f"[{seconds:12.6f}] {text}" if seconds >= since and _CONCERNS.search(text) else ""
