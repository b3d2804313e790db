"""Devices that a run uses no more."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_amdgpu.devices.quarantine import Quarantine


def test_a_device_is_in_quarantine_for_the_first_reason() -> None:
    quarantine = Quarantine()
    assert quarantine.reason("a") is None
    quarantine.add("a", "it hangs")
    quarantine.add("b", "it is gone")
    quarantine.add("a", "it does not answer")
    assert quarantine.reason("a") == "it hangs"
    assert list(quarantine) == [("a", "it hangs"), ("b", "it is gone")]


def test_what_one_process_adds_the_others_know(tmp_path: Path) -> None:
    file = tmp_path / "quarantine"
    file.touch()
    told: list[str] = []
    first, second, late = Quarantine(), Quarantine(), Quarantine()
    first.add("before", "it is known from the start")
    for one in (first, second):
        one.share(file)
        one.listener = lambda device, reason: told.append(f"{device}: {reason}")
    first.add("a", "it hangs,\nand more")
    second.add("a", "it does not answer")
    second.add("b", "it is gone")
    late.share(file)
    expected = [("before", "it is known from the start"), ("a", "it hangs,\nand more"), ("b", "it is gone")]
    assert list(first) == list(second) == list(late) == expected
    # Only who has found it tells of it.
    assert told == ["a: it hangs,\nand more", "b: it is gone"]
    second.share_no_more()
    first.add("c", "it smells")
    assert (second.reason("c"), late.reason("c")) == (None, "it smells")


def test_half_a_line_is_not_taken_for_one(tmp_path: Path) -> None:
    file = tmp_path / "quarantine"
    file.write_bytes(b'["a", "it ha')
    first, second = Quarantine(), Quarantine()
    for one in (first, second):
        one.share(file)
    assert first.reason("a") is None
    with file.open("ab") as more:
        more.write(b'ngs"]\n["torn by a full disk')
    assert first.reason("a") == "it hangs"
    first.add("b", "it is gone")
    assert list(second) == list(first) == [("a", "it hangs"), ("b", "it is gone")]


def test_without_its_file_a_quarantine_is_the_processs_own(tmp_path: Path) -> None:
    file = tmp_path / "quarantine"
    file.touch()
    quarantine = Quarantine()
    quarantine.share(file)
    file.unlink()
    with pytest.warns(UserWarning, match="not known any more which devices fail elsewhere: .*quarantine"):
        assert quarantine.reason("a") is None
    quarantine.share(Path("/dev/full"))
    with pytest.warns(UserWarning, match="other processes do not know that b fails: .*No space left"):
        quarantine.add("b", "it is gone")
    assert quarantine.reason("b") == "it is gone"
