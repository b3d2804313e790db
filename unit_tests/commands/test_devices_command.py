"""The command `devices`: one row per GPU, with its names and its holder."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_amdgpu.commands.main import main
from pytest_amdgpu.devices import health
from pytest_amdgpu.devices.leases import LeaseDirectory
from pytest_amdgpu.devices.machine_quarantine import MachineQuarantine
from pytest_amdgpu.emulator.injection.spec import make_injection
from pytest_amdgpu.emulator.kernel import EmulatedKernel
from pytest_amdgpu.families.models import model


@pytest.fixture
def two_gpus() -> Iterator[EmulatedKernel]:
    kernel = EmulatedKernel([model("mi300x"), model("rx7900xtx")])
    yield kernel
    kernel.shutdown()


def test_each_gpu_has_a_row_with_its_names(
    two_gpus: EmulatedKernel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    leases = LeaseDirectory(tmp_path)
    with leases.take(["0000:04:00.0"], "a bisection"):
        assert main(["devices", "--lease-directory", str(tmp_path)], two_gpus) == 0
    head, first, second = (re.split(r" {2,}", line) for line in capsys.readouterr().out.splitlines())
    names = ["device", "name", "KFD node", "PCI address", "render node", "unique id", "HIP/ROCR", "holder"]
    assert head == [*names, "quarantine", "health"]
    gpu = two_gpus.gpus[0]
    assert first == [
        "gfx942-0000:03:00.0", "AMD Instinct MI300X", "1", "0000:03:00.0", "renderD128",
        f"{gpu.unique_id:#x}", "0", "-", "-", "not checked",
    ]  # fmt: skip
    assert second[6] == "1"
    assert second[7].startswith(f"pid {os.getpid()} of ")
    assert "(a bisection), exclusive, for 0 s" in second[7]


def test_looking_makes_no_directory(
    two_gpus: EmulatedKernel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["devices", "--lease-directory", str(tmp_path / "none")], two_gpus) == 0
    assert capsys.readouterr().out.count("  not checked\n") == 2
    assert not (tmp_path / "none").exists()


def test_a_check_lets_gpus_work_that_are_free(
    two_gpus: EmulatedKernel,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Of a software GPU on a busy machine not even this much can be expected within the second of hardware.
    monkeypatch.setattr(health, "LIMIT", 30.0)
    command = ["devices", "--check", "--lease-directory", str(tmp_path)]
    assert main(command, two_gpus) == 0
    assert capsys.readouterr().out.count("  works\n") == 2
    monkeypatch.setattr(health, "LIMIT", 0.2)
    two_gpus.injections.add(make_injection("drop-fence", {}), two_gpus.gpus[1])
    with LeaseDirectory(tmp_path).take(["0000:03:00.0"], "a bisection"):
        assert main(command, two_gpus) == 1
    output = capsys.readouterr()
    first, second = output.out.splitlines()[1:]
    assert first.endswith("  in use")
    assert re.search("  SDMA copy: WaitTimeoutError: waited .* s for 1 of timeline semaphore", second)
    assert output.err.startswith("devices: gfx1100-0000:04:00.0: SDMA copy: WaitTimeoutError: waited ")


@pytest.mark.parametrize("name", ["gfx942-0000:03:00.0", "0000:03:00.0"])
def test_a_device_is_in_quarantine_until_it_is_released(
    name: str, two_gpus: EmulatedKernel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["devices", "--lease-directory", str(tmp_path)]
    quarantine = MachineQuarantine(tmp_path)
    quarantine.add("0000:03:00.0", "it hangs")
    quarantine.add("0000:03:00.0", "what came later")
    assert main(command, two_gpus) == 0
    first, second = capsys.readouterr().out.splitlines()[1:]
    assert re.search(r"  since 20\d\d-.* by .*, pid \d+ on .*: it hangs  not checked$", first)
    assert re.search("  -           .*  not checked$", second)
    assert main([*command, "--release", name], two_gpus) == 0
    assert capsys.readouterr().out == f"{name} is out of quarantine\n"
    assert quarantine.entry("0000:03:00.0") is None
    assert main([*command, "--release", name], two_gpus) == 1
    assert f"{name} is not in quarantine in {tmp_path}; there are none" in capsys.readouterr().err


@pytest.mark.skipif(os.path.exists("/dev/kfd"), reason="the machine has a GPU")
def test_a_machine_without_gpus_is_a_failure_that_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["devices"]) == 1
    assert re.match(r"devices: cannot be used, no .*: ", capsys.readouterr().err)
