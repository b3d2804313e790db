"""What the kernel says of processes that wait in known ways."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from pytest_amdgpu.abi.kfd import KFD_IOCTLS
from pytest_amdgpu.supervisor import process_state
from pytest_amdgpu.supervisor.process_state import describe, describe_call, is_alive, started, state

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start Python with a program that prints a line when it is where it should be."""
    processes: list[subprocess.Popen[str]] = []

    def start_process(program: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-ISc", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        processes.append(process)
        assert process.stdout is not None
        process.stdout.readline()
        return process

    yield start_process
    for process in processes:
        process.kill()
        process.communicate()


def await_state(pid: int, letter: str) -> None:
    end = time.monotonic() + 30
    while state(pid) != letter:
        assert time.monotonic() < end, state(pid)
        time.sleep(0.01)


def test_a_process_that_waits_for_input(start: Start) -> None:
    process = start("import os; print(flush=True); os.read(0, 1)")
    await_state(process.pid, "S")
    text = "\n".join(describe(process.pid))
    assert f"process {process.pid} is sleeping" in text
    assert f"thread {process.pid} " in text
    if os.access(f"/proc/{process.pid}/syscall", os.R_OK):
        assert "system call read(0 (pipe:[" in text


def test_a_process_that_is_stopped(start: Start) -> None:
    process = start("import os; print(flush=True); os.kill(os.getpid(), 19)")
    await_state(process.pid, "T")
    assert next(describe(process.pid)) == f"process {process.pid} is stopped"


def test_a_process_with_a_strange_name(start: Start) -> None:
    """Its stat holds the name in parentheses, whatever that is."""
    process = start("open('/proc/self/comm', 'w').write(') Z 1 (x'); print(flush=True); input()")
    await_state(process.pid, "S")
    assert started(process.pid) > 0
    assert any(") Z 1 (x: sleeping" in line for line in describe(process.pid))


def test_more_threads_than_are_shown(start: Start) -> None:
    program = "import threading\nfor _ in range(40): threading.Thread(target=input, daemon=True).start()\n"
    process = start(program + "print(flush=True); threading.Event().wait()")
    lines = list(describe(process.pid))
    assert sum(line.startswith("thread ") for line in lines) == 32
    assert "and 9 more threads" in lines


def test_a_process_that_is_gone(start: Start) -> None:
    process = start("print(flush=True); input()")
    since = started(process.pid)
    assert is_alive(process.pid, since)
    assert not is_alive(process.pid, since + 1)
    process.kill()
    # A zombie until it is waited for: nothing more will happen to it.
    await_state(process.pid, "Z")
    assert not is_alive(process.pid, since)
    process.wait()
    assert state(process.pid) == ""
    assert started(process.pid) == 0
    assert list(describe(process.pid)) == [f"process {process.pid} is gone"]
    assert not is_alive(process.pid, since)


@pytest.fixture
def number(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], int]:
    """Return the number of a system call as of x86-64, whatever machine this is."""
    numbers = process_state._SYSCALLS["x86_64"]
    monkeypatch.setattr(process_state, "_NAMES", {number: name for name, number in numbers.items()})
    return numbers.__getitem__


def test_an_ioctl_is_told_by_its_name_and_file(number: Callable[[str], int]) -> None:
    wait = next(spec for spec in KFD_IOCTLS.values() if spec.name == "AMDKFD_IOC_WAIT_EVENTS")
    with open("/dev/null") as file:
        descriptor = file.fileno()
        text = f"{number('ioctl')} {descriptor:#x} {wait.request:#x} 0x7ffc00 0x0 0x0 0x0 0x7ff 0x7fe"
        call = describe_call(os.getpid(), text)
    assert call == f"system call ioctl({descriptor} (/dev/null), AMDKFD_IOC_WAIT_EVENTS)"
    assert describe_call(os.getpid(), "16 0xfff 0xc0de0000 0x0 0x0 0x0 0x0 0x0 0x0") == (
        "system call ioctl(4095, 0xc0de0000)"
    )


@pytest.mark.parametrize(
    ("text", "call"),
    [
        ("running", ""),
        ("-1 0x7ffd 0x7f", ""),
        ("", ""),
        ("34 0x1 0x2 0x3 0x4 0x5 0x6 0x7 0x8", "system call pause(0x1, 0x2, 0x3, 0x4, 0x5, 0x6)"),
        ("9999 0x1 0x2 0x3 0x4 0x5 0x6 0x7 0x8", "system call 9999(0x1, 0x2, 0x3, 0x4, 0x5, 0x6)"),
    ],
)
def test_calls(text: str, call: str, number: Callable[[str], int]) -> None:
    assert describe_call(os.getpid(), text) == call


@pytest.mark.skipif(sys.platform != "linux", reason="the C header of Linux")
def test_numbers_of_system_calls_are_those_of_the_c_header(require_tool: Callable[[str], str]) -> None:
    """The compiler's preprocessor is the oracle, for the machine that this is."""
    names = process_state._SYSCALLS.get(os.uname().machine)
    if names is None:
        pytest.skip(f"no table for {os.uname().machine}")
    source = "#include <sys/syscall.h>\n" + "\n".join(f"{name}=__NR_{name}" for name in names)
    output = subprocess.run(
        [require_tool("gcc"), "-E", "-P", "-"], input=source, capture_output=True, text=True, check=True
    ).stdout
    found = dict(line.split("=") for line in output.splitlines() if "=" in line)
    assert {name: int(value) for name, value in found.items()} == names
