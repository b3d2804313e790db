"""How long work may take that threads of this process do on a busy machine."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from pytest_amdgpu.devices import patience
from pytest_amdgpu.devices.patience import Patience


@pytest.mark.parametrize(
    ("on_cpu", "seconds", "delays", "left"),
    [
        (False, 4.0, {"1": 9.0}, 1.0),
        (False, 6.0, {"1": 9.0}, -1.0),
        # As long as there is time nobody looks.
        (True, 4.0, {"1": 9.0}, 1.0),
        (True, 6.0, {}, -1.0),
        (True, 6.0, {"1": 3.0, "2": 2.5}, 3.0),
        # A thread of which more is known than at the beginning, and one that has ended.
        (True, 20.0, {"1": 3.0, "3": 4.0}, -9.0),
        # Ten times the time is the end in any case.
        (True, 40.0, {"1": 40.0, "2": 40.0}, 1.0),
        (True, 60.0, {"1": 60.0, "2": 60.0}, -1.0),
    ],
)
def test_time_without_a_core_does_not_count(
    on_cpu: bool, seconds: float, delays: dict[str, float], left: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, found = [100.0], [{"1": 1.0, "2": 0.5}]
    monkeypatch.setattr(patience.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(patience, "_delays", lambda: found[0])
    patient = Patience(5.0, on_cpu=on_cpu)
    now[0] += seconds
    found[0] = delays
    assert patient.left == pytest.approx(left)


def test_what_the_kernel_counts_is_what_others_have_of_the_core() -> None:
    before, affinity = patience._delays(), os.sched_getaffinity(0)
    core = {min(affinity)}
    burn = "import os, sys; os.sched_setaffinity(0, {int(sys.argv[1])})\nwhile True: pass"
    with subprocess.Popen([sys.executable, "-c", burn, str(*core)]) as other:
        os.sched_setaffinity(0, core)
        try:
            end = time.monotonic() + 60
            while sum(patience._delays().values()) < sum(before.values()) + 0.05:
                assert time.monotonic() < end
        finally:
            os.sched_setaffinity(0, affinity)
            other.kill()
