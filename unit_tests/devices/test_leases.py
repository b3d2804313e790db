"""Leases between processes, with crashed holders and other users; the kernel's flock is the judge."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from pytest_amdgpu.devices.lease_holder import Holder, parse_holders
from pytest_amdgpu.devices.leases import LeaseDirectory, LeaseError, LeaseTimeoutError, default_directory

GPU, OTHER = "0000:03:00.0", "0000:83:00.0"

HOLD = """
import sys
from pathlib import Path
from pytest_amdgpu.devices.leases import LeaseDirectory
directory, shared, *names = sys.argv[1:]
lease = LeaseDirectory(Path(directory)).take(names, "a test of leases", shared=shared == "shared", timeout=20)
print("held", flush=True)
sys.stdin.readline()
lease.release()
print("released", flush=True)
sys.stdin.readline()
"""
"""A process that holds a lease until it reads a line, and ends with the next one."""


@pytest.fixture
def leases(tmp_path: Path) -> LeaseDirectory:
    return LeaseDirectory(tmp_path / "leases")


@pytest.fixture
def start(leases: LeaseDirectory) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Return a function that starts a process which takes leases."""
    started: list[subprocess.Popen[str]] = []

    def start_holder(*names: str, shared: bool = False) -> subprocess.Popen[str]:
        arguments = [sys.executable, "-c", HOLD, str(leases.path), "shared" if shared else "alone", *names]
        process = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(process)
        return process

    yield start_holder
    for process in started:
        process.kill()
        process.communicate()


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def let_go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def test_one_process_has_a_device_at_a_time(
    leases: LeaseDirectory, start: Callable[..., subprocess.Popen[str]]
) -> None:
    first = start(GPU)
    assert line(first) == "held"
    with pytest.raises(LeaseTimeoutError, match=rf"{GPU} was in use for 0 s: pid {first.pid} of .*exclusive"):
        leases.take([GPU], "me")
    with leases.take([OTHER], "me"):
        pass
    let_go(first)
    assert line(first) == "released"
    with leases.take([GPU], "me"):
        (holder,) = leases.holders(GPU) or []
        assert (holder.pid, holder.purpose) == (os.getpid(), "me")
    assert leases.holders(GPU) is None


def test_a_wait_ends_when_the_holder_gives_back(
    leases: LeaseDirectory, start: Callable[..., subprocess.Popen[str]]
) -> None:
    seen: list[tuple[str, int]] = []
    first = start(GPU)
    assert line(first) == "held"

    def waiting(name: str, holders: object) -> None:
        (holder,) = holders  # type: ignore[misc]
        seen.append((name, holder.pid))
        let_go(first)

    leases.take([GPU], "me", timeout=20, waiting=waiting).release()
    assert seen == [(GPU, first.pid)]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_lease_of_a_holder_that_dies_is_free(
    number: int, leases: LeaseDirectory, start: Callable[..., subprocess.Popen[str]]
) -> None:
    first = start(GPU)
    assert line(first) == "held"
    first.send_signal(number)
    first.wait()
    assert leases.holders(GPU) is None
    leases.take([GPU], "me").release()


def test_shared_leases_go_together_and_keep_others_out(
    leases: LeaseDirectory, start: Callable[..., subprocess.Popen[str]]
) -> None:
    first, second = start(GPU, shared=True), start(GPU, shared=True)
    assert line(first) == line(second) == "held"
    assert {holder.pid for holder in leases.holders(GPU) or []} == {first.pid, second.pid}
    with pytest.raises(LeaseTimeoutError, match="shared"):
        leases.take([GPU], "me")
    let_go(first)
    assert line(first) == "released"
    assert [holder.pid for holder in leases.holders(GPU) or []] == [second.pid]
    with leases.take([GPU], "me", shared=True):
        assert {holder.pid for holder in leases.holders(GPU) or []} == {second.pid, os.getpid()}
    second.kill()
    second.wait()
    leases.take([GPU], "me").release()


def test_several_devices_are_taken_all_or_none(
    leases: LeaseDirectory, start: Callable[..., subprocess.Popen[str]]
) -> None:
    first = start(OTHER)
    assert line(first) == "held"
    with pytest.raises(LeaseTimeoutError, match=OTHER):
        leases.take([OTHER, GPU], "me")
    assert leases.holders(GPU) is None


def test_two_that_want_the_same_devices_in_another_order_both_get_them(
    leases: LeaseDirectory, start: Callable[..., subprocess.Popen[str]]
) -> None:
    with leases.take([GPU, OTHER], "me"):
        processes = [start(*names) for names in ([GPU, OTHER], [OTHER, GPU]) * 2]
    for process in processes:
        let_go(process)
    for process in processes:
        assert [line(process), line(process)] == ["held", "released"]


def test_a_file_that_was_removed_is_not_two_leases(leases: LeaseDirectory) -> None:
    """Somebody cleans up: the lock of the removed file is worth nothing."""
    lease = leases.take([GPU], "first")
    path = leases.path / f"{GPU}.lease"
    stale = os.open(path, os.O_RDWR)
    lease.release()
    path.unlink()
    with leases.take([GPU], "second"):
        assert not leases._lock(GPU, stale, Holder.here("third", shared=False))
    os.close(stale)


def test_a_child_does_not_keep_the_lease(leases: LeaseDirectory) -> None:
    """A program that a test starts outlives it, but not its lease."""
    lease = leases.take([GPU], "me")
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, close_fds=False)
    lease.release()
    assert leases.holders(GPU) is None
    child.communicate(b"\n")


def test_every_user_can_take_part(leases: LeaseDirectory) -> None:
    leases.take([GPU], "me").release()
    assert stat.S_IMODE(leases.path.stat().st_mode) == 0o1777
    assert stat.S_IMODE((leases.path / f"{GPU}.lease").stat().st_mode) == 0o666


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_another_user_in_a_sticky_directory(request: pytest.FixtureRequest) -> None:
    """The directories of `tmp_path` keep other users out."""
    place = tempfile.mkdtemp()
    request.addfinalizer(partial(shutil.rmtree, place))
    os.chmod(place, 0o755)
    leases = LeaseDirectory(Path(place) / "leases")
    leases.take([GPU], "root").release()
    code = (
        "import os, sys; from pathlib import Path; from pytest_amdgpu.devices.leases import LeaseDirectory;"
        "os.setgid(65534); os.setuid(65534);"
        f"LeaseDirectory(Path({str(leases.path)!r})).take([{GPU!r}], 'nobody'); print('held')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "held\n", done.stderr


def test_a_lock_without_a_description_is_a_holder_too(leases: LeaseDirectory) -> None:
    leases.take([GPU], "me").release()
    with open(leases.path / f"{GPU}.lease", "r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write("{broken\n[]\n")
        file.flush()
        assert leases.holders(GPU) == []
        with pytest.raises(LeaseTimeoutError, match="a process that does not say who it is"):
            leases.take([GPU], "me")
    with leases.take([GPU], "me"):
        assert len(leases.holders(GPU) or []) == 1


def test_a_process_of_the_same_number_is_not_the_holder() -> None:
    holder = Holder.here("me", shared=False)
    assert parse_holders(holder.to_line()) == [holder]
    values = json.loads(holder.to_line())
    assert parse_holders(json.dumps({**values, "started": values["started"] + 1})) == []
    # In another container or on another machine nobody can tell.
    assert len(parse_holders(json.dumps({**values, "started": 1, "namespace": 1}))) == 1
    assert len(parse_holders(json.dumps({**values, "started": 1, "boot": "another"}))) == 1


def test_a_directory_that_cannot_be_is_named(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(LeaseError, match=f"{file} is not a directory; choose another one"):
        LeaseDirectory(file)
    with pytest.raises(LeaseError, match=f"cannot make {file / 'below'} for leases"):
        LeaseDirectory(file / "below")


def test_what_is_no_plain_file_is_not_locked(leases: LeaseDirectory) -> None:
    os.mkfifo(leases.path / f"{GPU}.lease")
    with pytest.raises(LeaseError, match="is not a plain file; remove it"):
        leases.take([GPU], "me")
    (leases.path / f"{OTHER}.lease").symlink_to("/etc/passwd")
    with pytest.raises(LeaseError, match=r"cannot open .* for a lease: Too many levels"):
        leases.take([OTHER], "me")


@pytest.mark.parametrize("name", ["", "../up", "a b", "a/b"])
def test_a_name_stays_in_the_directory(name: str, leases: LeaseDirectory) -> None:
    with pytest.raises(ValueError, match="is not a name for a lease"):
        leases.take([name], "me")


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        ("fcntl.flock", errno.ENOLCK, "No locks available"),
        ("os.write", errno.ENOSPC, "No space left on device"),
    ],
)
def test_a_file_system_that_cannot_is_named(
    call: str, error: int, text: str, leases: LeaseDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_arguments: object) -> None:
        raise OSError(error, os.strerror(error))

    held = leases.take([OTHER], "me", shared=True)
    with monkeypatch.context() as patch:
        patch.setattr(call, refuse)
        with pytest.raises(LeaseError, match=rf"cannot lock .*{GPU}.lease for a lease: {text}; choose"):
            leases.take([GPU], "me")
        if call == "os.write":
            held.release()
    # Nothing is kept by what failed, and what could not be noted is given back all the same.
    with leases.take([GPU], "me"):
        assert leases.holders(GPU)
    if call == "os.write":
        assert leases.holders(OTHER) is None


def test_the_place_of_leases_is_the_same_for_all_users(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on Debian, where everybody may write to /run/lock, and on Fedora, where only root may."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    tmp_path.chmod(0o1777)
    assert default_directory(tmp_path) == tmp_path / "pytest-amdgpu"
    tmp_path.chmod(0o755)
    elsewhere = Path("/tmp/pytest-amdgpu")
    assert default_directory(tmp_path) == default_directory(tmp_path / "none") == elsewhere
    # Somebody has made it for all.
    (tmp_path / "pytest-amdgpu").mkdir()
    assert default_directory(tmp_path) == tmp_path / "pytest-amdgpu"
