"""The tests of several GPUs pass on machines of every kind: hives, dies, partitions, PCIe with any BAR."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from forked_pytest import run_pytest

from pytest_amdgpu.families.models import DATA

EIGHT = """
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.amdgpu(devices=8, relation={relation!r})
COUNT = 500


def test_a_ring_of_eight(amdgpu_devices, rng):
    buffers = [
        device.vram(4 * COUNT, peers=[other for other in amdgpu_devices if other is not device])
        for device in amdgpu_devices
    ]
    semaphore = amdgpu_devices[0].timeline_semaphore()
    for device in amdgpu_devices[1:]:
        semaphore.map_to(device)
    data = buffers[0].view(np.uint32)[:] = rng.integers(0, 1 << 32, COUNT, dtype=np.uint32)
    for place in range(7, 0, -1):
        queue = amdgpu_devices[place].sdma_queue(peer=amdgpu_devices[place - 1])
        queue.wait(semaphore, place - 1).copy(buffers[place], buffers[place - 1])
        queue.signal(semaphore, place).submit()
    semaphore.wait(7, timeout=20)
    assert np.array_equal(buffers[7].view(np.uint32), data)


def test_eight_count_together(amdgpu_devices):
    first = amdgpu_devices[0]
    counter = first.vram(4096, uncached=True, peers=amdgpu_devices[1:])
    counter.fill(0)
    objects = Path({root!r}) / "hw_tests/kernels/objects"
    work = []
    for device in amdgpu_devices:
        kernel = device.load(objects / device.family.name / "peers.co")["shared_tickets"]
        queue, tickets = device.compute_queue(), device.gtt(4 * COUNT)
        semaphore = device.timeline_semaphore()
        queue.dispatch(kernel, COUNT, [tickets, counter, COUNT]).signal(semaphore, 1).submit()
        work.append((tickets, semaphore))
    for _, semaphore in work:
        semaphore.wait(1, timeout=20)
    taken = np.sort(np.concatenate([tickets.view(np.uint32) for tickets, _ in work]))
    assert np.array_equal(taken, np.arange(8 * COUNT))
"""


def outcome(text: str) -> dict[str, int]:
    """Return the numbers of the last line of pytest."""
    return {word: int(number) for number, word in re.findall(r"(\d+) (passed|failed|skipped|error)", text)}


def run(path: str, tmp_path: Path, *options: str) -> dict[str, int]:
    output = tmp_path / "output.txt"
    code = run_pytest([path, "-q", *options], output)
    text = output.read_text()
    assert code == pytest.ExitCode.OK, text
    return outcome(text)


@pytest.mark.parametrize(
    ("software", "devices"),
    [
        ("mi300x:2", [0]),
        ("mi250x", [0]),
        ("mi300x-cpx", [0, 7, 4]),
        ("mi300x:8", [0, 5, 6]),
        ("mi210:6", [3, 4, 5]),
        ("rx7900xtx,rx9070xt", [0]),
        ("strixhalo,rx6900xt,mi350x", [0, 1, 2]),
    ],
)
def test_the_suite_passes(software: str, devices: list[int], tmp_path: Path) -> None:
    wanted = [f"--amdgpu-device={device}" for device in devices] if len(devices) > 1 else []
    result = run("hw_tests/multi_gpu", tmp_path, f"--amdgpu-software={software}", *wanted)
    assert result["passed"] >= 36
    assert result.get("skipped", 0) == (len(devices) < 3)


def test_peers_with_a_small_bar_are_left_out(tmp_path: Path) -> None:
    text = (DATA / "rx7900xtx.toml").read_text().replace('name = "rx7900xtx"', 'name = "small"', 1)
    model = tmp_path / "small.toml"
    model.write_text(text.replace("heap_type = [1,", "heap_type = [2,"))
    result = run(
        "hw_tests/multi_gpu", tmp_path, f"--amdgpu-model={model}", "--amdgpu-software=small,rx7900xtx"
    )
    assert set(result) == {"skipped"}


@pytest.mark.parametrize(
    ("software", "relation"),
    [
        ("mi300x:8", "hive"),
        ("mi300x-cpx", "hive"),
        ("mi250x:4", "hive"),
        ("gfx90a,gfx942,gfx950,gfx1030,gfx1100,gfx1151,gfx1200,gfx1201", "peers"),
    ],
)
def test_eight_gpus_work_together(software: str, relation: str, tmp_path: Path) -> None:
    root = str(Path(__file__).parents[2])
    test = tmp_path / "test_eight.py"
    test.write_text(EIGHT.format(relation=relation, root=root))
    assert run(str(test), tmp_path, f"--amdgpu-software={software}")["passed"] == 2
