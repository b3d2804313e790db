"""The scheduler that pytest-xdist is given: tells workers what `Schedule` decides."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence, Set
from typing import TYPE_CHECKING

import pytest
from xdist.report import report_collection_diff
from xdist.workermanage import parse_tx_spec_config

from pytest_amdgpu.plugin.workers.schedule_parts import End, Send, Task
from pytest_amdgpu.plugin.workers.scheduling import Schedule

if TYPE_CHECKING:
    from xdist.remote import Producer
    from xdist.workermanage import WorkerController


class DeviceScheduling:
    """Gives each device's tests to one worker, in the protocol of xdist/scheduler/protocol.py.

    `need` tells what a test needs, `host` where a worker is; `exclusive` are devices for one worker at a
    time. `before` is called before each decision, so that tests can be withdrawn first.
    """

    def __init__(
        self,
        config: pytest.Config,
        log: Producer,
        need: Callable[[str], Task],
        host: Callable[[WorkerController], str],
        exclusive: Set[str],
        before: Callable[[DeviceScheduling], None],
    ) -> None:
        self.config, self._log = config, log
        self._need, self._host, self._exclusive, self._before = need, host, exclusive, before
        self._expected = len(parse_tx_spec_config(config))
        self._nodes: dict[WorkerController, list[str] | None] = {}
        """Each worker, and the ids of the tests that it has collected."""
        self._left_early = 0
        """Workers that ended before there were tests for them: of the files that they were asked for one is
        not there, and those that are still collecting will find the same."""
        self._schedule: Schedule | None = None
        self.ids: list[str] = []
        """The tests of the run, as soon as a worker has collected them."""

    @property
    def nodes(self) -> list[WorkerController]:
        """The workers that there are now."""
        return list(self._nodes)

    def has_collected(self, node: WorkerController) -> bool:
        """Whether a worker that there is now has told which tests it has."""
        return self._nodes.get(node) is not None

    @property
    def collection_is_completed(self) -> bool:
        """Whether all workers of the beginning know the tests."""
        collected = sum(ids is not None for ids in self._nodes.values()) + self._left_early
        return self._schedule is not None or collected >= self._expected

    @property
    def tests_finished(self) -> bool:
        """Whether workers have been told all that there is to tell, or none is left that could be told."""
        if self._schedule is None:
            return False
        unlike = bool(self._nodes) and all(
            ids is None and node.shutting_down for node, ids in self._nodes.items()
        )
        return self._schedule.finished or unlike

    @property
    def has_pending(self) -> bool:
        """Whether tests are being run."""
        return self._schedule is not None and bool(self._schedule.left())

    @property
    def is_stranded(self) -> bool:
        """Whether another worker, wherever it is, could run what is left, and there is none."""
        return self._schedule is not None and self._schedule.stranded

    def left(self) -> list[str]:
        """Return the tests without a report."""
        return self.ids if self._schedule is None else [self.ids[index] for index in self._schedule.left()]

    def running(self, node: WorkerController) -> str | None:
        """Return the test that a worker has begun, if it is known to have begun one."""
        if self._schedule is None or self._nodes.get(node) is None:
            return None
        index = self._schedule.running(node.gateway.id)
        return None if index is None else self.ids[index]

    def add_node(self, node: WorkerController) -> None:
        """Have a worker that has begun to collect."""
        self._nodes[node] = None

    def add_node_collection(self, node: WorkerController, collection: Sequence[str]) -> None:
        """Know what a worker has collected; one that replaces another must have found the same."""
        ids = list(collection)
        if self._schedule is None:
            self.ids = self.ids or ids
        elif ids != self.ids:
            self._tell_difference("the workers before it", ids, node)
            node.shutdown()
            return
        else:
            self._schedule.join(node.gateway.id, self._host(node))
        self._nodes[node] = ids

    def schedule(self) -> None:
        """Let all workers that know the tests run some, the first time and after each new worker."""
        if self._schedule is None:
            (first, self.ids), *others = [(node, ids) for node, ids in self._nodes.items() if ids is not None]
            unlike = [(node, ids) for node, ids in others if ids != self.ids]
            for node, ids in unlike:
                self._tell_difference(first.gateway.id, ids, node)
            most: int | None = self.config.getoption("maxschedchunk")
            tasks = [] if unlike else [self._need(node_id) for node_id in self.ids]
            # A worker runs nothing of which it does not have the next one.
            self._schedule = Schedule(tasks, self._exclusive, None if most is None else most - 1)
            for node, collected in self._nodes.items():
                if collected is not None:
                    self._schedule.join(node.gateway.id, self._host(node))
        self._go_on()

    def expect_fewer(self) -> None:
        """Know that a worker that has ended is not replaced."""
        self._expected -= 1
        if self._schedule is not None:
            self._go_on()
        elif self.collection_is_completed and any(ids is not None for ids in self._nodes.values()):
            self.schedule()

    def mark_test_begun(self, node_id: str) -> None:
        """Know that some worker has begun a test."""
        if (index := self._first_of_worker(node_id)) is not None and self._schedule is not None:
            self._schedule.begin(index)

    def mark_test_reported(self, node_id: str) -> None:
        """Know that all reports of a test are there."""
        if (index := self._first_of_worker(node_id)) is not None and self._schedule is not None:
            self._schedule.report(index)

    def mark_test_complete(self, node: WorkerController, item_index: int, duration: float = 0) -> None:
        """Know that a worker has run a test."""
        if self._schedule is not None:
            self._schedule.complete(node.gateway.id, item_index, duration)
            self._go_on()

    def mark_test_pending(self, item: str) -> None:
        """Let a test run again."""
        if self._schedule is not None:
            self._schedule.again(self.ids.index(item))
            self._go_on()

    def withdraw(self, device: str) -> list[str]:
        """Send no more tests of a device to workers; return the ids of those that are thereby done."""
        if self._schedule is None:
            return []
        return [self.ids[index] for index in self._schedule.withdraw(device)]

    def remove_pending_tests_from_node(self, node: WorkerController, indices: Sequence[int]) -> None:
        """Not called: pytest-xdist does it when a worker has obeyed `steal`, which is never sent here."""
        raise NotImplementedError(f"{node} gives back tests {list(indices)}, which nobody asked it for")

    def remove_node(self, node: WorkerController) -> str | None:
        """Have a worker no more; return the test that it died of."""
        collected = self._nodes.pop(node) is not None
        if not collected or self._schedule is None:
            self._left_early += collected
            return None
        culprit = self._schedule.leave(node.gateway.id)
        self._go_on()
        return None if culprit is None else self.ids[culprit]

    def let_go(self, node: WorkerController) -> bool:
        """Have a worker no more that left of its own accord; return whether tests are left."""
        if self._nodes.pop(node, None) is not None and self._schedule is not None:
            self._schedule.leave(node.gateway.id, willingly=True)
            self._go_on()
        return self._schedule is not None and bool(self._schedule.left())

    def _first_of_worker(self, node_id: str) -> int | None:
        """Return the test of this id that is the first one of a worker."""
        if self._schedule is not None:
            for node, ids in self._nodes.items():
                index = None if ids is None else self._schedule.next_of(node.gateway.id)
                if index is not None and self.ids[index] == node_id:
                    return index
        return None

    def _go_on(self) -> None:
        """Send tests to workers that need some, and end those that there will be none for."""
        assert self._schedule is not None
        self._before(self)
        nodes = {node.gateway.id: node for node, ids in self._nodes.items() if ids is not None}
        for name, node in nodes.items():
            if node.shutting_down:
                self._schedule.end(name)
        for order in self._schedule.plan():
            self._log("telling", order)
            match order:
                case Send(worker, items):
                    _send(nodes[worker], items)
                case End(worker):
                    nodes[worker].shutdown()

    def _tell_difference(self, name: str, ids: Iterable[str], node: WorkerController) -> None:
        """Let the run fail because a worker has found other tests."""
        text = report_collection_diff(self.ids, list(ids), name, node.gateway.id)
        report = pytest.CollectReport(
            nodeid=node.gateway.id, outcome="failed", longrepr=text or "other tests", result=[]
        )
        self.config.hook.pytest_collectreport(report=report)


def _send(node: WorkerController, items: Sequence[int]) -> None:
    # One that has died, which pytest-xdist is about to learn: what it has is given to others then.
    with contextlib.suppress(OSError):
        node.send_runtest_some(list(items))
