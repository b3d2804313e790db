"""Leases of GPUs: who may use which one now, on a whole machine.

A lease is a lock (flock) on a file of one directory that all users, containers and checkouts of a machine
share. The kernel gives it back when its holder ends, however it ends. The files are never removed: two
processes could then hold locks on two files of one name.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import stat
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Self

from pytest_amdgpu.devices.lease_holder import Holder, parse_holders, released_line

_FIRST_DELAY, _LONGEST_DELAY = 0.005, 0.25
LEASE_NAME = re.compile(r"[\w.:+-]+")
"""What a device may be called in the directory."""
_EVERYBODY_READS_AND_WRITES = 0o666
_EVERYBODY_ADDS = 0o1777

Waiting = Callable[[str, Sequence[Holder]], None]
"""Is told, each time that the holders have changed, for which device a lease waits, and who has it."""


class LeaseError(RuntimeError):
    """The lease directory cannot be used; the message names the path and what to do."""


class LeaseTimeoutError(RuntimeError):
    """A device stayed in use for too long; the message says by whom and since when."""


def default_directory(lock: Path = Path("/run/lock")) -> Path:
    """Where leases are unless told otherwise: a place that all users of a machine share.

    It must not depend on who asks. So it is below `lock` where somebody has made it there or everybody may
    (as on Debian), and else in /tmp, which TMPDIR does not move.
    """
    name = "pytest-amdgpu"
    if (lock / name).is_dir() or (lock.is_dir() and lock.stat().st_mode & stat.S_IWOTH):
        return lock / name
    return Path("/tmp") / name


class LeaseDirectory:
    """The leases of a machine. Made, if need be, so that every user can take part.

    Raises `LeaseError`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            if not path.is_dir():
                raise LeaseError(f"{path} is not a directory; choose another one for leases") from None
        except OSError as error:
            raise LeaseError(
                f"cannot make {path} for leases ({error.strerror}); choose another one"
            ) from error
        else:
            path.chmod(_EVERYBODY_ADDS)

    def take(
        self,
        names: Iterable[str],
        purpose: str,
        *,
        shared: bool = False,
        timeout: float = 0.0,
        waiting: Waiting | None = None,
    ) -> Lease:
        """Take the leases of all named devices, or none; wait at most `timeout` seconds for them.

        They are taken in the order of their names, so that no two can wait for each other. A shared
        lease goes along with other shared ones. Raises `LeaseTimeoutError` and `LeaseError`.
        """
        deadline = time.monotonic() + timeout
        holder = Holder.here(purpose, shared=shared)
        with ExitStack() as undo:
            lease = undo.enter_context(Lease(holder))
            for name in sorted(set(names)):
                lease.add(self._take(name, holder, deadline, timeout, waiting))
            undo.pop_all()
        return lease

    def holders(self, name: str) -> list[Holder] | None:
        """Return who has a device's lease; None if it is free. A holder that gave no name is left out.

        Raises `LeaseError`.
        """
        try:
            file = os.open(self._file(name), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise LeaseError(f"cannot open {self._file(name)}: {error.strerror}") from error
        try:
            if _try_lock(file, fcntl.LOCK_EX):
                return None
            return parse_holders(_content(file))
        except OSError as error:
            raise LeaseError(f"cannot ask for the lock of {self._file(name)}: {error.strerror}") from error
        finally:
            os.close(file)

    def _take(
        self, name: str, holder: Holder, deadline: float, timeout: float, waiting: Waiting | None
    ) -> int:
        """Return the descriptor that holds the lock of one device."""
        delay = _FIRST_DELAY
        told: list[Holder] | None = None
        while True:
            file = self._open(name)
            try:
                if self._lock(name, file, holder):
                    return file
                in_use = parse_holders(_content(file))
            except OSError as error:
                # A file system without locks, or a full one.
                os.close(file)
                raise LeaseError(
                    f"cannot lock {self._file(name)} for a lease: {error.strerror}; choose another directory"
                ) from error
            os.close(file)
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                by = "; ".join(map(str, in_use)) or "a process that does not say who it is"
                raise LeaseTimeoutError(f"{name} was in use for {timeout:g} s: {by}")
            # Between two looks a holder may take its name off before it lets go: that is no news.
            if waiting is not None and in_use != told and (in_use or told is None):
                waiting(name, in_use)
                told = in_use
            time.sleep(min(delay, remaining))
            delay = min(2 * delay, _LONGEST_DELAY)

    def _lock(self, name: str, file: int, holder: Holder) -> bool:
        """Try to lock an open file, and write into it who has it."""
        alone = _try_lock(file, fcntl.LOCK_EX)
        if alone:
            # Nobody else holds it: what is written there is from holders of the past.
            os.ftruncate(file, 0)
        if holder.shared:
            # To go from one kind of lock to the other gives it up in between (flock(2)).
            alone = _try_lock(file, fcntl.LOCK_SH)
        if not alone or not self._is_current(name, file):
            return False
        os.write(file, holder.to_line().encode())
        return True

    def _is_current(self, name: str, file: int) -> bool:
        """Whether the locked file is still the one of this name: somebody may have removed it meanwhile."""
        opened = os.fstat(file)
        try:
            named = os.stat(self._file(name))
        except FileNotFoundError:
            return False
        return (opened.st_dev, opened.st_ino) == (named.st_dev, named.st_ino)

    def _open(self, name: str) -> int:
        path = self._file(name)
        flags = os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        while True:
            try:
                # Without O_CREAT: in a sticky directory the kernel refuses it for files of other users
                # (sysctl fs.protected_regular).
                return _regular(os.open(path, flags), path)
            except FileNotFoundError:
                pass
            except OSError as error:
                raise LeaseError(f"cannot open {path} for a lease: {error.strerror}") from error
            try:
                file = os.open(path, flags | os.O_CREAT | os.O_EXCL, _EVERYBODY_READS_AND_WRITES)
            except FileExistsError:
                continue
            except OSError as error:
                raise LeaseError(f"cannot make {path} for a lease: {error.strerror}") from error
            os.fchmod(file, _EVERYBODY_READS_AND_WRITES)
            return file

    def _file(self, name: str) -> Path:
        if not LEASE_NAME.fullmatch(name):
            raise ValueError(f"{name!r} is not a name for a lease")
        return self.path / f"{name}.lease"


class Lease:
    """The right to use some devices, until `release` or the end of the process. A context manager."""

    def __init__(self, holder: Holder) -> None:
        self.holder = holder
        self._files: list[int] = []

    def add(self, file: int) -> None:
        """Hold a locked file, too."""
        self._files.append(file)

    def release(self) -> None:
        """Give everything back; may be called again."""
        while self._files:
            file = self._files.pop()
            # Only a note: the lock is what counts.
            with suppress(OSError):
                if self.holder.shared:
                    os.write(file, released_line(self.holder).encode())
                else:
                    os.ftruncate(file, 0)
            # A child that is about to become another program has the descriptor still, and with it the lock.
            fcntl.flock(file, fcntl.LOCK_UN)
            os.close(file)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.release()


def _try_lock(file: int, kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno != errno.EWOULDBLOCK:
            raise
        return False
    return True


def _regular(file: int, path: Path) -> int:
    """Return the descriptor if it is of a plain file, else close it."""
    if stat.S_ISREG(os.fstat(file).st_mode):
        return file
    os.close(file)
    raise LeaseError(f"{path} is not a plain file; remove it")


def _content(file: int) -> str:
    return os.pread(file, os.fstat(file).st_size, 0).decode(errors="replace")
