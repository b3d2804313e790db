"""A second of every fuzz target, always the same cases; `fuzz.py` does as many as wanted."""

from __future__ import annotations

import errno
import functools
import os
import random
import threading
import warnings

import pytest
from fuzz import TARGETS
from fuzz_mutation import mutated_bytes, mutated_text
from fuzz_rings import Bench
from fuzz_runner import Done, Hang, outcome, run

from pytest_amdgpu.abi.kfd import QueueType
from pytest_amdgpu.commands import capture
from pytest_amdgpu.commands.capture import CaptureError
from pytest_amdgpu.emulator.doorbells import Doorbells
from pytest_amdgpu.emulator.engine.hardware_queues import Seat
from pytest_amdgpu.emulator.engine.queue import QueueThread
from pytest_amdgpu.emulator.engine.sdma import SdmaInterpreter
from pytest_amdgpu.emulator.events import EventTable
from pytest_amdgpu.emulator.files import FileTable
from pytest_amdgpu.emulator.gpu import SoftwareGpu
from pytest_amdgpu.emulator.kfd.queue import Queue
from pytest_amdgpu.emulator.memory import PAGE_SIZE, AddressSpace, Location
from pytest_amdgpu.emulator.placement import Placement
from pytest_amdgpu.emulator.process import Process, ProcessDevice
from pytest_amdgpu.emulator.refusal import Refusal

INPUTS = {
    "ioctls": 1000,
    "rings": 400,
    "code": 80,
    "sysfs": 120,
    "models": 150,
    "code-objects": 120,
    "dumps": 500,
}


def short_run(name, begin=lambda: None):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        target = TARGETS[name]()
        begin()
        try:
            return run(target, seed=1, inputs=INPUTS[name], worst=1)
        finally:
            target.close()


@pytest.mark.parametrize("name", TARGETS)
def test_no_input_does_harm(name):
    report = short_run(name)
    assert not report.failures, str(report)
    assert len(report.outcomes) > 1, str(report)
    assert INPUTS[name] <= report.taken <= report.offered, str(report)


def nothing(*args, **options):
    pass


def broken(*args, **options):
    raise KeyError("simd_count")


def nameless(*args, **options):
    raise Refusal(errno.EINVAL, "")


def empty_reason(*args, **options):
    raise CaptureError("")


def forgets_what_vram_it_took(remove):
    def removed(self, bo):
        remove(self, bo)
        self.gpu.vram_used += (bo.location is Location.VRAM) * PAGE_SIZE

    return removed


def keeps_what_it_made(make):
    made = []

    def init(self, *args, **options):
        made.append(self)
        make(self, *args, **options)

    return init


def loses_its_descriptor(close):
    def closed(self, fd):
        self._files[fd].release()
        del self._files[fd]

    return closed


def says_nothing_of_refused_packets(init):
    def made(self, queue):
        init(self, queue)
        self.refused = dict.fromkeys(self.refused, "")

    return made


PLANTED = [
    ("ioctls", ProcessDevice, "teardown", lambda old: nothing, "buffer objects of process 0 on <SoftwareGpu"),
    ("ioctls", ProcessDevice, "remove_object", forgets_what_vram_it_took, "bytes of VRAM on <SoftwareGpu"),
    ("ioctls", AddressSpace, "unmap", lambda old: nothing, "page table entries of process 0"),
    ("ioctls", EventTable, "destroy_all", lambda old: nothing, "events of process 0: {"),
    ("ioctls", Doorbells, "give", lambda old: nothing, "doorbell slots: [{"),
    ("ioctls", SoftwareGpu, "give_sdma_queue", lambda old: nothing, "SDMA queues on <SoftwareGpu"),
    ("ioctls", Queue, "release", lambda old: nothing, "references is"),
    ("ioctls", FileTable, "close", loses_its_descriptor, "left behind: {'threads': 1, 'descriptors':"),
    ("ioctls", Process, "__init__", keeps_what_it_made, "the machine is still referred to by"),
    ("ioctls", Process, "device", lambda old: nameless, "a refusal with errno 22 must say why"),
    ("ioctls", Process, "object", lambda old: broken, "KeyError: 'simd_count'"),
    (
        "rings",
        Placement,
        "give_back",
        lambda old: nothing,
        "queue had ended: {'slots of waves'",
    ),
    ("rings", Seat, "leave", lambda old: nothing, "queue had ended: {'slots of queues'"),
    ("rings", SdmaInterpreter, "__init__", says_nothing_of_refused_packets, "does not say what is wrong"),
    (
        "rings",
        SdmaInterpreter,
        "_bytes_of",
        lambda old: broken,
        "emulator failed: KeyError('simd_count')",
    ),
    ("rings", QueueThread, "__init__", keeps_what_it_made, "the queue is still referred to by"),
    ("sysfs", capture, "choose", lambda old: empty_reason, "CaptureError('') does not say what is wrong"),
    ("sysfs", capture, "_caches", lambda old: broken, "KeyError: 'simd_count'"),
]


@pytest.mark.parametrize(
    ("target", "owner", "name", "defect", "text"),
    PLANTED,
    ids=[f"{target}-{owner.__name__}.{name}" for target, owner, name, *_ in PLANTED],
)
def test_a_planted_defect_is_found(monkeypatch, target, owner, name, defect, text):
    def plant():
        monkeypatch.setattr(owner, name, defect(getattr(owner, name)))

    # In a process of its own, because it does leave things behind.
    told, tell = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.write(tell, str(short_run(target, plant)).encode()[-60_000:])
        finally:
            os._exit(0)
    os.close(tell)
    with os.fdopen(told, "rb") as answer:
        report = answer.read().decode()
    os.waitpid(child, 0)
    assert ", 1 failures" in report
    assert text in report


class Misbehaving:
    """Does what a target must not do in its third case."""

    name, unit = "misbehaving", "inputs"

    def __init__(self, deed):
        self._cases = 0
        self._deed = deed

    @property
    def limit(self):
        return 0.2 if self._cases == 2 and self._deed is hanging else 60.0

    def case(self, rng):
        self._cases += 1
        return Done([self._deed() or "done" if self._cases == 3 else "fine"])

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


def hanging():
    threading.Event().wait()


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
        (hanging, "Hang: not done after 0.2 s"),
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


class Growing:
    """Keeps something of every case."""

    name, limit, unit = "growing", 60.0, "inputs"

    def __init__(self, thing):
        self._kept = []
        self._thing = thing

    def case(self, rng):
        self._kept.append(self._thing())
        return Done(["done"])


@pytest.mark.parametrize(
    "thing",
    [lambda: b"x" * (2 << 20), lambda: [[number] for number in range(10_000)]],
    ids=["bytes", "blocks"],
)
def test_memory_that_grows_with_the_cases_is_a_failure(thing):
    report = run(Growing(thing), seed=1, cases=40)
    (failure,) = report.failures
    assert failure.text.startswith("memory grew by ")
    assert failure.repeat == "python unit_tests/fuzz/fuzz.py growing --seed 1 --first 0 --cases 40"


def test_memory_that_is_given_back_or_only_cached_once_is_none():
    cached = functools.cache(lambda: [[number] for number in range(200_000)])
    growing = Growing(lambda: len(cached()))
    assert not run(growing, seed=1, cases=40).failures


class Sluggish:
    """Takes up one input of three."""

    name, limit, unit = "sluggish", 60.0, "packets"

    def case(self, rng):
        return Done(["done"], 3, 1)


def test_inputs_that_nobody_took_up_do_not_count():
    report = run(Sluggish(), seed=1, inputs=10)
    assert (report.taken, report.offered, report.cases) == (10, 30, 10)
    assert str(report).startswith("sluggish: 10 packets of 30 inputs offered in 10 cases, ")


def test_packets_behind_one_that_is_refused_do_not_count():
    benches = (Bench(random.Random(seed)) for seed in range(50))
    bench = next(bench for bench in benches if bench.kind is QueueType.SDMA)
    bench.start_queue()
    try:
        for word in (0, 0, 0xFF, 0):
            bench.submit([word])
        while not bench.settled():
            threading.Event().wait(0.001)
    finally:
        bench.queue.stop()
    assert bench.taken == 3


def test_a_hang_cannot_be_caught_by_what_hangs():
    assert not issubclass(Hang, Exception)


def test_the_same_seed_makes_the_same_changes():
    text = "a 1\nb 2\nc 3\n"
    for number in range(50):
        made = [mutated_text(random.Random(number), text) for _ in range(2)]
        assert made[0] == made[1]
        damaged = [mutated_bytes(random.Random(number), text.encode()) for _ in range(2)]
        assert damaged[0] == damaged[1]
