"""Evidence of processes that are late: when it is gathered, and what was seen at last."""

from __future__ import annotations

import selectors
from collections.abc import Callable
from typing import TYPE_CHECKING

from pytest_amdgpu.supervisor.protocol import shortened
from pytest_amdgpu.supervisor.watch import Watched

if TYPE_CHECKING:
    from pytest_amdgpu.supervisor.evidence import Look

QUEUES = "queues:"
"""Title of the last section of the evidence."""
_LIMIT = 24000
"""Characters of evidence, which mostly fit into a packet."""


class Looks:
    """What is seen of each process, by its name."""

    def __init__(self, selector: selectors.BaseSelector, seen: Callable[[str], None]) -> None:
        """`seen` is called with the name of a process of which all is gathered; `selector` is the loop's."""
        self._selector = selector
        self._seen = seen
        self._looks: dict[str, Look] = {}
        self._stuck: list[Look] = []
        self._evidence: dict[str, str] = {}

    def begin(self, process: Watched, stacks: str) -> None:
        """Begin to gather; `stacks` is the file of faulthandler, or empty."""
        from pytest_amdgpu.supervisor.evidence import Look, sections

        try:
            look = Look(lambda: sections(process, stacks))
        except OSError as error:
            self._evidence[process.name] = f"no evidence could be gathered: {error}"
            self._seen(process.name)
            return
        self._looks[process.name] = look
        self._selector.register(look.fd, selectors.EVENT_READ, lambda _: self._read(process, look))

    def end(self, process: Watched) -> str:
        """Gather no more; return what was seen of the process at last."""
        look = self._looks.pop(process.name, None)
        if look is not None:
            look.read()
            self._selector.unregister(look.fd)
            look.close()
            self._stuck.append(look)
            before, seen = self.text(process), look.text.rstrip()
            if QUEUES in before and QUEUES not in seen:
                # There was no time for all of it again.
                seen = f"{seen}\n{before[before.index(QUEUES) :]}"
            self._evidence[process.name] = shortened(seen, _LIMIT)
        return self.text(process)

    def text(self, process: Watched) -> str:
        """Return what was seen of a process, as far as that has ended."""
        return self._evidence.get(process.name, "")

    def forget(self, process: Watched) -> None:
        """What was seen before belongs to another test."""
        self._evidence.pop(process.name, None)

    def reap(self) -> None:
        """Take note of children that have died; those that hang are never waited for."""
        self._stuck = [look for look in self._stuck if not look.reap()]

    def _read(self, process: Watched, look: Look) -> None:
        if not look.read():
            self.end(process)
            self._seen(process.name)
