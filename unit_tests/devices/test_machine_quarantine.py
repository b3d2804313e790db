"""The quarantine of a machine: files that are whole or not there, and that hold also if they are broken."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_amdgpu.devices.machine_quarantine import MachineQuarantine, MachineQuarantineError


@pytest.mark.parametrize("content", ["", "{", "[]", '{"reason": "it hangs"}', "\0"])
def test_a_file_that_does_not_say_why_keeps_the_device_in_quarantine(content: str, tmp_path: Path) -> None:
    (tmp_path / "gpu.quarantine").write_text(content)
    entry = MachineQuarantine(tmp_path).entry("gpu")
    assert entry is not None
    assert f"{tmp_path}/gpu.quarantine cannot be read: " in str(entry)


def test_nothing_but_the_file_is_left(tmp_path: Path) -> None:
    quarantine = MachineQuarantine(tmp_path)
    quarantine.add("gfx+1", "it hangs")
    assert [file.name for file in tmp_path.iterdir()] == ["gfx+1.quarantine"]
    assert quarantine.names() == ["gfx+1"]


def test_a_directory_that_is_not_there_has_nobody_in_quarantine(tmp_path: Path) -> None:
    quarantine = MachineQuarantine(tmp_path / "none")
    assert quarantine.entry("gpu") is None
    assert quarantine.names() == []
    assert not quarantine.release("gpu")
    with pytest.raises(MachineQuarantineError, match=r"none/gpu\.quarantine cannot be made: No such file"):
        quarantine.add("gpu", "it hangs")


@pytest.mark.parametrize("name", ["../gpu", "", "a/b"])
def test_a_name_is_no_path(name: str, tmp_path: Path) -> None:
    with pytest.raises(MachineQuarantineError, match="is not a name of a device"):
        MachineQuarantine(tmp_path).release(name)
