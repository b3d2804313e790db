"""The supervisor as a process, with processes of the test's own in the place of pytest's."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_amdgpu.supervisor import client
from pytest_amdgpu.supervisor.client import Connection, SupervisorGoneError
from pytest_amdgpu.supervisor.protocol import Said, Told

WAIT = 300
"""Seconds in which everything here must have happened, on a machine with much else to do."""


PATIENT = (
    "import pytest_amdgpu.supervisor.watch as watch, pytest_amdgpu.supervisor.evidence as evidence; "
    "evidence._GLANCES = 1000; "
    "watch.STEPS = tuple(step._replace(patience=30) if number in (0, 2) else step"
    " for number, step in enumerate(watch.STEPS)); main()"
)
"""A supervisor that waits for its evidence also on a machine with much else to do."""


class Run:
    """A supervisor, and the connection of a controller that is a process of its own."""

    def __init__(self, verdict: Path) -> None:
        self.verdict = verdict
        self.address, self.process = client.start()
        self.processes: list[subprocess.Popen[str]] = []
        self.connection = Connection(self.address)
        self.controller = self.start_process("import time; time.sleep(1000)")
        facts = {"started": "", "arguments": [], "directory": "", "environment": {}}
        self.connection.say(Said.CONTROLLER, self.controller.pid, str(verdict), facts)

    def start_process(self, program: str, *arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-ISc", program, *arguments], stdout=subprocess.PIPE, text=True
        )
        self.processes.append(process)
        return process

    def worker(self, program: str, seconds: float = 0.2) -> subprocess.Popen[str]:
        """Start a process that says it is in a test and then runs a program."""
        root = str(Path(client.__file__).parent.parent.parent)
        begin = f"""
import ctypes, os, signal, sys, time
sys.path.append({root!r})
from pytest_amdgpu.supervisor.client import Client
from pytest_amdgpu.supervisor.protocol import Limit
def fail(in_phase): raise TimeoutError("late" if in_phase else "it did not go on")
client = Client({self.address!r}, "gw0", 1000.0, fail)
client.begin("test_it", "call", Limit(time.monotonic() + {seconds}, {seconds}), ["sw-0"])
print("begun", flush=True)
"""
        process = self.start_process(begin + program)
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        return process

    def told(self, wanted: str) -> list[Any]:
        """Wait for a message."""
        end = time.monotonic() + WAIT
        while True:
            for message in self.connection.told():
                if message[0] == wanted:
                    return message[1:]
            assert time.monotonic() < end, wanted
            time.sleep(0.02)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    monkeypatch.setattr(client, "_PROGRAM", client._PROGRAM.replace("main()", PATIENT))
    run = Run(tmp_path / "verdict.json")
    yield run
    for process in run.processes:
        process.kill()
        process.communicate()
    run.connection.socket.close()
    run.process.wait(WAIT)


NEVER = """
mutex = ctypes.create_string_buffer(64)
lib.pthread_mutex_lock(mutex)
lib.pthread_mutex_lock(mutex)
"""
"""A call that never returns: the C library waits again when a signal came."""


@pytest.mark.parametrize("library", ["CDLL", "PyDLL"])
def test_a_call_that_never_returns_is_killed(library: str, run: Run) -> None:
    worker = run.worker(f"lib = ctypes.{library}(None){NEVER}")
    # First that it will be, then with all the evidence.
    first, second = run.told(Told.KILLING), run.told(Told.KILLING)
    assert first[:-1] == second[:-1]
    name, test, phase, devices, text, evidence = second
    assert (name, test, phase, devices) == ("gw0", "test_it", "call", ["sw-0"])
    assert "Timeout: call of test_it did not end within 0.2 s, nor when it was interrupted" in text
    assert f"process {worker.pid} is " in evidence
    assert 'File "<string>", line ' in evidence
    assert worker.wait(WAIT) == -signal.SIGTERM


def test_a_wait_in_python_is_interrupted_and_what_was_seen_is_told_before(run: Run) -> None:
    worker = run.worker("""
try:
    ctypes.CDLL(None).sleep(1000)
except TimeoutError as error:
    print(error, *next(client.told())[:2])
client.begin("test_it", "tear-down", Limit(time.monotonic() + 1000, 1000))
print("torn down", flush=True)
signal.pause()
""")
    assert worker.stdout is not None
    assert worker.stdout.readline() == "late evidence test_it\n"
    assert worker.stdout.readline() == "torn down\n"
    assert worker.poll() is None


def test_a_process_that_is_stopped_goes_on_and_is_interrupted(run: Run) -> None:
    worker = run.worker("""
try:
    os.kill(os.getpid(), signal.SIGSTOP)
    signal.pause()
except TimeoutError as error:
    print(next(client.told())[2].splitlines()[1])
""")
    assert worker.stdout is not None
    assert worker.stdout.readline() == f"  process {worker.pid} is stopped\n"


def test_a_process_that_ignores_all_it_can_is_killed(run: Run) -> None:
    worker = run.worker(f"""
signal.signal(signal.SIGTERM, signal.SIG_IGN)
lib = ctypes.CDLL(None){NEVER}
""")
    run.told(Told.KILLING)
    assert worker.wait(WAIT) == -signal.SIGKILL


@pytest.fixture
def time_for_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A supervisor that waits long for what an interrupt leads to."""
    step = "watch.STEPS[1]._replace(patience=300)"
    steps = f"watch.STEPS = (watch.STEPS[0], {step}, *watch.STEPS[2:]); "
    program = f"import pytest_amdgpu.supervisor.watch as watch; {steps}main()"
    monkeypatch.setattr(client, "_PROGRAM", client._PROGRAM.replace("main()", program))


@pytest.mark.usefixtures("time_for_an_answer")
def test_an_interrupt_that_comes_between_phases_hurts_nobody(run: Run) -> None:
    worker = run.worker(
        """
from pytest_amdgpu.supervisor.signals import INTERRUPT

signal.pthread_sigmask(signal.SIG_BLOCK, [INTERRUPT])
client.begin("test_it", "call", Limit(time.monotonic() + 0.1, 0.1), ["sw-0"])
while INTERRUPT not in signal.sigpending():
    time.sleep(0.01)
client.over()
signal.pthread_sigmask(signal.SIG_UNBLOCK, [INTERRUPT])
client.idle()
print("nothing happened", flush=True)
""",
        seconds=1000.0,
    )
    assert worker.stdout is not None
    assert worker.stdout.readline() == "nothing happened\n"


@pytest.mark.parametrize("call", ["signal.pause()", "ctypes.CDLL(None).sleep(1000)"])
def test_a_process_that_does_not_go_on_between_phases_is_interrupted(call: str, run: Run) -> None:
    worker = run.worker(
        f"""
from pytest_amdgpu.supervisor.protocol import Said

def idle():
    # The supervisor looks at the pulse soon.
    client.say(Said.IDLE, os.getpid(), Limit(time.monotonic() + 0.1, 1000.0))

client.beat()
idle()
time.sleep(1)
client._pulse.beat -= 1000.0
client.rest()
idle()
time.sleep(1)
client.go_on()
print("nothing happened", flush=True)
try:
    client._pulse.beat -= 1000.0
    idle()
    {call}
except TimeoutError as error:
    print(error, flush=True)
""",
        seconds=1000.0,
    )
    assert worker.communicate(timeout=WAIT) == ("nothing happened\nit did not go on\n", None)


@pytest.fixture
def cannot_kill(monkeypatch: pytest.MonkeyPatch) -> None:
    """A supervisor whose signals do not end anything, as with a process in uninterruptible sleep."""
    harmless = (
        "import os; kill = os.kill; os.kill = lambda pid, number: number in (9, 15) or kill(pid, number); "
    )
    monkeypatch.setattr(client, "_PROGRAM", harmless + client._PROGRAM)


@pytest.mark.usefixtures("cannot_kill")
def test_a_process_that_does_not_die_is_lost_and_not_waited_for(run: Run) -> None:
    worker = run.worker(f"lib = ctypes.CDLL(None){NEVER}")
    run.told(Told.KILLING)
    assert run.told(Told.LOST) == ["gw0"]
    assert worker.poll() is None
    run.connection.say(Said.END, None)
    run.connection.socket.close()
    assert run.process.wait(WAIT) == 0
    assert worker.poll() is None


@pytest.mark.usefixtures("cannot_kill")
def test_a_device_in_quarantine_is_told_to_all_and_to_who_comes_later(run: Run) -> None:
    other = Connection(run.address)
    other.say(Said.WORKER, "gw1", os.getpid(), "")
    run.worker(f"lib = ctypes.CDLL(None){NEVER}")
    reason = "test_it did not end, and its process does not die"
    assert run.told(Told.QUARANTINE) == ["sw-0", reason]
    late = Connection(run.address)
    late.say(Said.WORKER, "gw2", os.getpid(), "")
    for connection in (other, late):
        end = time.monotonic() + WAIT
        while not (messages := list(connection.told())):
            assert time.monotonic() < end
            time.sleep(0.02)
        assert messages == [["quarantine", "sw-0", reason]]
        connection.close()


def test_when_the_controller_is_killed_the_verdict_is_written_and_its_workers_end(run: Run) -> None:
    worker = run.worker("signal.pause()", seconds=1000)
    run.connection.say(Said.EXPECT, ["sw-0"], ["t.py::test_a", "test_it"])
    run.controller.kill()
    assert worker.wait(WAIT) == -signal.SIGTERM
    assert run.process.wait(WAIT) == 0
    content = json.loads(run.verdict.read_text())
    assert content["verdict"] == "infrastructure"
    assert content["reasons"][0] == f"pytest's process {run.controller.pid} died before the end of the run"
    assert [test["outcome"] for test in content["tests"]] == ["missing", "missing"]


def test_when_the_run_ends_in_order_nothing_is_written(run: Run) -> None:
    run.connection.say(Said.END, None)
    run.connection.socket.close()
    assert run.process.wait(WAIT) == 0
    assert not run.verdict.exists()


def test_a_supervisor_to_whom_nobody_speaks_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    patience = "import pytest_amdgpu.supervisor.main as m; m._FIRST_CONNECTION = 0.1; main()"
    monkeypatch.setattr(client, "_PROGRAM", client._PROGRAM.replace("main()", patience))
    address, process = client.start()
    assert process.wait(WAIT) == 0
    with pytest.raises(SupervisorGoneError):
        Connection(address)


def test_the_supervisor_is_in_a_session_of_its_own_where_no_ctrl_c_comes(run: Run) -> None:
    assert os.getsid(run.process.pid) == run.process.pid


def test_what_it_imports_is_little(run: Run) -> None:
    """A run waits for nothing of this, but pays for it with its processor."""
    maps: Callable[[], str] = Path(f"/proc/{run.process.pid}/maps").read_text
    run.worker("signal.pause()", seconds=1000)
    assert "numpy" not in maps()


# System management events.
# ------------------------------------------------------------------------------------------------------------

HEARD = """
read, write = os.pipe2(os.O_NONBLOCK)
client.smi_events("sw-0", read)
os.write(write, b"3 1 HWS hang\\n4 1 \\n")
"""

LATE_SOON = f"""
client.begin("test_it", "call", Limit(time.monotonic() + 0.2, 0.2), ["sw-0"])
lib = ctypes.CDLL(None){NEVER}
"""


def _smi(evidence: str) -> list[str]:
    """Return the part of the evidence that tells of events."""
    lines = evidence.splitlines()
    begin = lines.index("SMI events:") + 1
    end = next((at for at in range(begin, len(lines)) if not lines[at].startswith("  ")), len(lines))
    return [re.sub(r"^  \d+\.\d s ago: ", "", line) for line in lines[begin:end]]


def _evidence(run: Run) -> str:
    run.told(Told.KILLING)
    text: str = run.told(Told.KILLING)[-1]
    return text


def test_events_of_gpus_are_evidence(run: Run) -> None:
    run.worker(f"{HEARD}client.no_smi_events('sw-1', 'not permitted'){LATE_SOON}", 1000.0)
    assert _smi(_evidence(run)) == [
        "  sw-1: none can be heard: not permitted",
        "sw-0: GPU reset 1 begins (HWS hang)",
        "sw-0: GPU reset 1 has ended",
    ]


def test_events_of_earlier_tests_are_told_with_their_age(run: Run) -> None:
    run.worker(
        f"""{HEARD}
time.sleep(1)
client.idle()
client.begin("test_other", "call", Limit(time.monotonic() + 0.2, 0.2), [])
lib = ctypes.CDLL(None){NEVER}""",
        1000.0,
    )
    last = _evidence(run).partition("SMI events:\n")[2].splitlines()[1]
    age = re.fullmatch(r"  (\d+\.\d) s ago: sw-0: GPU reset 1 has ended", last)
    assert age is not None, last
    assert float(age[1]) >= 1.2


def test_a_device_that_is_opened_again_is_heard_by_its_new_descriptor(run: Run) -> None:
    run.worker(
        f"""{HEARD}
os.close(write)
read, write = os.pipe2(os.O_NONBLOCK)
client.smi_events("sw-0", read)
os.write(write, b"1 4d2:python\\n"){LATE_SOON}""",
        1000.0,
    )
    assert _smi(_evidence(run))[-1] == "sw-0: VM fault of process 1234 (python)"


def target_of(link: Path) -> str:
    """What a descriptor is of; empty if it was closed meanwhile."""
    try:
        return os.readlink(link)
    except FileNotFoundError:
        return ""


def test_a_descriptor_that_has_ended_costs_no_time(run: Run) -> None:
    """A loop that is woken for ever would be seen by its time on the processor."""
    worker = run.worker(
        f"{HEARD}\nos.close(read)\nos.close(write)\nprint('closed', flush=True)\nsignal.pause()", 1000
    )
    assert worker.stdout is not None
    assert worker.stdout.readline() == "closed\n"
    end = time.monotonic() + WAIT
    descriptors = Path(f"/proc/{run.process.pid}/fd")
    while any("pipe:" in target_of(link) for link in descriptors.iterdir() if int(link.name) > 2):
        assert time.monotonic() < end
        time.sleep(0.02)
