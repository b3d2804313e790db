"""Who holds a lease: a line in the lease's file, and whether that process is still there."""

from __future__ import annotations

import dataclasses
import getpass
import json
import os
import socket
import time
import uuid
from pathlib import Path
from typing import Any

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_START_FIELD = 19
"""Place of `starttime` in /proc/PID/stat behind the command's closing bracket (proc(5), field 22)."""


@dataclasses.dataclass(frozen=True, slots=True)
class Holder:
    """A process that has a lease. `since` is in seconds since 1970, `started` in ticks since boot.

    `host` and `namespace` (the inode of the PID namespace) say where `pid` means something: processes in
    containers that share the directory have numbers of their own.
    """

    id: str
    pid: int
    started: int
    boot: str
    namespace: int
    host: str
    user: str
    purpose: str
    shared: bool
    since: float

    @classmethod
    def here(cls, purpose: str, *, shared: bool) -> Holder:
        """Describe this process."""
        return cls(
            id=uuid.uuid4().hex,
            pid=os.getpid(),
            started=_start_time(os.getpid()) or 0,
            boot=boot_id(),
            namespace=_pid_namespace(),
            host=socket.gethostname(),
            user=_user(),
            purpose=purpose,
            shared=shared,
            since=time.time(),
        )

    def to_line(self) -> str:
        """Return the line of a lease's file, with its end."""
        return json.dumps(dataclasses.asdict(self)) + "\n"

    @property
    def is_gone(self) -> bool:
        """Whether the process is known to have ended; False also where it cannot be seen from here."""
        if (self.boot, self.namespace) != (boot_id(), _pid_namespace()):
            return False
        return _start_time(self.pid) != self.started

    def __str__(self) -> str:
        held = max(time.time() - self.since, 0.0)
        kind = "shared" if self.shared else "exclusive"
        return f"pid {self.pid} of {self.user} on {self.host} ({self.purpose}), {kind}, for {_duration(held)}"


def parse_holders(text: str) -> list[Holder]:
    """Return the holders that a lease's file names and that have not given it back.

    A line that cannot be read, for instance of another version, is no holder: the lock itself, not its
    description, decides who has the lease.
    """
    holders: dict[str, Holder] = {}
    for line in text.splitlines():
        values = _values(line)
        if "released" in values:
            holders.pop(str(values["released"]), None)
        elif values.keys() == {field.name for field in dataclasses.fields(Holder)}:
            holder = Holder(**values)
            holders[holder.id] = holder
    return [holder for holder in holders.values() if not holder.is_gone]


def released_line(holder: Holder) -> str:
    """Return the line that takes a shared holder's own back."""
    return json.dumps({"released": holder.id}) + "\n"


def _values(line: str) -> dict[str, Any]:
    try:
        values = json.loads(line)
    except ValueError:
        return {}
    return values if isinstance(values, dict) else {}


def _start_time(pid: int) -> int | None:
    """Ticks from boot to the start of a process, which tells it from a later one of the same number."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return int(text.rpartition(")")[2].split()[_START_FIELD])


def boot_id() -> str:
    """Return what tells this machine from others, under all its names and in all its containers."""
    return _BOOT_ID.read_text().strip()


def _pid_namespace() -> int:
    return os.stat("/proc/self/ns/pid").st_ino


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        # A container's user often has no name.
        return f"uid {os.getuid()}"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
