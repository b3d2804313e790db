"""Devices that a run uses no more."""

from __future__ import annotations

from pytest_amdgpu.devices.quarantine import Quarantine


def test_a_device_is_in_quarantine_for_the_first_reason() -> None:
    quarantine = Quarantine()
    assert quarantine.reason("a") is None
    quarantine.add("a", "it hangs")
    quarantine.add("b", "it is gone")
    quarantine.add("a", "it does not answer")
    assert quarantine.reason("a") == "it hangs"
    assert list(quarantine) == [("a", "it hangs"), ("b", "it is gone")]
