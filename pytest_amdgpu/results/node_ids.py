"""Which devices a test runs on, as far as its id tells: of other processes' tests nothing else is known."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable


class DeviceIds:
    """Finds ids of devices among the parameters of tests."""

    def __init__(self, device_ids: Iterable[str]) -> None:
        # The longest first: one can begin as another one does.
        one = "|".join(map(re.escape, sorted(device_ids, key=len, reverse=True))) or r"(?!)"
        self._pattern = re.compile(rf"(?<=[\[+-])(?:{one})(?=[\]+-])")

    def found_in(self, node_id: str) -> tuple[str, ...]:
        """Return the devices of a test in the order in which its id has them, each once."""
        start = parameters_start(node_id)
        return tuple(dict.fromkeys(self._pattern.findall(node_id, start))) if start >= 0 else ()

    def found_in_any(self, node_ids: Iterable[str]) -> set[str]:
        """Return the devices of tests."""
        return {device for node_id in node_ids for device in self.found_in(node_id)}


def parameters_start(node_id: str) -> int:
    """Return where the parameters of a test begin, at a bracket, or -1. Names of files may hold some, too."""
    return node_id.find("[", max(node_id.find("::"), 0))


@functools.lru_cache(maxsize=8)
def _device_ids(device_ids: tuple[str, ...]) -> DeviceIds:
    return DeviceIds(device_ids)


def devices_in(node_id: str, device_ids: Iterable[str]) -> tuple[str, ...]:
    """Return which of the devices a test runs on."""
    return _device_ids(tuple(device_ids)).found_in(node_id)
