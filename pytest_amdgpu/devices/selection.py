"""Which of the GPUs a run uses: `--amdgpu-device` and `--amdgpu-all-devices`."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_amdgpu.devices.identity import DeviceInfo

MAX_DIGITS = 9
"""Of a number that counts devices; Python refuses to read numbers of thousands of digits."""


class DeviceSelectionError(ValueError):
    """A wish that no device of the machine meets; the message lists what there is."""


def select_devices(
    devices: Sequence[DeviceInfo], wishes: Sequence[str], *, all_devices: bool
) -> list[DeviceInfo]:
    """Return the devices that tests run on, in the order of `devices` and each once.

    Where several devices meet a wish (see `matching_devices`), or there is no wish, the first is taken, or
    all with `all_devices`. Raises `DeviceSelectionError`.
    """
    chosen: set[str] = set()
    for matching in [matching_devices(devices, wish) for wish in wishes] or [list(devices)]:
        chosen.update(device.id for device in (matching if all_devices else matching[:1]))
    return [device for device in devices if device.id in chosen]


def matching_devices(devices: Sequence[DeviceInfo], wish: str) -> list[DeviceInfo]:
    """Return the devices that meet a wish, at least one; raises `DeviceSelectionError`.

    A wish is an id, a PCI address, a unique id, a target (`gfx942`), or a number counting from 0.
    """
    matching = [device for device in devices if wish in _names(device)]
    if not matching and wish.isdecimal() and len(wish) <= MAX_DIGITS and int(wish) < len(devices):
        matching = [devices[int(wish)]]
    if not matching:
        there = ", ".join(f"{device.id} (number {index})" for index, device in enumerate(devices))
        raise DeviceSelectionError(f"no device is {wish!r}; known: {there}")
    return matching


def _names(device: DeviceInfo) -> set[str]:
    names = {device.id, device.target, device.pci_address}
    if device.unique_id:
        names |= {f"{device.unique_id:#x}", f"{device.unique_id:016x}"}
    return names
