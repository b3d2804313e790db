"""What a verdict file says of the environment, and that looking costs nothing where none is written."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import jsonschema
import pytest

Run = Callable[..., pytest.RunResult]
SCHEMA = json.loads((files("pytest_amdgpu.results") / "verdict_schema.json").read_text())
TEST = """
    import sys
    def test_it(amdgpu_device): pass
    def test_not_looked_at(): assert "pytest_amdgpu.devices.fingerprint" not in sys.modules
"""


@pytest.mark.parametrize("workers", [[], ["-n1"]])
def test_the_environment_of_the_devices_that_are_used(
    workers: list[str], run: Run, pytester: pytest.Pytester
) -> None:
    pytester.makepyfile(TEST)
    pytester.mkdir("rocm").joinpath(".info").mkdir()
    Path("rocm/.info/version").write_text("7.2.0\n")
    pytester._monkeypatch.setenv("ROCM_PATH", "rocm")
    options = ("--amdgpu-verdict=verdict.json", "--amdgpu-seed=7", "--amdgpu-device=gfx1100")
    assert run(*options, *workers, "-k", "test_it", xdist=bool(workers)).ret == 0
    content = json.loads(Path("verdict.json").read_text())
    jsonschema.validate(content, SCHEMA)
    environment = content["environment"]
    assert list(environment["devices"]) == ["sw-gfx1100-0"]
    assert environment["devices"]["sw-gfx1100-0"]["firmware"]["mec_fw_version"] == "0x0000085c"
    assert (environment["kfd"], environment["rocm"]) == ("1.17", "7.2.0")
    assert {"kernel", "packages"} <= environment.keys()
    assert content["repeat"] == [
        "--amdgpu-seed=7",
        "--amdgpu-backend=software",
        "--amdgpu-software=gfx942,gfx1100",
    ]


def test_nothing_is_read_without_a_verdict_file(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(TEST)
    assert run("--amdgpu-gate").ret == 0
