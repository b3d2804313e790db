"""The command line of `python -m pytest_amdgpu`: its commands, their options, and the help on them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_amdgpu.commands.decode import ENGINES

if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]


def command_line() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="python -m pytest_amdgpu",
        description="Tools around tests of AMD GPUs; `COMMAND --help` tells more.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    captured = _add(commands, "capture", "write a model file of a GPU of this machine, for --amdgpu-model")
    captured.add_argument(
        "--device", metavar="ID|gfxNNN|N", help="which GPU, as with --amdgpu-device (default: the first)"
    )
    captured.add_argument("--name", help="what to call the model (default: made from the product's name)")
    captured.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="write it here (default: print it)"
    )
    listed = _add(
        commands,
        "devices",
        "list the GPUs of this machine, their other names, who has leased them, and quarantine",
    )
    listed.add_argument(
        "--lease-directory",
        type=Path,
        metavar="DIR",
        help="as with --amdgpu-lease-directory (default: /run/lock/pytest-amdgpu)",
    )
    listed.add_argument(
        "--check",
        action="store_true",
        help="let each GPU that nobody has leased copy, compute and interrupt; exit with 1 if one does not",
    )
    listed.add_argument(
        "--release",
        metavar="ID",
        help="take a device (an id or PCI address) out of quarantine; list nothing",
    )
    expected = _add(commands, "expectations", "work on the files of --amdgpu-expectations")
    actions = expected.add_subparsers(dest="action", required=True, metavar="ACTION")
    linted = _add(actions, "lint", "say which lines do nothing, hide too much, or are out of date")
    directory = "the directory of --amdgpu-expectations"
    linted.add_argument("directory", type=Path, metavar="DIR", help=directory)
    linted.add_argument(
        "--tests",
        type=Path,
        metavar="FILE",
        help="what `pytest --collect-only -q` printed: lines about other tests are wrong, too",
    )
    text = "write the lines that several recorded runs call for, and take out disproved ones"
    updated = _add(actions, "update", text)
    updated.add_argument("directory", type=Path, metavar="DIR", help=directory)
    updated.add_argument(
        "--results",
        type=Path,
        nargs="+",
        required=True,
        metavar="VERDICT.json",
        help="files of --amdgpu-verdict, of at least 2 runs of the same tests",
    )
    updated.add_argument(
        "--mixed", action="store_true", help="let the runs differ in their tests, GPUs and drivers"
    )
    updated.add_argument("--dry-run", action="store_true", help="change nothing, and show what would change")
    changed = _add(
        commands,
        "compare",
        "say what changed between two files of --amdgpu-verdict; exit with 1 if a result got worse, 2 if"
        " a file cannot be used",
    )
    changed.add_argument("before", type=Path, metavar="BEFORE.json", help="the file of the earlier run")
    changed.add_argument("after", type=Path, metavar="AFTER.json", help="the file of the later run")
    reported = _add(commands, "report", "make reports of a file of --amdgpu-verdict")
    reported.add_argument("verdict", type=Path, metavar="VERDICT.json", help="the run to report")
    reported.add_argument(
        "earlier", type=Path, nargs="*", metavar="EARLIER.json", help="results to show trends from"
    )
    reported.add_argument(
        "--html", type=Path, metavar="FILE", help="write one page of HTML that needs no other file"
    )
    reported.add_argument(
        "--markdown",
        metavar="FILE",
        help="write markdown; - prints it (the default), auto appends it to $GITHUB_STEP_SUMMARY",
    )
    decoded = _add(commands, "decode", "print the packets in a dump of a ring or indirect buffer")
    decoded.add_argument("--target", required=True, metavar="gfxNNN", help="the GPU that the packets are for")
    decoded.add_argument("--engine", required=True, choices=ENGINES, help="what reads the packets")
    decoded.add_argument(
        "file", type=Path, metavar="FILE", help="little-endian dwords, or text of hexadecimal dwords"
    )
    return parser


def _add(commands: Commands, name: str, text: str) -> argparse.ArgumentParser:
    """Add a command whose own help begins with what the list of commands says of it."""
    return commands.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
