"""Runs the command that the command line names, and makes of its errors a message and an exit status."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from pytest_amdgpu.commands import capture, compare, decode, devices, expectations, report
from pytest_amdgpu.commands.command_line import command_line
from pytest_amdgpu.devices.leases import LeaseError
from pytest_amdgpu.devices.machine_quarantine import MachineQuarantineError
from pytest_amdgpu.devices.selection import DeviceSelectionError
from pytest_amdgpu.driver.errors import DeviceOpenError
from pytest_amdgpu.families.registry import UnknownFamilyError
from pytest_amdgpu.kernel.linux import LinuxKernel
from pytest_amdgpu.kernel.protocol import Kernel, KernelError
from pytest_amdgpu.results.expectation_file import ExpectationError
from pytest_amdgpu.results.observations import ObservationError
from pytest_amdgpu.results.verdict_reader import VerdictFileError

FAILED = 1
_FAILURES = (
    capture.CaptureError,
    decode.DecodeError,
    devices.NoDevicesError,
    devices.ReleaseError,
    devices.UnhealthyError,
    LeaseError,
    report.ReportError,
    ExpectationError,
    ObservationError,
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
    options = command_line().parse_args(arguments)
    try:
        status = _run(options, kernel or LinuxKernel())
        # Here, where its failure can still be told.
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        # Who reads has seen enough. What is left in the buffer must go somewhere when Python ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except _FAILURES as error:
        print(f"{options.command}: {_told(error)}", file=sys.stderr)
    return compare.UNUSABLE if options.command == "compare" else FAILED


def _told(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{os.fsdecode(error.filename)}: {error.strerror}"
    return str(error)


def _run(options: argparse.Namespace, kernel: Kernel) -> int:
    """Run a command and return its exit status; raises one of `_FAILURES`."""
    if options.command == "capture":
        _capture(options, kernel)
    elif options.command == "devices":
        if options.release is not None:
            print(devices.release(kernel, options.release, options.lease_directory))
        else:
            for line in devices.lines(kernel, options.lease_directory, check=options.check):
                print(line)
    elif options.command == "expectations":
        if options.action == "update":
            lines = expectations.update_lines(
                options.directory, options.results, mixed=options.mixed, dry_run=options.dry_run
            )
            print(*lines, sep="\n")
        else:
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
    return 0


def _capture(options: argparse.Namespace, kernel: Kernel) -> None:
    text = capture.model_text(kernel, capture.choose(kernel, options.device), options.name)
    if options.output is None:
        print(text, end="")
    else:
        options.output.write_text(text)
