"""The command line: `python -m pytest_amdgpu COMMAND`; `--help` lists the commands."""

from __future__ import annotations

import io
import sys

from pytest_amdgpu.commands.main import main

if __name__ == "__main__":
    # What is printed is from files of others, which can hold halves of letters.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    sys.exit(main())
