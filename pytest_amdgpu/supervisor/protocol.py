"""What pytest's processes and the supervisor say to each other: a list of JSON in each packet of a socket.

The first element says what it is; `Said` has what a process of pytest says, `Told` what it is told. A packet
arrives whole or not at all, whichever threads send, and its sender need not wait for anybody to read it.
"""

from __future__ import annotations

import enum
import json
import mmap
import os
import socket
import struct
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

LIMIT = 1 << 16
"""Bytes of the longest packet; half of what a socket's buffer takes by default (net.core.wmem_default)."""
TEXT_LIMIT = 2000
"""Characters of the longest text that is passed on, at 6 bytes each at most: four such fit into a packet."""
_HEAD = 8192
"""Bytes of a packet for what stands before a portion of a list."""
MAIN = "pytest"
"""The name of a process that runs tests where the controller does it itself."""
THE_RUN = "the run"
"""Stands for a test in what is said of phases that belong to none: collection, and the end."""
SEND_TIMEOUT = 5.0
"""Seconds after which a sender gives up on a supervisor that reads nothing."""


_encoder = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class Said(enum.StrEnum):
    """What a process of pytest says; the rest of the message stands behind."""

    CONTROLLER = "controller"
    """pid, path of the verdict's file or None, facts for it: sees all results."""
    WORKER = "worker"
    """Name, pid, path of the file that stacks go to: is watched. With the message comes a descriptor of its
    `Pulse`."""
    PHASE = "phase"
    """pid, test, phase, its `Limit` or None, ids of devices."""
    IDLE = "idle"
    """pid, `Limit` or None: in no phase. The time counts from the last beat of the pulse."""
    CAUGHT = "caught"
    """The interrupt arrived in Python: the test is about to fail."""
    LATE = "late"
    """The interrupt arrived when the phase was over: pytest is busy with what comes after it. `Limit` or None
    of that."""
    QUEUE = "queue"
    """The members of a `QueuePlace`."""
    QUEUE_GONE = "queue gone"
    """Name and device of a queue."""
    LOG = "log"
    """A line of the log of a software GPU's kernel."""
    SMI = "smi"
    """Id of a device, why its system management events cannot be heard, or empty: with the message comes a
    descriptor of them."""
    EXPECT = "expect"
    """Ids of devices, ids of tests of which results are expected."""
    TROUBLE = "trouble"
    """What stands against the run as a whole."""
    RECORD = "record"
    """What became of a test."""
    END = "end"
    """The process has come to its end in order. Exit status of the verdict, None if there is none."""
    STOP = "stop"
    """How often somebody wanted to end the run, as with Ctrl-C: who does not end by itself is to be ended."""
    STOPPING = "stopping"
    """pid, `Limit` or None: it does end by itself."""
    GUARD = "guard"
    """pid, pid of the controller's process, and how many seconds that has until it says something itself, and
    from the end of the run to its own, or None: waits for that process, and exits as it is told."""
    ENDED = "ended"
    """Exit code of the controller's process, negative for a signal: what the guard has seen of it."""


class Told(enum.StrEnum):
    """What a process of pytest is told."""

    EVIDENCE = "evidence"
    """Test, text: what was seen of the process at its deadline."""
    QUARANTINE = "quarantine"
    """Id of a device, reason."""
    KILLING = "killing"
    """Name of a worker, test, phase, devices, text, evidence: what is about to be killed, and why. It is said
    twice: when interrupting has not helped, and with all the evidence."""
    STOPPED = "stopped"
    """No worker is left that has not ended by itself, nor said that it does."""
    LOST = "lost"
    """Name of a worker: it was killed, and did not die."""
    STATUS = "status"
    """Exit status of the verdict, None if there is none: to the guard, when nothing is left to be done."""


class Limit(NamedTuple):
    """The time of a phase."""

    end: float
    """In seconds of CLOCK_MONOTONIC."""
    seconds: float
    """How long it is, for messages."""


class Pulse:
    """Memory that a process shares with the supervisor: to write it costs next to nothing."""

    SIZE = 16

    def __init__(self, fd: int) -> None:
        """`fd` is a file of SIZE bytes, and stays the caller's."""
        self._map = mmap.mmap(fd, self.SIZE)
        self._values = memoryview(self._map).cast("d")

    @property
    def beat(self) -> float:
        """When the process last went on, in seconds of CLOCK_MONOTONIC."""
        return self._values[0]

    @beat.setter
    def beat(self, seconds: float) -> None:
        self._values[0] = seconds

    @property
    def rests(self) -> bool:
        """Whether it waits for something that takes its time, so that it is not late."""
        return bool(self._values[1])

    @rests.setter
    def rests(self, rests: bool) -> None:
        self._values[1] = rests


class QueuePlace(NamedTuple):
    """Where a queue of a process is. Addresses are the process's; the pointers are 64-bit words."""

    name: str
    device: str
    kind: str
    """`sdma`, `pm4` or `aql`."""
    target: str
    ring: int
    size: int
    """Bytes of the ring."""
    read_pointer: int
    write_pointer: int
    unit: int
    """Bytes that a pointer counts by one."""


def listen() -> tuple[socket.socket, str]:
    """Return a socket that takes connections, and the address to connect to."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    # In the abstract namespace of Linux, where nothing stays behind whoever dies (unix(7)).
    address = f"pytest-amdgpu-{os.getpid()}-{os.urandom(8).hex()}"
    listener.bind("\0" + address)
    listener.listen(256)
    return listener, address


def connect(address: str) -> socket.socket:
    """Connect to a supervisor; raises OSError."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        # A timeout of Python's would cost a poll(2) with each message.
        seconds, microseconds = divmod(int(SEND_TIMEOUT * 1e6), 1_000_000)
        timeval = struct.pack("ll", seconds, microseconds)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, timeval)
        connection.connect("\0" + address)
    except OSError:
        connection.close()
        raise
    return connection


def encode(*message: Any) -> bytes:
    """Return a message as bytes; ValueError if it is too long for a packet."""
    data = _encoder(message).encode(errors="surrogatepass")
    if len(data) > LIMIT:
        raise ValueError(f"a message '{message[0]}' of {len(data)} bytes; a packet takes {LIMIT}")
    return data


def decode(data: bytes) -> list[Any]:
    """Undo `encode`; ValueError for what is no message."""
    message = json.loads(data.decode(errors="surrogatepass"))
    if not isinstance(message, list) or not message or not isinstance(message[0], str):
        raise ValueError(f"no message: {data[:80]!r}")
    return message


def shortened(text: str, limit: int = TEXT_LIMIT) -> str:
    """Return a text, or its beginning and a note where it is too long."""
    return text if len(text) <= limit else f"{text[:limit]}... ({len(text)} characters)"


def portions(texts: Iterable[str]) -> Iterator[list[str]]:
    """Cut a list of texts into such as fit into a message, each shortened where it must be."""
    portion: list[str] = []
    size = 0
    for text in texts:
        text = shortened(text)
        length = len(_encoder(text).encode(errors="surrogatepass")) + 1
        if portion and size + length > LIMIT - _HEAD:
            yield portion
            portion, size = [], 0
        portion.append(text)
        size += length
    if portion:
        yield portion
