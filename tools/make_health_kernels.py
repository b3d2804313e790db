"""Compile the kernel of the health check for every target: `python tools/make_health_kernels.py`.

Writes `pytest_amdgpu/devices/health_kernels.json`, which the package ships, so that no compiler is needed
where devices are checked. The objects have no symbols but those of the kernel.
"""

from __future__ import annotations

import base64
import json
import sys
import zlib
from pathlib import Path

from pytest_amdgpu.devices.health_kernels import FILE, SOURCE
from pytest_amdgpu.driver.compiler import CompilerError, compile_source
from pytest_amdgpu.families.registry import FAMILIES


def main() -> int:
    """Write the file; a target that the compiler does not know keeps what it had."""
    kernels: dict[str, str] = json.loads(FILE.read_text()) if FILE.exists() else {}
    for family in FAMILIES:
        try:
            code = compile_source(SOURCE, family.name, options=("-O2", "-Wl,-s"))
        except CompilerError as error:
            print(f"{family.name}: {str(error).splitlines()[0]}", file=sys.stderr)
            continue
        kernels[family.name] = base64.b64encode(zlib.compress(code, 9)).decode()
    Path(FILE).write_text(json.dumps(dict(sorted(kernels.items())), indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
