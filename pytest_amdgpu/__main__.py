"""The command line: `python -m pytest_amdgpu COMMAND`; `--help` lists the commands."""

from __future__ import annotations

import sys

from pytest_amdgpu.commands.main import main

if __name__ == "__main__":
    sys.exit(main())
