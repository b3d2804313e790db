"""Progress of long runs: the estimate, a line in a terminal beside pytest's own, lines in a log."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable

import pytest

from pytest_amdgpu.plugin.progress import Estimate, duration

Run = Callable[..., pytest.RunResult]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0:00"),
        (7.4, "0:07"),
        (59.6, "1:00"),
        (750, "12:30"),
        (5999, "99:59"),
        (6000, "1h40"),
        (-1, "0:00"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_the_estimate() -> None:
    now = [100.0]
    estimate = Estimate(lambda: now[0])
    estimate.total = 10
    devices = ["gpu-0", "gpu-1"]
    assert estimate.text(devices) == "0/10"
    estimate.start("t.py::a[gpu-0]")
    assert estimate.text(devices) == "0/10, on gpu-0, a[gpu-0]"
    estimate.start("t.py::b[gpu-1]")
    now[0] = 104.0
    estimate.end("t.py::a[gpu-0]")
    estimate.end("t.py::a[gpu-0]")
    # 1 in 4 s, so 36 s for the other nine.
    assert estimate.text(devices) == "1/10, 4.0 s each, 0:36 left, on gpu-1, b[gpu-1]"
    for number in range(7):
        estimate.start(f"t.py::c{number}")
        estimate.end(f"t.py::c{number}")
    estimate.start("t.py::d[gpu-0+gpu-1]")
    assert estimate.text(devices) == "8/10, 2.0/s, 0:01 left, on gpu-0, gpu-1, d[gpu-0+gpu-1] and 1 more"
    # Those that take long are named, with the time that they have taken so far.
    now[0] = 254.0
    estimate.start("t.py::e[gpu-0]")
    assert estimate.text(devices).endswith(
        ", on gpu-0, gpu-1, b[gpu-1] for 2:34, d[gpu-0+gpu-1] for 2:30 and 1 more"
    )
    for letter in "fgh":
        estimate.start(f"t.py::{letter}[gpu-0]")
    now[0] += 30
    assert estimate.text(devices).endswith(
        "b[gpu-1] for 3:04, d[gpu-0+gpu-1] for 3:00, e[gpu-0] for 0:30 and 3 more"
    )


TESTS = """
    import pytest

    @pytest.mark.parametrize("number", range(30))
    def test_it(amdgpu_device, number): assert number != 7

    def test_plain(): pass
"""
EAGER = """
    from pytest_amdgpu.plugin import progress
    progress.PAUSE = progress._REDRAW = 0.0
"""


def screen(data: str) -> list[str]:
    """What a terminal shows: letters, returns, line feeds, erase to the end, cursor left; no colours."""
    lines, row, column = [""], 0, 0
    for part in re.findall(r"\x1b\[[0-9;]*[A-Za-z]|.", data, re.S):
        if part == "\r":
            column = 0
        elif part == "\n":
            row, lines = row + 1, [*lines, ""]
        elif part == "\x1b[K":
            lines[row] = lines[row][:column]
        elif part.startswith("\x1b[") and part.endswith("D"):
            column -= int(part[2:-1])
            assert column >= 0
        elif part.startswith("\x1b["):
            assert part.endswith("m"), part
        else:
            lines[row] = lines[row][:column].ljust(column) + part + lines[row][column + 1 :]
            column += 1
            assert column <= 80 or "left" not in lines[row]
    return [line.rstrip() for line in lines]


def in_terminal(*arguments: str) -> str:
    """What pytest writes to a terminal of 80 columns."""
    master, slave = pty.openpty()
    command = [sys.executable, "-m", "pytest", "--amdgpu-backend=software", "--amdgpu-software=gfx1100"]
    process = subprocess.Popen(
        [*command, "-p", "no:hypothesispytest", "--amdgpu-seed=1", *arguments],
        stdout=slave,
        stderr=slave,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "80"},
    )
    os.close(slave)
    data = b""
    while True:
        try:
            data += (more := os.read(master, 65536))
        except OSError:
            # What a terminal says whose other end is closed.
            break
        if not more:
            break
    os.close(master)
    assert process.wait() in (0, 1)
    return data.decode()


def without_times(lines: list[str]) -> list[str]:
    return [re.sub(r"\d+\.\d+s|=", "", line) for line in lines]


@pytest.mark.parametrize("arguments", [[], ["-v"], ["-n2"]], ids=["dots", "verbose", "workers"])
def test_in_a_terminal_the_line_leaves_what_pytest_writes_as_it_is(
    arguments: list[str], pytester: pytest.Pytester
) -> None:
    pytester.makepyfile(test_it=TESTS)
    pytester.makeconftest(EAGER)
    shown = in_terminal(*arguments)
    assert re.search(r"\d+/31, .*left", shown)
    plain = in_terminal(*arguments, "--amdgpu-progress=off")
    assert "left" not in plain
    if arguments != ["-n2"]:
        # Workers make the order of dots one of chance.
        assert without_times(screen(shown)) == without_times(screen(plain))
    assert not [line for line in screen(shown) if "left" in line]


@pytest.mark.parametrize("arguments", [["-q"], ["-s"], ["-k", "plain"], ["--collect-only"]])
def test_in_a_terminal_nothing_is_shown_of(arguments: list[str], pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_it=TESTS)
    pytester.makeconftest(EAGER)
    assert "\x1b[K" not in in_terminal(*arguments)


def test_a_log_has_whole_lines(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_it=TESTS)
    pytester.makeconftest(EAGER)
    result = run("--color=no")
    result.stdout.fnmatch_lines(["amdgpu: 1/31, *left, on sw-gfx942-0, test_it*", "amdgpu: 30/31, *left*"])
    assert "\x1b" not in result.stdout.str()
    assert "\r" not in result.stdout.str()
    assert not [line for line in result.outlines if "amdgpu: " in line and not line.startswith("amdgpu: ")]
    result.assert_outcomes(passed=30, failed=1)


def test_a_log_of_a_short_run_has_none(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_it=TESTS)
    assert "left" not in run("--amdgpu-progress=on").stdout.str()


def test_a_log_goes_on_while_a_test_hangs(run: Run, pytester: pytest.Pytester) -> None:
    """Until the test has seen itself named in what is printed, which goes to a file here."""
    pytester.makepyfile(
        """
        import pathlib, time

        def test_before(amdgpu_device): pass

        def test_hangs(amdgpu_device):
            end = time.monotonic() + 90
            while "test_hangs[" not in pathlib.Path("stdout").read_text() and time.monotonic() < end:
                time.sleep(0.01)
        """
    )
    pytester.makeconftest(EAGER)
    result = run("-n1", "--color=no", xdist=True)
    test = r"test_hangs\[sw-gfx942-0\]"
    result.stdout.re_match_lines([rf"amdgpu: 1/2, .* left, on sw-gfx942-0, {test} for \d:\d\d$"])
    result.assert_outcomes(passed=2)
    # Nothing is written into a line of others, nor after the end.
    assert not [line for line in result.outlines if "amdgpu: " in line and not line.startswith("amdgpu: ")]
    assert "2 passed" in result.outlines[-1]
