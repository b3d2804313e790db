"""The process that waits for pytest: what it makes of how that has ended, and which signals it passes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_amdgpu.supervisor.guard import exit_status

ROOT = Path(__file__).parent.parent.parent
WAIT = 300
"""Seconds in which all must have happened, on a machine with much else to do."""


@pytest.mark.parametrize(
    ("ended", "word", "status"),
    [
        # As pytest and the verdict say.
        (0, 0, 0),
        (1, 1, 1),
        (11, 11, 11),
        # Without a verdict nothing is good, nor is it known to be a regression.
        (4, None, 4),
        (0, None, 10),
        (1, None, 10),
        (-9, None, 10),
        (None, None, 10),
        # The verdict is not good, whatever the process does then.
        (0, 1, 1),
        (0, 10, 10),
        (3, 10, 10),
        (-15, 1, 1),
        (None, 10, 10),
        # It was good, and the process did not come to its end.
        (1, 0, 10),
        (-11, 0, 10),
        (None, 0, 10),
    ],
)
def test_the_status_of_a_run(ended: int | None, word: int | None, status: int) -> None:
    found, why = exit_status(ended, word, heard=True)
    assert found == status
    assert bool(why) == (status == 10 and not word)


@pytest.mark.parametrize(
    ("ended", "status"), [(1, 1), (4, 4), (10, 10), (11, 11), (0, 10), (3, 10), (-9, 10)]
)
def test_without_a_supervisor_only_what_is_good_is_doubted(ended: int, status: int) -> None:
    assert exit_status(ended, None, heard=False)[0] == status


def start(program: str, **options: object) -> subprocess.Popen[str]:
    begin = f"""
import os, signal, sys, time
sys.path.append({str(ROOT)!r})
from pytest_amdgpu.supervisor import guard
address = guard.run_in_child(None, None)
def say(*words): print(*words, flush=True)
"""
    return subprocess.Popen(  # type: ignore[call-overload,no-any-return]
        [sys.executable, "-c", begin + program], stdout=subprocess.PIPE, text=True, **options
    )


def test_a_child_that_says_nothing_has_its_status() -> None:
    process = start("sys.exit(4)")
    assert process.communicate(timeout=WAIT) == ("", None)
    assert process.returncode == 4


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_signals_that_are_sent_to_it_go_to_pytest(number: int) -> None:
    process = start(f"""
signal.pthread_sigmask(signal.SIG_BLOCK, [{int(number)}])
say(os.getppid())
say("it came:", int(signal.sigwait([{int(number)}])))
sys.exit(4)
""")
    assert process.stdout is not None
    assert int(process.stdout.readline()) == process.pid
    process.send_signal(number)
    assert process.communicate(timeout=WAIT) == (f"it came: {number}\n", None)
    assert process.returncode == 4


def test_what_a_terminal_sends_goes_to_both_and_arrives_once() -> None:
    controller, terminal = os.openpty()
    # What leads a session gets this terminal as its own when it opens it.
    program = f"""
import os
os.open({os.ttyname(terminal)!r}, os.O_RDWR)
"""
    process = start(
        """
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT, signal.SIGUSR1])
say("ready")
signal.sigwait([signal.SIGINT])
# Another one would come before this, which is passed on.
os.kill(os.getppid(), signal.SIGUSR1)
signal.sigwait([signal.SIGUSR1])
say("once" if signal.SIGINT not in signal.sigpending() else "twice")
""",
        start_new_session=True,
        preexec_fn=lambda: exec(program),
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    os.write(controller, b"\x03")
    assert process.communicate(timeout=WAIT) == ("once\n", None)
    os.close(controller)
    os.close(terminal)


def test_a_run_is_stopped_and_goes_on_as_a_job() -> None:
    process = start("say('ready')\nsys.stdin.readline()\nsys.exit(4)", stdin=subprocess.PIPE, process_group=0)
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    os.killpg(process.pid, signal.SIGTSTP)
    _, status = os.waitpid(process.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)
    os.killpg(process.pid, signal.SIGCONT)
    process.stdin.write("go on\n")
    process.communicate(timeout=WAIT)
    assert process.returncode == 4


def test_children_that_nobody_waits_for_still_have_a_status() -> None:
    """Whoever starts pytest may ignore SIGCHLD, and the kernel then forgets how children end."""
    process = start("sys.exit(4)", preexec_fn=lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN))
    process.communicate(timeout=WAIT)
    assert process.returncode == 4
