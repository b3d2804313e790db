"""Devices that a run uses no more, because they failed in a way that tests are not to blame for."""

from __future__ import annotations

import contextlib
import json
import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path


class Quarantine:
    """Ids of devices, each with the reason for which no further test runs on it.

    Processes of a machine that `share` a file have one quarantine: what one of them adds, the others know
    when they ask next.
    """

    def __init__(self) -> None:
        self._reasons: dict[str, str] = {}
        self._file: Path | None = None
        self._read = 0
        """Bytes of the file that are known."""
        self.listener: Callable[[str, str], None] | None = None
        """Is told of each device that this process puts in quarantine, and why."""

    def share(self, file: Path) -> None:
        """Have it in common with all that share this file, which must be there."""
        known = list(self._reasons.items())
        self._file, self._read = file, 0
        self._look()
        for device_id, reason in known:
            self._tell(device_id, reason)

    def share_no_more(self) -> None:
        """Keep what is known, and look at the file no more."""
        self._file = None

    def add(self, device_id: str, reason: str) -> None:
        """Put a device in quarantine; the first reason stays, for what follows is often its consequence."""
        self._look()
        if device_id not in self._reasons:
            self._reasons[device_id] = reason
            self._tell(device_id, reason)
            if self.listener is not None:
                self.listener(device_id, reason)

    def reason(self, device_id: str) -> str | None:
        """Return why a device is in quarantine, or None if it is not."""
        self._look()
        return self._reasons.get(device_id)

    def __iter__(self) -> Iterator[tuple[str, str]]:
        """Iterate over the devices and the reasons, in the order in which they came."""
        self._look()
        return iter(list(self._reasons.items()))

    def _tell(self, device_id: str, reason: str) -> None:
        """Let others know. A line is written by one call, and so not mixed with those of others."""
        if self._file is not None:
            try:
                with self._file.open("ab", buffering=0) as file:
                    # One before it may have been torn by a full disk.
                    file.write(b"\n" + json.dumps([device_id, reason]).encode() + b"\n")
            except OSError as error:
                warnings.warn(f"other processes do not know that {device_id} fails: {error}", stacklevel=3)

    def _look(self) -> None:
        """Learn what others have added: for each test a look at the size of the file, and no more."""
        if self._file is None:
            return
        try:
            if os.stat(self._file).st_size == self._read:
                return
            with self._file.open("rb") as file:
                file.seek(self._read)
                # What has no end yet is being written.
                whole, end, _ = file.read().rpartition(b"\n")
        except OSError as error:
            warnings.warn(f"it is not known any more which devices fail elsewhere: {error}", stacklevel=3)
            self._file = None
            return
        self._read += len(whole + end)
        for line in filter(None, whole.splitlines()):
            with contextlib.suppress(ValueError):
                device_id, reason = json.loads(line)
                self._reasons.setdefault(device_id, reason)
