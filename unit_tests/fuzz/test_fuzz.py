"""A second of every fuzz target, always the same cases; `fuzz.py` does as many as wanted."""

from __future__ import annotations

import random
import threading
import warnings

import pytest
from fuzz import TARGETS
from fuzz_mutation import mutated_bytes, mutated_text
from fuzz_runner import Hang, outcome, run

CASES = {
    "ioctls": 10,
    "rings": 200,
    "code": 80,
    "sysfs": 60,
    "models": 150,
    "code-objects": 120,
    "dumps": 500,
}


@pytest.mark.parametrize("name", TARGETS)
def test_no_input_does_harm(name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        target = TARGETS[name]()
        try:
            report = run(target, seed=1, cases=CASES[name])
        finally:
            target.close()
    assert not report.failures, str(report)
    assert len(report.outcomes) > 1, str(report)


class Misbehaving:
    """Does what a target must not do in its third case."""

    name, limit, per_case = "misbehaving", 0.2, 1

    def __init__(self, deed):
        self._cases = 0
        self._deed = deed

    def case(self, rng):
        self._cases += 1
        return self._deed() or "done" if self._cases == 3 else "fine"

    def close(self):
        pass


def raising():
    raise KeyError("simd_count")


def silent_behind_a_title():
    def refuse():
        error = ValueError("EINVAL")
        error.add_note("software kernel: ")
        raise error

    return outcome(refuse, ValueError)


def silent():
    def refuse():
        raise ValueError

    return outcome(refuse, ValueError)


def dying():
    thread = threading.Thread(target=raising)
    thread.start()
    thread.join()


@pytest.mark.parametrize(
    ("deed", "text"),
    [
        (raising, "KeyError: 'simd_count'"),
        (silent, "ValueError() does not say what is wrong"),
        (silent_behind_a_title, "ValueError('EINVAL') does not say what is wrong"),
        (lambda: threading.Event().wait(), "Hang: not done after 0.2 s"),
        (dying, "a thread died\nTraceback"),
    ],
    ids=["raises", "says nothing", "says nothing behind a title", "hangs", "loses a thread"],
)
def test_a_failure_is_told_with_how_to_repeat_it(deed, text):
    report = run(Misbehaving(deed), seed=7, cases=5, first=10)
    (failure,) = report.failures
    assert text in failure.text
    assert failure.repeat == "python unit_tests/fuzz/fuzz.py misbehaving --seed 7 --first 12 --cases 1"
    assert report.cases == 5


def test_what_is_left_behind_is_a_failure():
    release = threading.Event()
    threads = []

    def leave():
        threads.append(threading.Thread(target=release.wait))
        threads[0].start()

    try:
        report = run(Misbehaving(leave), seed=1, cases=4)
    finally:
        release.set()
        threads[0].join()
    (failure,) = report.failures
    assert "left behind: {'threads': 1," in failure.text


def test_a_hang_cannot_be_caught_by_what_hangs():
    assert not issubclass(Hang, Exception)


def test_the_same_seed_makes_the_same_changes():
    text = "a 1\nb 2\nc 3\n"
    for number in range(50):
        made = [mutated_text(random.Random(number), text) for _ in range(2)]
        assert made[0] == made[1]
        damaged = [mutated_bytes(random.Random(number), text.encode()) for _ in range(2)]
        assert damaged[0] == damaged[1]
