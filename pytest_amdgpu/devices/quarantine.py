"""Devices that a run uses no more, because they failed in a way that tests are not to blame for."""

from __future__ import annotations

from collections.abc import Iterator


class Quarantine:
    """Ids of devices, each with the reason for which no further test runs on it."""

    def __init__(self) -> None:
        self._reasons: dict[str, str] = {}

    def add(self, device_id: str, reason: str) -> None:
        """Put a device in quarantine; the first reason stays, for what follows is often its consequence."""
        self._reasons.setdefault(device_id, reason)

    def reason(self, device_id: str) -> str | None:
        """Return why a device is in quarantine, or None if it is not."""
        return self._reasons.get(device_id)

    def __iter__(self) -> Iterator[tuple[str, str]]:
        """Iterate over the devices and the reasons, in the order in which they came."""
        return iter(self._reasons.items())
