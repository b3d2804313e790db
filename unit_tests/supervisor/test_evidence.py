"""Gathering evidence never hangs, and keeps nothing open."""

from __future__ import annotations

import contextlib
import fnmatch
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

from pytest_amdgpu.supervisor.evidence import Look, _without_frames_of_pytest, sections
from pytest_amdgpu.supervisor.watch import Watched


def read_to_the_end(look: Look) -> str:
    end = time.monotonic() + 30
    while look.read():
        assert select.select([look.fd], [], [], max(0, end - time.monotonic()))[0], look.text
    return look.text


def reap(look: Look) -> None:
    end = time.monotonic() + 30
    while not look.reap():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_what_is_gathered_arrives() -> None:
    look = Look(lambda: iter(["one", "two \u00e9\udc80"]))
    assert read_to_the_end(look) == "one\ntwo \u00e9?\n"
    look.close()
    reap(look)


def test_what_was_gathered_before_it_hung_is_there_and_the_end_is_not_waited_for() -> None:
    def gather() -> Iterator[str]:
        yield "one"
        time.sleep(1000)
        yield "never"

    look = Look(gather)
    while not look.text:
        select.select([look.fd], [], [], 30)
        look.read()
    assert look.text == "one\n"
    begun = time.monotonic()
    look.close()
    assert time.monotonic() - begun < 60
    reap(look)


def test_an_error_is_told() -> None:
    def gather() -> Iterator[str]:
        yield "one"
        raise ValueError("broken")

    look = Look(gather)
    assert read_to_the_end(look) == "one\nno more could be seen: ValueError: broken\n"
    look.close()
    reap(look)


def test_nothing_of_who_looks_stays_open_in_the_child() -> None:
    """A child that hangs must not keep those waiting who read what pytest prints."""
    reader, writer = os.pipe()

    def gather() -> Iterator[str]:
        yield " ".join(
            os.readlink(f"/proc/self/fd/{fd}").split(":")[0] for fd in os.listdir("/proc/self/fd")[:-1]
        )
        time.sleep(1000)

    look = Look(gather)
    os.close(writer)
    assert select.select([reader], [], [], 30)[0]
    assert os.read(reader, 1) == b""
    os.close(reader)
    while not look.text:
        select.select([look.fd], [], [], 30)
        look.read()
    assert look.text == "pipe\n"
    look.close()
    reap(look)


def test_sections_of_a_process() -> None:
    process = Watched("gw7", os.getpid(), begun=time.monotonic(), log=["driver bug: x"])
    text = "\n".join(sections(process, ""))
    assert f"what gw7 waits for:\n  process {os.getpid()} is " in text
    assert "kernel log of the software GPUs:\n  driver bug: x" in text
    assert "stack of Python" not in text
    assert "queues" not in text


def test_stacks_that_nobody_wrote(tmp_path: object) -> None:
    fd = os.memfd_create("stacks")
    with contextlib.closing(os.fdopen(fd, "w")) as file:
        process = Watched("gw7", os.getpid())
        path = f"/proc/{os.getpid()}/fd/{fd}"
        assert "stack of Python:\n  the process took no signal" in "\n".join(sections(process, path))
        file.write("Current thread 0x1:\n  File x\n")
        file.flush()
        assert "stack of Python:\n  Current thread 0x1:\n    File x" in "\n".join(sections(process, path))
    assert "stack of Python:\n  cannot be read: " in "\n".join(sections(process, path))


def test_frames_of_pytest_are_counted_not_shown() -> None:
    """Of a real stack, that of a test in a worker, only what belongs to the test is left."""
    program = (
        "import faulthandler, pytest, sys\n"
        "open('test_it.py', 'w').write('import faulthandler\\ndef inner(): faulthandler.dump_traceback()"
        "\\ndef test_it(): inner()')\n"
        "pytest.main(['-s', '-q', '-p', 'no:cacheprovider', 'test_it.py'])\n"
    )
    with tempfile.TemporaryDirectory() as directory:
        run = subprocess.run(
            [sys.executable, "-c", program], cwd=directory, capture_output=True, text=True, check=True
        )
    stack = run.stderr[run.stderr.index("Current thread") :].splitlines()
    shown = list(_without_frames_of_pytest(stack))
    patterns = [
        "Current thread *",
        '  File "*test_it.py", line 2 in inner',
        '  File "*test_it.py", line 3 in test_it',
        "  ([1-9]* frames of pytest)",
    ]
    assert len(shown) == len(patterns), shown
    assert all(map(fnmatch.fnmatch, shown, patterns)), shown
    assert len(stack) > 20
