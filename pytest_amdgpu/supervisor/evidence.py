"""What is seen of a process that is late, gathered by a child process: a look at it can hang as it does.

`/proc/PID/mem` and parts of /proc take locks of the process's memory or of a buffer of the driver, which a
thread in uninterruptible sleep may hold.
"""

from __future__ import annotations

import itertools
import os
import re
import signal
import time
from collections.abc import Callable, Iterable, Iterator

from pytest_amdgpu.supervisor import kernel_messages, process_state, queue_state
from pytest_amdgpu.supervisor.protocol import QueuePlace
from pytest_amdgpu.supervisor.watch import Watched

_STACKS = 12000
"""Characters of Python's stack that are shown, the last ones."""

_GLANCES, _GLANCE = 10, 0.02
"""How often, and after how many seconds each, it is seen whether the stacks are written."""

_FRAME_OF_PYTEST = re.compile(
    r'  File "(?:.*/(?:_pytest|pluggy|xdist|execnet)/|.*/pytest/__main__\.py"|<frozen runpy>"|<string>")'
)
"""A line of faulthandler about a frame of what runs the test. The server of a gateway has no file."""


def sections(process: Watched, stacks: str) -> Iterator[str]:
    """Yield the text of what is seen; what is most wanted and most certain comes first.

    `stacks` is the file that faulthandler writes to, or empty if it was not asked.
    """
    if stacks:
        yield from _section("stack of Python:", _without_frames_of_pytest(_written(stacks)))
    yield from _section(f"what {process.name} waits for:", process_state.describe(process.pid))
    yield from _section("SMI events:", _events(process))
    if process.log:
        yield from _section("kernel log of the software GPUs:", iter(process.log))
    yield from _section("kernel log:", kernel_messages.recent(process.begun))
    # Last, for reading the queues is what hangs if anything does.
    places = [QueuePlace(*place) for place in process.queues.values()]  # type: ignore[arg-type]
    yield from _section("queues:", queue_state.describe(process.pid, places))


def _events(process: Watched) -> Iterator[str]:
    for device, why in process.unheard.items():
        yield f"{device}: none can be heard: {why}"
    now = time.monotonic()
    for at, line in process.events:
        yield f"{now - at:.1f} s ago: {line}"


def _section(title: str, lines: Iterator[str]) -> Iterator[str]:
    for number, line in enumerate(lines):
        if not number:
            yield title
        yield f"  {line}"


def _written(path: str) -> Iterator[str]:
    """Yield the lines of a file that is being written now, if it is."""
    try:
        size = -1
        for _ in range(_GLANCES):
            time.sleep(_GLANCE)
            new = os.stat(path).st_size
            if new and new == size:
                break
            size = new
        with open(path, encoding="utf-8", errors="replace") as file:
            text = file.read()
    except OSError as error:
        yield f"cannot be read: {error.strerror}"
        return
    yield from text[-_STACKS:].splitlines() if text else ("the process took no signal",)


def _without_frames_of_pytest(lines: Iterable[str]) -> Iterator[str]:
    """Yield the lines, and how many there are where each is a frame of what runs tests."""
    for is_pytests, group in itertools.groupby(lines, lambda line: bool(_FRAME_OF_PYTEST.match(line))):
        found = list(group)
        if is_pytests and len(found) > 1:
            yield f"  ({len(found)} frames of pytest)"
        else:
            yield from found


class Look:
    """A child that gathers evidence. `fd` can be read from; the end of the file is the end of it."""

    def __init__(self, gather: Callable[[], Iterator[str]]) -> None:
        """Begin; raises OSError if no process can be made."""
        self.fd, end = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._data = bytearray()
        self._child = os.fork()
        if not self._child:
            _run_and_exit(gather, end)
        os.close(end)

    def read(self) -> bool:
        """Take what there is; False at the end."""
        while True:
            try:
                data = os.read(self.fd, 1 << 16)
            except BlockingIOError:
                return True
            if not data:
                return False
            self._data += data

    @property
    def text(self) -> str:
        """What was gathered so far."""
        return self._data.decode(errors="replace")

    def close(self) -> None:
        """End the child, which need not die where it waits for what the process waits for."""
        os.close(self.fd)
        os.kill(self._child, signal.SIGKILL)

    def reap(self) -> bool:
        """Whether the child is gone; never waits."""
        return os.waitpid(self._child, os.WNOHANG)[0] == self._child


def _run_and_exit(gather: Callable[[], Iterator[str]], end: int) -> None:
    # Nothing else stays open: a child that hangs must not keep those waiting who read what pytest prints.
    os.dup2(end, 0)
    os.closerange(1, 1 << 20)
    try:
        os.set_blocking(0, True)
        for line in gather():
            os.write(0, f"{line}\n".encode(errors="replace"))
    except BaseException as error:
        os.write(0, f"no more could be seen: {type(error).__name__}: {error}\n".encode())
    finally:
        os._exit(0)
