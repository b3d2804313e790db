"""Devices that a run uses no more, because they failed in a way that tests are not to blame for."""

from __future__ import annotations

from collections.abc import Callable, Iterator


class Quarantine:
    """Ids of devices, each with the reason for which no further test runs on it."""

    def __init__(self) -> None:
        self._reasons: dict[str, str] = {}
        self.listener: Callable[[str, str], None] | None = None
        """Is told of each device that comes into quarantine, and why."""

    def add(self, device_id: str, reason: str) -> None:
        """Put a device in quarantine; the first reason stays, for what follows is often its consequence."""
        if device_id not in self._reasons:
            self._reasons[device_id] = reason
            if self.listener is not None:
                self.listener(device_id, reason)

    def reason(self, device_id: str) -> str | None:
        """Return why a device is in quarantine, or None if it is not."""
        return self._reasons.get(device_id)

    def __iter__(self) -> Iterator[tuple[str, str]]:
        """Iterate over the devices and the reasons, in the order in which they came."""
        return iter(self._reasons.items())
