"""Reading of the command line, and of its errors a message and an exit status."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from pytest_amdgpu.commands import capture, compare, decode, devices, expectations, report
from pytest_amdgpu.devices.machine_quarantine import MachineQuarantineError
from pytest_amdgpu.devices.selection import DeviceSelectionError
from pytest_amdgpu.driver.errors import DeviceOpenError
from pytest_amdgpu.families.registry import UnknownFamilyError
from pytest_amdgpu.kernel.linux import LinuxKernel
from pytest_amdgpu.kernel.protocol import Kernel, KernelError
from pytest_amdgpu.results.expectation_file import ExpectationError
from pytest_amdgpu.results.verdict_reader import VerdictFileError

FAILED = 1
_FAILURES = (
    capture.CaptureError,
    decode.DecodeError,
    devices.NoDevicesError,
    devices.ReleaseError,
    report.ReportError,
    ExpectationError,
    DeviceSelectionError,
    UnknownFamilyError,
    VerdictFileError,
    DeviceOpenError,
    MachineQuarantineError,
    KernelError,
    OSError,
)


def main(arguments: Sequence[str] | None = None, kernel: Kernel | None = None) -> int:
    """Run a command and return its exit status; `kernel` is this machine's unless given."""
    options = _parser().parse_args(arguments)
    try:
        if options.command == "capture":
            _capture(options, kernel or LinuxKernel())
        elif options.command == "devices":
            if options.release is not None:
                print(devices.release(kernel or LinuxKernel(), options.release, options.lease_directory))
            else:
                for line in devices.lines(kernel or LinuxKernel(), options.lease_directory):
                    print(line)
        elif options.command == "expectations":
            wrong = list(expectations.lint_lines(options.directory, options.tests))
            print(*wrong, sep="\n", end="\n" if wrong else "")
            return FAILED if wrong else 0
        elif options.command == "compare":
            comparison = compare.compared(options.before, options.after)
            print(*compare.lines(comparison), sep="\n")
            return compare.WORSE if comparison.worse else compare.SAME
        elif options.command == "report":
            report.write_reports(options.verdict, options.earlier, options.html, options.markdown)
        else:
            for line in decode.lines(options.file, options.target, options.engine):
                print(line)
    except _FAILURES as error:
        print(f"{options.command}: {error}", file=sys.stderr)
        return compare.UNUSABLE if options.command == "compare" else FAILED
    return 0


def _capture(options: argparse.Namespace, kernel: Kernel) -> None:
    text = capture.model_text(kernel, capture.choose(kernel, options.device), options.name)
    if options.output is None:
        print(text, end="")
    else:
        options.output.write_text(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m pytest_amdgpu", description="Tools around AMD GPUs.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    captured = commands.add_parser(
        "capture", help="write a model file of a GPU of this machine, for --amdgpu-model"
    )
    captured.add_argument(
        "--device", metavar="ID|gfxNNN|N", help="which GPU, as with --amdgpu-device (default: the first)"
    )
    captured.add_argument("--name", help="what to call the model (default: made from the product's name)")
    captured.add_argument("-o", "--output", type=Path, metavar="FILE", help="default: print it")
    listed = commands.add_parser(
        "devices",
        help="list the GPUs of this machine, their other names, who has leased them, and quarantine",
    )
    listed.add_argument(
        "--lease-directory",
        type=Path,
        metavar="DIR",
        help="as with --amdgpu-lease-directory (default: /run/lock/pytest-amdgpu)",
    )
    listed.add_argument(
        "--release",
        metavar="ID",
        help="take a device (an id or PCI address) out of quarantine; list nothing",
    )
    expected = commands.add_parser("expectations", help="work on the files of --amdgpu-expectations")
    actions = expected.add_subparsers(dest="action", required=True, metavar="ACTION")
    linted = actions.add_parser("lint", help="say which lines do nothing, hide too much, or are out of date")
    linted.add_argument("directory", type=Path, metavar="DIR")
    linted.add_argument(
        "--tests",
        type=Path,
        metavar="FILE",
        help="what `pytest --collect-only -q` printed: lines about other tests are wrong, too",
    )
    changed = commands.add_parser(
        "compare",
        help="say what changed between two files of --amdgpu-verdict; exit with 1 if a result got worse, 2 if"
        " a file cannot be used",
    )
    changed.add_argument("before", type=Path, metavar="BEFORE.json")
    changed.add_argument("after", type=Path, metavar="AFTER.json")
    reported = commands.add_parser("report", help="make reports of a file of --amdgpu-verdict")
    reported.add_argument("verdict", type=Path, metavar="VERDICT.json")
    reported.add_argument(
        "earlier", type=Path, nargs="*", metavar="EARLIER.json", help="results to show trends from"
    )
    reported.add_argument("--html", type=Path, metavar="FILE", help="write one page that needs no other file")
    reported.add_argument(
        "--markdown",
        metavar="FILE",
        help="write markdown; - prints it (the default), auto appends it to $GITHUB_STEP_SUMMARY",
    )
    decoded = commands.add_parser("decode", help="print the packets in a dump of a ring or indirect buffer")
    decoded.add_argument("--target", required=True, metavar="gfxNNN", help="the GPU that the packets are for")
    decoded.add_argument("--engine", required=True, choices=decode.ENGINES)
    decoded.add_argument(
        "file", type=Path, metavar="FILE", help="little-endian dwords, or text of hexadecimal dwords"
    )
    return parser
