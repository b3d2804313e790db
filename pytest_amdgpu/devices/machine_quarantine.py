"""Devices that no run of a machine uses, until somebody releases them: files beside the leases."""

from __future__ import annotations

import datetime
import getpass
import json
import os
import socket
from dataclasses import asdict, dataclass
from pathlib import Path

from pytest_amdgpu.devices.leases import LEASE_NAME

_SUFFIX = ".quarantine"
_EVERYBODY_READS = 0o644


class MachineQuarantineError(RuntimeError):
    """A file of the quarantine cannot be made, read or removed; the message names it."""


@dataclass(frozen=True, slots=True)
class Entry:
    """Why a device is in quarantine, since when, and who has put it there on which host."""

    reason: str
    date: str
    host: str
    who: str

    def __str__(self) -> str:
        return f"since {self.date} by {self.who} on {self.host}: {self.reason}"


class MachineQuarantine:
    """The quarantine in a lease directory. Devices go by the names of their leases."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def add(self, name: str, reason: str) -> None:
        """Put a device in quarantine; what is there already stays. Raises `MachineQuarantineError`."""
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        entry = Entry(reason, now, socket.gethostname(), f"{_user()}, pid {os.getpid()}")
        path = self._path(name)
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            draft.write_text(json.dumps(asdict(entry)) + "\n", encoding="utf-8")
            draft.chmod(_EVERYBODY_READS)
            # A link is made whole or not at all, and does not take the place of a file.
            os.link(draft, path)
        except FileExistsError:
            return
        except OSError as error:
            raise MachineQuarantineError(f"{path} cannot be made: {error.strerror}") from error
        finally:
            draft.unlink(missing_ok=True)

    def entry(self, name: str) -> Entry | None:
        """Return why a device is in quarantine, None if it is not.

        A file that does not say why keeps the device in quarantine, too.
        """
        path = self._path(name)
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            return Entry(*(str(values[key]) for key in ("reason", "date", "host", "who")))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            return Entry(f"{path} cannot be read: {error}", "?", "?", "?")

    def names(self) -> list[str]:
        """Return the names of all devices that are in quarantine."""
        return sorted(file.name.removesuffix(_SUFFIX) for file in self._directory.glob(f"[!.]*{_SUFFIX}"))

    def release(self, name: str) -> bool:
        """Let a device be used again; False if it is not in quarantine. Raises `MachineQuarantineError`."""
        path = self._path(name)
        try:
            path.unlink()
        except FileNotFoundError:
            return False
        except OSError as error:
            raise MachineQuarantineError(
                f"{path} cannot be removed: {error.strerror}; whoever made it can, and root"
            ) from error
        return True

    def _path(self, name: str) -> Path:
        if not LEASE_NAME.fullmatch(name):
            raise MachineQuarantineError(f"{name!r} is not a name of a device")
        return self._directory / f"{name}{_SUFFIX}"


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"
