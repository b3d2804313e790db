"""The log of the machine's kernel: records as /dev/kmsg gives them, losses, storms, and no permission."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator

import pytest

from pytest_amdgpu.devices import message_log
from pytest_amdgpu.devices.message_log import MessageLog


@pytest.fixture
def kmsg() -> Iterator[tuple[MessageLog, int]]:
    """A log, and where to write its records: a pipe in packet mode, of which each read returns one."""
    read, write = os.pipe2(os.O_DIRECT | os.O_NONBLOCK)
    yield MessageLog(read), write
    os.close(write)
    os.close(read)


def test_lines_since_a_mark(kmsg: tuple[MessageLog, int]) -> None:
    log, write = kmsg
    assert len(log) == 0
    os.write(write, b"6,339,5140900,-;NET: Registered protocol family 10\n")
    mark = len(log)
    os.write(
        write, b"3,340,5690716,-;amdgpu 0000:03:00.0: ring; gfx timeout\n SUBSYSTEM=pci\n DEVICE=+pci:x\n"
    )
    os.write(write, b"4,341,5690717,c;\xff last\n")
    assert log[mark:] == ["amdgpu 0000:03:00.0: ring; gfx timeout", "\ufffd last"]
    assert log[0] == "NET: Registered protocol family 10"
    assert log[-1] == "\ufffd last"
    assert log[mark:][-1:] == log[-1:]
    with pytest.raises(IndexError):
        log[3]


def test_a_storm_keeps_the_last_lines(kmsg: tuple[MessageLog, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(message_log, "_KEPT", 3)
    log, write = MessageLog(kmsg[0]._fd), kmsg[1]
    for number in range(5):
        os.write(write, f"6,{number},1,-;line {number}\n".encode())
    assert len(log) == 5
    assert log[1:] == ["line 2", "line 3", "line 4"]


def test_overwritten_messages_are_told(kmsg: tuple[MessageLog, int], monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[OSError | bytes] = [
        OSError(errno.EPIPE, "Broken pipe"),
        b"6,9,1,-;after\n",
        OSError(errno.EAGAIN, "again"),
    ]

    def read(_fd: int, _size: int) -> bytes:
        answer = answers.pop(0) if answers else OSError(errno.EAGAIN, "again")
        if isinstance(answer, OSError):
            raise answer
        return answer

    monkeypatch.setattr(os, "read", read)
    assert kmsg[0][:] == ["(messages were lost)", "after"]


def test_what_cannot_be_read_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(message_log, "KMSG", "/no/such/kmsg")
    log = MessageLog()
    assert len(log) == 0
    assert log[:] == []
    assert "No such file or directory: '/no/such/kmsg'" in log.obstacle


def test_a_log_that_ends_says_why_and_keeps_its_lines(
    kmsg: tuple[MessageLog, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    log, write = kmsg
    os.write(write, b"6,1,1,-;one\n")
    assert len(log) == 1

    def fail(*_: int) -> bytes:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "read", fail)
    assert log[:] == ["one"]
    assert "Input/output error" in log.obstacle
