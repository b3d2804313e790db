"""How long after its deadline a test that hangs has a verdict."""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import measure

TESTS = """
import os, time

def test_hangs(amdgpu_device, sdma_queue, gtt_buffer, timeline_semaphore):
    if "gfx942" in amdgpu_device.name:
        with open("begun", "w") as file:
            file.write(f"{time.monotonic()} {os.getpid()}")
    sdma_queue.fill(gtt_buffer(4096), 5).signal(timeline_semaphore, 1).submit()
    timeline_semaphore.wait(1, timeout=1000)
"""
"""The deadline of the test counts from before `begun`, which is later by less than a millisecond."""
AFTER = "def test_after(amdgpu_device): pass\n"
UNKILLABLE = """
from pytest_amdgpu.supervisor import client

client._PROGRAM = (
    "import os; kill = os.kill; os.kill = lambda pid, number: number in (9, 15) or kill(pid, number); "
    + client._PROGRAM
)
"""
"""The supervisor cannot send the signals that end processes."""
INVISIBLE = """
client._PROGRAM = client._PROGRAM.replace(
    "main()",
    "import time, pytest_amdgpu.supervisor.evidence as evidence; "
    "evidence.sections = lambda process, stacks: time.sleep(10); main()",
)
"""
"""What looks at the process hangs, too, as where the lock of its memory is held. It ends by itself:
it is not killed here, either."""
NEVER = "call-never-returns:phase=call,call=DOORBELL"
HANGS = {
    "a queue that is wedged": "wedge-queue:phase=call",
    "a process that is stopped": "process-stopped:phase=call,call=DOORBELL",
    "a call without the GIL": NEVER,
    "a call with the GIL": f"{NEVER},kind=holds-gil",
}
"""Defects of the software GPU by what hangs."""
OPTIONS = [
    *("-q", "--amdgpu-backend=software", "--amdgpu-all-devices"),
    *("--amdgpu-gate", "--amdgpu-verdict=verdict.json"),
]
LIMIT = 2.0
"""Seconds from the deadline to the final verdict."""


@dataclass
class Verdict:
    """When something was first seen in the verdict's file, in seconds after the deadline."""

    timeout: float
    """That the test timed out."""
    final: float
    """That the run is over."""


def run(directory: Path, seconds: float, arguments: list[str], *, interrupted: bool = False) -> Verdict:
    """Let a run hang; a run in which nothing does ends this process, because its time means nothing.

    One that is `interrupted`, as by Ctrl-C, has that for its deadline.
    """
    file, begun = directory / "verdict.json", directory / "begun"
    for path in (file, begun):
        path.unlink(missing_ok=True)
    deadline = f"--amdgpu-deadline=setup=60,test={'none' if interrupted else seconds},teardown=60"
    wanted = "crash" if interrupted else "timeout"
    with (directory / "output").open("w+") as output:
        child = subprocess.Popen(
            [sys.executable, "-m", "pytest", *OPTIONS, deadline, *arguments],
            cwd=directory,
            env=measure.python_environment(directory / "bytecode"),
            stdout=output,
            stderr=output,
        )
        timeout, final, interrupted_at = 0.0, 0.0, 0.0
        end = time.monotonic() + 100
        while not final and time.monotonic() < end:
            content = read(file)
            now = time.monotonic()
            if interrupted and not interrupted_at and hangs_since(begun) < now - seconds:
                child.send_signal(signal.SIGINT)
                interrupted_at = now
            if not timeout and any(test["outcome"] == wanted for test in content.get("tests", ())):
                timeout = now
            if content.get("complete"):
                final = now
            time.sleep(0.005)
        child.wait()
        output.seek(0)
        said = output.read()
    if not (timeout and final):
        sys.exit(f"{said}\nthe run did not end as it should")
    start, pid = begun.read_text().split()
    with contextlib.suppress(ProcessLookupError):
        # Only one that counts as unkillable is still there.
        os.kill(int(pid), signal.SIGKILL)
    deadline_at = interrupted_at or float(start) + seconds
    return Verdict(timeout - deadline_at, final - deadline_at)


def hangs_since(begun: Path) -> float:
    """Return when the test has begun, infinity before that."""
    words = begun.read_text().split() if begun.exists() else []
    return float(words[0]) if len(words) == 2 else math.inf


def read(file: Path) -> dict[str, Any]:
    """Return what a verdict's file has, which is nothing at first."""
    try:
        content: dict[str, Any] = json.loads(file.read_text())
    except FileNotFoundError:
        return {}
    return content


def report(what: str, seconds: float, bare: float, *, limited: bool = True) -> None:
    """Print the time from the deadline."""
    target, met = (f"<= {LIMIT:g} s", seconds <= LIMIT) if limited else ("", None)
    measure.row(what, f"{seconds:.2f} s", target, met, f"{seconds / bare:.2f} x the run without a hang")


def main() -> None:
    """Print rows for each kind of hang."""
    quick = measure.is_quick(__doc__)
    deadline = 0.3 if quick else 1.0
    hanging = "--amdgpu-software=gfx1100,gfx942"
    print("from the deadline of a test that hangs to the final verdict in its file, with no test left")
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        test = directory / "test_it.py"
        test.write_text(TESTS)
        # The first run fills the cache of compiled modules.
        bare = [
            measure.run_pytest(directory, [*OPTIONS, hanging], directory / "bytecode").wall for _ in range(2)
        ][1]
        for what, defect in HANGS.items():
            inject = f"--amdgpu-inject={defect}@sw-gfx942-0"
            report(what, run(directory, deadline, [hanging, inject]).final, bare)
        inject = f"--amdgpu-inject={NEVER}@sw-gfx942-0"
        report("in the only process (-n0)", run(directory, deadline, [hanging, inject, "-n0"]).final, bare)
        interrupted = (("Ctrl-C in a call with the GIL", []), ("the same in the only process", ["-n0"]))
        for what, mode in () if quick else interrupted:
            options = [hanging, f"{inject.partition('@')[0]},kind=holds-gil@sw-gfx942-0", *mode]
            report(what, run(directory, deadline, options, interrupted=True).final, bare)
        # No conftest, for the supervisor is there before one.
        plugin, with_plugin = directory / "powerless.py", ["-p", "powerless", hanging, inject]
        plugin.write_text(UNKILLABLE)
        report("a process that does not die", run(directory, deadline, with_plugin).final, bare)
        plugin.write_text(UNKILLABLE + INVISIBLE)
        report("nor can be looked at", run(directory, deadline, with_plugin).final, bare)
        print("where tests of another device are left, which a new worker runs")
        test.write_text(TESTS + AFTER)
        verdict = run(directory, deadline, ["--amdgpu-software=gfx942,gfx1100", inject])
        report("the timeout is in the verdict's file", verdict.timeout, bare)
        report("final verdict", verdict.final, bare, limited=False)


if __name__ == "__main__":
    main()
