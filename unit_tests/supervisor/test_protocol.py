"""Messages: what fits, what does not, and that they arrive as they were sent."""

from __future__ import annotations

import os
import threading
import time

import pytest

from pytest_amdgpu.supervisor import protocol
from pytest_amdgpu.supervisor.client import Connection, SupervisorGoneError
from pytest_amdgpu.supervisor.protocol import LIMIT, Said


def test_a_message_arrives_as_it_was_sent() -> None:
    listener, address = protocol.listen()
    with listener:
        connection = Connection(address)
        accepted, _ = listener.accept()
        connection.say(Said.PHASE, 1, 'test_it["\u00e9\U0001f600\udc80"]', "call", 1.5, ["a"])
        connection.say(Said.IDLE, 1)
        assert protocol.decode(accepted.recv(LIMIT)) == [
            "phase", 1, 'test_it["\u00e9\U0001f600\udc80"]', "call", 1.5, ["a"],
        ]  # fmt: skip
        assert protocol.decode(accepted.recv(LIMIT)) == ["idle", 1]
        connection.close()
        assert protocol.decode(accepted.recv(LIMIT)) == ["end", None]
        assert accepted.recv(LIMIT) == b""
        accepted.close()


def test_messages_of_many_threads_stay_whole() -> None:
    listener, address = protocol.listen()
    with listener:
        connection = Connection(address)
        accepted, _ = listener.accept()
        lines = [f"{number} " * 1000 for number in range(4)]

        def send(line: str) -> None:
            for _ in range(50):
                connection.say(Said.LOG, line)

        threads = [threading.Thread(target=send, args=(line,)) for line in lines]
        for thread in threads:
            thread.start()
        received = [protocol.decode(accepted.recv(LIMIT))[1] for _ in range(200)]
        for thread in threads:
            thread.join()
        assert {line: received.count(line) for line in lines} == dict.fromkeys(lines, 50)
        accepted.close()
        connection.socket.close()


def test_a_supervisor_that_is_not_there() -> None:
    with pytest.raises(SupervisorGoneError, match="there is no supervisor at nowhere"):
        Connection("nowhere")


def test_a_supervisor_that_dies() -> None:
    listener, address = protocol.listen()
    with listener:
        connection = Connection(address)
        accepted, _ = listener.accept()
        accepted.send(protocol.encode("quarantine", "a", "b"))
        accepted.close()
    told = connection.told()
    assert next(told) == ["quarantine", "a", "b"]
    with pytest.raises(SupervisorGoneError, match="the supervisor died"):
        next(told)
    with pytest.raises(SupervisorGoneError, match=r"cannot be reached: .*Broken pipe"):
        connection.say(Said.IDLE, 1)
    connection.close()


def test_a_supervisor_that_reads_nothing_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "SEND_TIMEOUT", 0.05)
    listener, address = protocol.listen()
    with listener:
        connection = Connection(address)
        begun = time.monotonic()

        def say_much() -> None:
            for _ in range(10000):
                connection.say(Said.LOG, "x" * 1000)

        with pytest.raises(SupervisorGoneError, match="cannot be reached"):
            say_much()
        assert time.monotonic() - begun < 60
        connection.socket.close()


def test_nobody_says_anything_is_no_message() -> None:
    listener, address = protocol.listen()
    with listener:
        connection = Connection(address)
        assert list(connection.told()) == []
        connection.socket.close()


def test_a_message_that_is_too_long_is_refused_by_its_name() -> None:
    with pytest.raises(ValueError, match=rf"'log' of \d+ bytes; a packet takes {LIMIT}"):
        protocol.encode(Said.LOG, "x" * LIMIT)


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"[1]", b"\xff", b'["a"'])
def test_what_is_no_message(data: bytes) -> None:
    with pytest.raises(ValueError):
        protocol.decode(data)


@pytest.mark.parametrize("letter", ["x", "\u00e9", "\U0001f600", '"'])
def test_portions_fit_into_messages_and_lose_nothing(letter: str) -> None:
    texts = [f"{number}{letter * 50}" for number in range(5000)] + [letter * 100000]
    found = []
    for portion in protocol.portions(texts):
        protocol.encode(Said.EXPECT, ["a device"], portion)
        found += portion
    assert found[:-1] == texts[:-1]
    assert found[-1] == protocol.shortened(texts[-1])
    assert found[-1].startswith(letter * 2000 + "... (100000 characters)")


def test_no_portions_of_nothing() -> None:
    assert list(protocol.portions([])) == []


def test_an_address_is_no_file() -> None:
    before = set(os.listdir("."))
    listener, address = protocol.listen()
    listener.close()
    assert set(os.listdir(".")) == before
    with pytest.raises(SupervisorGoneError):
        Connection(address)


def test_a_connection_ends_when_it_is_closed_also_where_something_keeps_it_open() -> None:
    """As does select(2) in another thread, until its time is over."""
    listener, address = protocol.listen()
    with listener:
        connection = Connection(address)
        other, _ = listener.accept()
    kept = connection.socket.dup()
    connection.close()
    other.setblocking(False)
    with other, kept:
        assert [protocol.decode(other.recv(LIMIT)), other.recv(LIMIT)] == [[Said.END, None], b""]
