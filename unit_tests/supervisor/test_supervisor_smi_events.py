"""What records of system management events say, and how they are read."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from pytest_amdgpu.supervisor import smi_events
from pytest_amdgpu.supervisor.smi_events import Listener, in_words


@pytest.mark.parametrize(
    ("record", "words"),
    [
        # KFD_EVENT_FMT_VMFAULT: %x:%s
        ("1 4d2:python", "VM fault of process 1234 (python)"),
        ("1 4d2:a b: c", "VM fault of process 1234 (a b: c)"),
        # KFD_EVENT_FMT_THERMAL_THROTTLING: %llx:%llx
        ("2 10:1f", "thermal throttling, bits 0x10, for the 31. time"),
        # KFD_EVENT_FMT_UPDATE_GPU_RESET: %x %s
        ("3 b MES hang", "GPU reset 11 begins (MES hang)"),
        ("4 b ", "GPU reset 11 has ended"),
        # Before there was a cause: %x
        ("3 b", "GPU reset 11 begins"),
        ("4 b", "GPU reset 11 has ended"),
        ("1 nonsense", "event 1 nonsense"),
        ("a 12 -34 56 0", "event a 12 -34 56 0"),
        ("", "event "),
    ],
)
def test_what_a_record_says(record: str, words: str) -> None:
    assert in_words(record) == words


@pytest.fixture
def pipe() -> Iterator[tuple[Listener, int]]:
    fd, end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    listener = Listener("gpu-0", fd)
    yield listener, end
    listener.close()


def test_records_are_read_whole_however_they_come(
    pipe: tuple[Listener, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(smi_events, "_SIZE", 8)
    listener, end = pipe
    os.write(end, b"3 1 HWS hang\n4 1 \n1 4d")
    assert listener.read() == ["gpu-0: GPU reset 1 begins (HWS hang)", "gpu-0: GPU reset 1 has ended"]
    assert listener.read() == []
    os.write(end, b"2:python\n")
    assert listener.read() == ["gpu-0: VM fault of process 1234 (python)"]
    assert not listener.ended
    os.close(end)
    assert listener.read() == []
    assert listener.ended


def test_a_descriptor_that_cannot_be_read_is_the_end(tmp_path: object) -> None:
    listener = Listener("gpu-0", os.open(str(tmp_path), os.O_RDONLY))
    assert listener.read() == ["gpu-0: no more can be heard: Is a directory"]
    assert listener.ended
    listener.close()
