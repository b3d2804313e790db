"""Errors that GPUs count: read seldom, and told with the time since when they are counted."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from pytest_amdgpu.devices.error_watch import PAUSE, ErrorWatch

GPU: Any = SimpleNamespace(name="gpu-0")
OTHER: Any = SimpleNamespace(name="gpu-1")


class Scene:
    """A watch whose counters and time are made up; a reading takes `seconds`."""

    def __init__(self) -> None:
        self.now = 100.0
        self.seconds = 0.0
        self.errors = 0
        self.readings = 0
        self.watch = ErrorWatch(self.read, lambda: self.now)

    def read(self, device: object) -> dict[str, int]:
        self.readings += 1
        self.now += self.seconds
        return {"umc correctable": self.errors, "same": 1}


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_the_first_test_on_a_device_has_its_own_errors(scene: Scene) -> None:
    scene.watch.begin(GPU, "a")
    scene.errors = 3
    assert scene.watch.changes(GPU, "a") == [
        "umc correctable: 0 -> 3",
        "    counted since the set-up of this test",
    ]
    # In tear-down.
    scene.errors = 4
    assert scene.watch.changes(GPU, "a") == [
        "umc correctable: 3 -> 4",
        "    counted since a failure of this test",
    ]
    assert scene.watch.changes(GPU, "a") == []


def test_short_tests_share_a_reading_and_that_is_told(scene: Scene) -> None:
    for name in "abc":
        scene.watch.begin(GPU, name)
        scene.now += 0.1
    scene.errors = 1
    assert scene.readings == 1
    assert scene.watch.changes(GPU, "c") == [
        "umc correctable: 0 -> 1",
        "    counted since the set-up of a, 2 tests before: what came in between may have caused it",
    ]


def test_after_a_failure_the_next_test_has_its_own_errors(scene: Scene) -> None:
    scene.watch.begin(GPU, "a")
    scene.watch.changes(GPU, "a")
    scene.errors = 5
    scene.watch.begin(GPU, "b")
    assert scene.watch.changes(GPU, "b") == []
    scene.errors = 6
    scene.watch.begin(GPU, "c")
    scene.errors = 7
    assert scene.watch.changes(GPU, "c")[0] == "umc correctable: 6 -> 7"


@pytest.mark.parametrize(("seconds", "pause"), [(0.0, PAUSE), (0.05, 5.0)])
def test_readings_take_little_of_the_time(scene: Scene, seconds: float, pause: float) -> None:
    scene.seconds = seconds
    scene.watch.begin(GPU, "a")
    scene.now += pause - 0.01
    scene.watch.begin(GPU, "b")
    assert scene.readings == 1
    scene.now += 0.02
    scene.watch.begin(GPU, "c")
    assert scene.readings == 2
    scene.errors = 1
    assert scene.watch.changes(GPU, "c")[1] == "    counted since the set-up of this test"


def test_devices_have_counters_each(scene: Scene) -> None:
    scene.watch.begin(GPU, "a")
    scene.errors = 1
    scene.watch.begin(OTHER, "b")
    assert scene.watch.changes(OTHER, "b") == []
    scene.watch.begin(GPU, "b")
    assert scene.watch.changes(GPU, "b") == [
        "umc correctable: 0 -> 1",
        "    counted since the set-up of a, the test before: what came in between may have caused it",
    ]
