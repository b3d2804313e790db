"""What a failure's report says of queues, and that its one command repeats the failure and nothing else."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_amdgpu.results.rows import failing, repeat_command
from pytest_amdgpu.results.verdict_reader import read_verdict

Run = Callable[..., pytest.RunResult]

TESTS = """
    import pytest

    @pytest.mark.slow
    @pytest.mark.parametrize("text", ["it's a \\"test\\" $HOME", "b"])
    def test_it(amdgpu_device, rng, text, from_plugin):
        print("drew", rng.integers(1 << 60))
        assert "$" not in text or amdgpu_device.name != "sw-gfx1100-0"
    def test_other(amdgpu_device): assert False
"""
INI = """
    [pytest]
    addopts = -m "not slow"
    markers = slow: takes long
"""


@pytest.fixture
def run(run_alone: Run) -> Run:
    return run_alone


@pytest.mark.parametrize("workers", [[], ["-n1"]])
@pytest.mark.parametrize("where", [".", "sub"])
def test_the_command_repeats_exactly_that_test(
    workers: list[str], where: str, run: Run, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytester.makefile(".ini", pytest=INI)
    pytester.mkdir("sub")
    pytester.mkdir("plugins").joinpath("my_plugin.py").write_text(
        "import pytest\n@pytest.fixture\ndef from_plugin(): pass\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(pytester.path / "plugins"), prepend=":")
    made = pytester.makepyfile(test_it=TESTS)
    made.rename(pytester.path / "sub" / "test_it.py")
    monkeypatch.chdir(pytester.path / where)
    verdict = pytester.path / "verdict.json"
    result = run(
        "--amdgpu-all-devices",
        "-mslow",
        "-pmy_plugin",
        f"--amdgpu-verdict={verdict}",
        "--amdgpu-confirm=0",
        *workers,
        xdist=True,
    )
    (command,) = (line.removeprefix("to repeat: ") for line in result.outlines if "to repeat:" in line)
    file = read_verdict(verdict)
    (record,) = failing(file.records)
    assert sorted(shlex.split(repeat_command(file, record))) == sorted(shlex.split(command))
    (drew,) = (line for line in result.outlines if line.startswith("drew"))
    repeated = subprocess.run(
        [sys.executable, "-m", *shlex.split(command), "-p", "no:hypothesispytest"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "= 1 failed in" in repeated.stdout, repeated.stdout + repeated.stderr
    assert drew in repeated.stdout.splitlines()


def test_a_failure_shows_what_its_queues_did(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        def test_it(sdma_queue, gtt_buffer, timeline_semaphore):
            buffer = gtt_buffer(4096)
            for number in range(10):
                sdma_queue.fill(buffer, number + 16).submit()
            sdma_queue.wait_idle(10)
            sdma_queue.wait(timeline_semaphore, 5).submit()
            timeline_semaphore.wait(6, timeout=0.1)

        def test_without_queues(amdgpu_device): assert False
        """
    )
    lines = run("--amdgpu-device=gfx1100").outlines
    start = next(index for index, line in enumerate(lines) if " amdgpu queues " in line)
    assert lines[start + 1].startswith("sw-gfx1100-0, sdma queue 0: write pointer 0x")
    assert ", at the read pointer: POLL_MEM " in lines[start + 1]
    assert lines[start + 2] == "    before that it has read:"
    packets = [line.split()[0] for line in lines[start + 3 : start + 11]]
    assert packets.count("CONSTANT_FILL") >= 1
    assert len([line for line in lines if " amdgpu queues " in line]) == 1


def test_a_queue_that_cannot_be_looked_at_does_not_hide_the_failure(
    run: Run, pytester: pytest.Pytester
) -> None:
    pytester.makepyfile(
        """
        def broken(*_): raise RuntimeError("no way")

        def test_it(sdma_queue, gtt_buffer):
            sdma_queue.fill(gtt_buffer(4096), 0).submit()
            sdma_queue.history = broken
            assert False, "it broke"
        """
    )
    result = run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["E *it broke*", "*sdma queue 0 cannot be looked at: RuntimeError: no way"])


def test_the_last_kernel_is_named(run: Run, pytester: pytest.Pytester, require_ziglang: None) -> None:
    pytester.makepyfile(
        """
        SOURCE = '__attribute__((amdgpu_kernel)) void gentle(void) {}'

        def test_it(compute_queue, timeline_semaphore, compile_kernel):
            compute_queue.dispatch(compile_kernel(SOURCE), 64).submit()
            timeline_semaphore.wait(1, timeout=0.1)
        """
    )
    run("--amdgpu-all-devices").stdout.fnmatch_lines(
        [
            "E *aql queue 0: *; the kernel dispatched last is gentle",
            "sw-gfx942-0, aql queue 0: *; the kernel dispatched last is gentle",
            "E *pm4 queue 0: *; the kernel dispatched last is gentle",
        ]
    )


def test_a_verdict_without_the_root_directory_names_tests_as_they_are(tmp_path: Path) -> None:
    """As files of older versions."""
    content = {
        "schema": 1,
        "complete": True,
        "verdict": "regression",
        "reasons": [],
        "environment": {},
        "directory": "/somewhere",
        "repeat": ["--amdgpu-seed=1"],
        "tests": [
            {
                "id": "a.py::b",
                "name": "a.py::b",
                "devices": [],
                "outcome": "fail",
                "trust": "clean",
                "seconds": 1,
                "expected": "",
                "text": "",
            }
        ],
    }
    (tmp_path / "v.json").write_text(json.dumps(content))
    file = read_verdict(tmp_path / "v.json")
    assert repeat_command(file, file.records[0]) == "pytest --amdgpu-seed=1 a.py::b"


def test_the_kernels_log_is_that_of_this_test_and_its_gpu(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        from pytest_amdgpu.plugin.session import session_key

        def test_before(amdgpu_device, request):
            request.config.stash[session_key].kernel_log.append("an older line")

        def test_it(amdgpu_device, request):
            log = request.config.stash[session_key].kernel_log
            log += ["amdgpu 0000:04:00.0: of another GPU", "amdgpu 0000:03:00.0: of this one", "of nobody"]
            assert False
        """
    )
    lines = run("--amdgpu-device=gfx942").outlines
    start = next(index for index, line in enumerate(lines) if " amdgpu kernel log " in line)
    assert lines[start + 1 : start + 3] == ["amdgpu 0000:03:00.0: of this one", "of nobody"]
    text = "\n".join(lines)
    assert "an older line" not in text
    assert " of another GPU" not in text.split("kernel log", 1)[1].split("short test summary")[0]


def test_a_log_that_cannot_be_read_is_told(run: Run, pytester: pytest.Pytester) -> None:
    """As on hardware without the right to read it."""
    pytester.makeconftest(
        """
        import dataclasses
        from pytest_amdgpu.devices import message_log
        from pytest_amdgpu.devices.machine import Machine

        message_log.KMSG = "/no/such/kmsg"
        connect = Machine.connect
        Machine.connect = lambda machine: dataclasses.replace(connect(machine), log=message_log.MessageLog())
        """
    )
    pytester.makepyfile("def test_it(amdgpu_device): assert False")
    result = run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*amdgpu kernel log*", "cannot be read: *No such file or directory*"])


def test_error_counters_that_have_changed_are_told(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makeconftest(
        """
        from pytest_amdgpu.devices import error_watch
        from pytest_amdgpu.plugin import session

        # However slow the machine is.
        error_watch.PAUSE = 1000.0
        COUNTERS = {"umc correctable": 1, "PCIe replays": 0}
        session.read_counters = lambda kernel, node: dict(COUNTERS)
        """
    )
    pytester.makepyfile(
        """
        from conftest import COUNTERS

        def test_passes(amdgpu_device):
            COUNTERS["umc correctable"] = 2

        def test_counts(amdgpu_device):
            COUNTERS["umc correctable"] = 4
            assert False

        def test_counts_nothing(amdgpu_device): assert False

        def test_counts_alone(amdgpu_device):
            COUNTERS["PCIe replays"] = 9
            assert False
        """
    )
    result = run()
    result.stdout.fnmatch_lines(
        [
            "*amdgpu error counters*",
            "sw-gfx942-0, umc correctable: 1 -> 4",
            "    counted since the set-up of *::test_passes[[]sw-gfx942-0], the test before: *",
            "*amdgpu error counters*",
            "sw-gfx942-0, PCIe replays: 0 -> 9",
            "    counted since the set-up of this test",
        ]
    )
    assert result.stdout.str().count("amdgpu error counters") == 2
