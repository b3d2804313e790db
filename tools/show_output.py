"""Write docs/output.md: run small tests on software GPUs and show what pytest prints.

    python tools/show_output.py            writes the page
    python tools/show_output.py --check    compares it with what would be written, and exits 1 if they differ

What changes from run to run (addresses, durations, versions, paths) is replaced by a fixed text.
"""

from __future__ import annotations

import argparse
import difflib
import os
import re
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "output.md"

INTRODUCTION = """\
# What it prints

Written by `python tools/show_output.py`; `unit_tests/test_docs.py` fails when it no longer looks like this.
Addresses, durations, versions and paths are replaced. Every example ran on software GPUs, with the
options shown.
"""


@dataclass(frozen=True, slots=True)
class Example:
    """A test to run, and what there is to see in its output."""

    title: str
    explanation: str
    source: str
    options: Sequence[str] = ("--amdgpu-software=gfx1100",)


EXAMPLES = (
    Example(
        "The header, and tests that pass",
        "The header tells which GPUs there are, why these, which of them the tests use (`*`), and the seed "
        "of `rng`.",
        """
        def test_fill(vram_buffer, sdma_queue, timeline_semaphore):
            buffer = vram_buffer(4096)
            sdma_queue.fill(buffer, 0xA5).signal(timeline_semaphore, 1).submit()
            timeline_semaphore.wait(1, timeout=5.0)
            assert (buffer.array == 0xA5).all()
        """,
        ("-v", "--amdgpu-all-devices", "--amdgpu-software=gfx942,gfx1100"),
    ),
    Example(
        "Wrong data",
        "The report ends with the device, the seed, and one command that repeats this failure.",
        """
        from pytest_amdgpu.asserts import assert_equal

        def test_copy(vram_buffer, gtt_buffer, sdma_queue, timeline_semaphore):
            source, target = gtt_buffer(4096), vram_buffer(4096)
            source.array[:] = 7
            target.array[:] = 0
            sdma_queue.copy(target, source, 4000).signal(timeline_semaphore, 1).submit()
            timeline_semaphore.wait(1, timeout=5.0)
            assert_equal(target, source)
        """,
    ),
    Example(
        "A wait that nothing ends",
        "It says what would have signalled the semaphore, and where each queue is.",
        """
        def test_wait(amdgpu_device, sdma_queue, timeline_semaphore):
            never = amdgpu_device.timeline_semaphore()
            sdma_queue.wait(never, 3).signal(timeline_semaphore, 1).submit()
            timeline_semaphore.wait(1, timeout=0.1)
        """,
    ),
    Example(
        "A memory fault",
        "The wait raises as soon as the GPU faults, with the page's address. The device is opened anew.",
        """
        READ = '''
        __attribute__((amdgpu_kernel)) void read_at(
            __attribute__((address_space(1))) int *out, unsigned long at)
        { *out = *(volatile __attribute__((address_space(1))) int *)at; }
        '''

        def test_read(compile_kernel, compute_queue, gtt_buffer, timeline_semaphore):
            kernel = compile_kernel(READ)
            compute_queue.dispatch(kernel, 1, [gtt_buffer(4), 0x123456789])
            compute_queue.signal(timeline_semaphore, 1).submit()
            timeline_semaphore.wait(1, timeout=5.0)
        """,
    ),
    Example(
        "An instruction that cannot be executed",
        "As on hardware the wave is halted and its process is not told, so the wait times out; the software "
        "GPU's kernel log names the instruction, its encoding and its address.",
        """
        def test_illegal(compile_kernel, compute_queue, timeline_semaphore):
            source = '__attribute__((amdgpu_kernel)) void bad(void) { __asm__ volatile(".long 0xbfffffff"); }'
            compute_queue.dispatch(compile_kernel(source), 1).signal(timeline_semaphore, 1).submit()
            timeline_semaphore.wait(1, timeout=3.0)
        """,
    ),
    Example(
        "Arguments that do not fit the kernel",
        "Nothing is submitted; the message shows the signature.",
        """
        def test_arguments(compile_kernel, compute_queue):
            source = '__attribute__((amdgpu_kernel)) void two(long a, int b) {}'
            compute_queue.dispatch(compile_kernel(source), 64, [1])
        """,
    ),
    Example(
        "Use after free",
        "The message tells where the buffer was made.",
        """
        def test_freed(vram_buffer, sdma_queue):
            buffer = vram_buffer(4096)
            buffer.free()
            sdma_queue.fill(buffer, 0)
        """,
    ),
    Example(
        "Commands that were never submitted",
        "They would make a test green that proved nothing, so taking the queue back is an error.",
        """
        def test_forgotten(vram_buffer, sdma_queue):
            sdma_queue.fill(vram_buffer(4096), 0)
        """,
    ),
    Example(
        "What a test leaked",
        "What a test made itself and did not give back is taken back, and listed at the end.",
        """
        def test_leak(amdgpu_device):
            amdgpu_device.vram(4096)
        """,
    ),
    Example(
        "No such device",
        "Options that nothing meets end the run before it begins, with what there is.",
        "def test_nothing(amdgpu_device): pass",
        ("--amdgpu-device=gfx908",),
    ),
    Example(
        "No such software GPU",
        "",
        "def test_nothing(amdgpu_device): pass",
        ("--amdgpu-software=gfx9999",),
    ),
)

REPLACEMENTS = (
    (re.compile(r"^platform .*$", re.M), "platform linux -- Python 3, pytest 9"),
    (re.compile(r"^plugins: .*$", re.M), "plugins: amdgpu"),
    (re.compile(r"^rootdir: .*$", re.M), "rootdir: /tests"),
    (re.compile(r"(pytest_amdgpu/[\w/]+\.py):\d+"), r"\1"),
    (re.compile(r"(File \"pytest_amdgpu/[\w/]+\.py\"), line \d+"), r"\1"),
    (re.compile(r"^hypothesis profile .*\n", re.M), ""),
    (re.compile(r"\bpid \d+"), "pid 4242"),
    (re.compile(r"\bpython[\d.]* pid"), "python pid"),
    (re.compile(r"\bin \d+\.\d+s"), "in 1.00s"),
    (re.compile(r"0x7[0-9a-f]{11}\b"), "0x7f0000000000"),
    (re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d[.,\d]*"), "2026-01-01 00:00:00"),
)


def run(example: Example) -> str:
    """Run an example and return what pytest printed, without what differs between runs."""
    with tempfile.TemporaryDirectory() as directory:
        Path(directory, "test_example.py").write_text(textwrap.dedent(example.source).lstrip("\n"))
        command = [
            *(sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:xdist", "--tb=short"),
            *("--color=no", "--amdgpu-seed=1", *example.options, "test_example.py"),
        ]
        environment = {**os.environ, "COLUMNS": "100", "PYTEST_ADDOPTS": "", "CI": ""}
        result = subprocess.run(
            command, cwd=directory, env=environment, capture_output=True, text=True, check=False
        )
        text = (result.stdout + result.stderr).replace(os.path.realpath(directory), "/tests")
        text = text.replace(directory, "/tests")
    package = str(Path(__file__).parents[1])
    text = re.sub(rf"(\.\./)*{re.escape(package)}/|(\.\./)+[\w./-]*?(?=pytest_amdgpu/)", "", text)
    for pattern, replacement in REPLACEMENTS:
        text = pattern.sub(replacement, text)
    return text.strip()


def page() -> str:
    """Return the whole page."""
    parts = [INTRODUCTION]
    for example in EXAMPLES:
        parts.append(f"## {example.title}\n")
        if example.explanation:
            parts.append(example.explanation + "\n")
        source = textwrap.dedent(example.source).strip()
        parts.append(f"```python\n{source}\n```\n")
        options = " ".join(example.options)
        parts.append(f"```text\n$ pytest --amdgpu-seed=1 --tb=short {options}\n{run(example)}\n```\n")
    return "\n".join(parts)


def main() -> int:
    """Write or check the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if the page would change")
    check = parser.parse_args().check
    text = page()
    if not check:
        PAGE.write_text(text)
        return 0
    differences = list(
        difflib.unified_diff(
            PAGE.read_text().splitlines(), text.splitlines(), "docs/output.md", "now", lineterm=""
        )
    )
    print("\n".join(differences))
    return int(bool(differences))


if __name__ == "__main__":
    sys.exit(main())
