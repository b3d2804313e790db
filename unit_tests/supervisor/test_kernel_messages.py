"""Which lines of the kernel's log are shown; a FIFO of packets plays the device, whose reads are records."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pytest_amdgpu.supervisor.kernel_messages import LINES, recent

Say = Callable[..., str]


@pytest.fixture
def say(tmp_path: Path) -> Iterator[Say]:
    """Put records into a device; return its path."""
    path = str(tmp_path / "kmsg")
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    writer = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    # Packets, see O_DIRECT in pipe(2).
    fcntl.fcntl(writer, fcntl.F_SETFL, os.O_DIRECT | os.O_NONBLOCK)

    def put(*records: str) -> str:
        for record in records:
            os.write(writer, record.encode())
        return path

    yield put
    os.close(reader)
    os.close(writer)


def test_lines_about_gpus_since_a_time(say: Say) -> None:
    path = say(
        "6,10,50000000,-;amdgpu 0000:03:00.0: amdgpu: too old",
        "4,11,101500000,-;amdgpu 0000:03:00.0: amdgpu: GPU reset begin!\n SUBSYSTEM=pci\n",
        "6,12,102000000,-;usb 1-1: new device",
        "3,13,103000000,-;INFO: task python:123 blocked for more than 122 seconds.",
        "no record",
        "6,x;amdgpu",
    )
    assert list(recent(100.0, path)) == [
        "[  101.500000] amdgpu 0000:03:00.0: amdgpu: GPU reset begin!",
        "[  103.000000] INFO: task python:123 blocked for more than 122 seconds.",
    ]


def test_lines_from_a_moment_on_and_of_a_second_before(say: Say) -> None:
    # A pipe takes 16 packets; each of these holds one.
    path = say(*(f"4,{number},{number}000000,-;drm {number}" for number in range(10)))
    assert [line.split()[-1] for line in recent(5.5, path)] == ["5", "6", "7", "8", "9"]
    assert LINES == 50


def test_a_log_that_is_not_ours_to_read(tmp_path: Path) -> None:
    assert list(recent(0, str(tmp_path / "none"))) == []
