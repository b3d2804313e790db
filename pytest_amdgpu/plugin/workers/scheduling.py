"""Which worker gets which test, and when: decisions only, nothing of pytest-xdist.

A worker of pytest-xdist runs its first test when it knows the next one, or knows that there is none
(`WorkerInteractor.run_one_test` in xdist/remote.py). So it has at least two tests, or waits, or is ending.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence, Set

from pytest_amdgpu.plugin.workers.schedule_parts import Batch, End, Item, Order, Send, State, Task, Worker

_AHEAD = 0.1
"""Seconds of work that a worker has besides the test that it runs and the one that it knows to be next."""
_MOST_AHEAD = 64
"""Tests that a worker is sent at once; what it has it runs, also where the run is to stop."""
_NEWEST = 0.25
"""Share of the newest test in what is held to be the duration of the next one."""


class Schedule:
    """The tests of a run, and the workers that it has now.

    Devices of `exclusive` are used by one worker at a time; the tests of any other device may be divided.
    `most_ahead` limits how many tests a worker is sent beyond those that it needs.
    """

    def __init__(
        self, tasks: Sequence[Task], exclusive: Set[str] = frozenset(), most_ahead: int | None = None
    ) -> None:
        self._items = [Item(task) for task in tasks]
        self._exclusive = exclusive
        self._most_ahead = _MOST_AHEAD if most_ahead is None else max(0, most_ahead)
        self._workers: dict[str, Worker] = {}
        self._batches: list[Batch] = []
        for index in range(len(tasks)):
            self._put_back([index], at_end=True)

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to tell any worker."""
        return not self._batches and all(worker.ending for worker in self._workers.values())

    @property
    def stranded(self) -> bool:
        """Whether tests are left that a worker on any host could run, and no worker takes any."""
        return any(batch.task.host is None for batch in self._batches) and not any(self._active())

    def left(self) -> list[int]:
        """Return the tests of which there is no report yet."""
        return [index for index, item in enumerate(self._items) if item.state is not State.DONE]

    def running(self, worker: str) -> int | None:
        """Return the test that a worker has begun and not ended."""
        queue = self._workers[worker].queue
        return next((index for index in queue if self._items[index].state is State.RUNNING), None)

    def next_of(self, worker: str) -> int | None:
        """Return the first test that a worker has, whether it has begun it or not."""
        queue = self._workers[worker].queue
        return queue[0] if queue else None

    def join(self, worker: str, host: str = "") -> None:
        """Have one more worker."""
        self._workers[worker] = Worker(worker, host)

    def end(self, worker: str) -> None:
        """Know that a worker takes no more tests."""
        self._workers[worker].ending = True

    def leave(self, worker: str, *, willingly: bool = False) -> int | None:
        """Have a worker no more; its tests become others'. Return the test that it died of, which is done.

        That is the one it had begun. If it had begun none, nobody is to blame; but a test that was next when
        a second worker died is, or else a run could lose workers to it for ever. One that left `willingly`,
        between two tests, died of none.
        """
        gone = self._workers.pop(worker)
        for batch in self._batches:
            if batch.worker == worker:
                batch.worker = None
        rest = [index for index in gone.queue if self._items[index].state is not State.DONE]
        culprit = None
        if rest and not willingly:
            first = self._items[rest[0]]
            first.deaths += 1
            if first.state is State.RUNNING or first.deaths > 1:
                first.state = State.DONE
                culprit = rest.pop(0)
        self._put_back(rest)
        return culprit

    def begin(self, index: int) -> None:
        """Know that a worker runs a test."""
        self._items[index].state = State.RUNNING

    def report(self, index: int) -> None:
        """Know that all reports of a test are there, although its worker may still be at it."""
        self._items[index].state = State.DONE

    def complete(self, worker: str, index: int, seconds: float) -> None:
        """Know that a worker is done with a test, and how long it took."""
        done_by = self._workers[worker]
        done_by.queue.remove(index)
        self._items[index].state = State.DONE
        before = seconds if done_by.seconds is None else done_by.seconds
        done_by.seconds = before + _NEWEST * (seconds - before)

    def again(self, index: int) -> None:
        """Let a test run once more."""
        self._put_back([index])

    def withdraw(self, device: str) -> list[int]:
        """Let no worker be sent further tests of a device; return those tests, which are done."""
        gone: list[int] = []
        for batch in self._batches:
            if device in batch.task.devices:
                gone += batch.items
                batch.items.clear()
        self._batches = [batch for batch in self._batches if batch.items]
        for index in gone:
            self._items[index].state = State.DONE
        return gone

    def plan(self) -> list[Order]:
        """Decide what workers are to be told now."""
        # Who has least comes first; all claim before any is sent something, so that few are shared, too.
        workers = sorted(self._active(), key=lambda worker: len(worker.queue))
        orders: list[Order] = []
        progress = True
        while progress:
            claimed = [self._claim(worker) for worker in workers]
            sent = [order for worker in workers if (order := self._send(worker)) is not None]
            orders += sent
            progress = any(claimed) and bool(sent)
        return [*orders, *self._end_workers()]

    def _active(self) -> Iterator[Worker]:
        return (worker for worker in self._workers.values() if not worker.ending)

    def _claim(self, worker: Worker) -> bool:
        """Give a worker a batch, if it has none and needs one."""
        if self._missing(worker) == 0 or self._batch_of(worker) is not None:
            return False
        # What others could do as well comes last: it is what there is to do while devices are in use. Of the
        # rest what needs fewest devices first, and of that what takes longest.
        free = [batch for batch in self._batches if batch.worker is None and self._may_have(worker, batch)]
        batch = min(free, key=_rank, default=None) or self._split(worker)
        if batch is None:
            return False
        batch.worker = worker.name
        return True

    def _split(self, worker: Worker) -> Batch | None:
        """Take the second half of the largest batch that another worker has."""
        shared = [
            batch
            for batch in self._batches
            if batch.worker is not None
            and self._may_have(worker, batch)
            and (len(batch.items) > 1 or len(self._workers[batch.worker].queue) > 1)
        ]
        largest = max(shared, key=lambda batch: len(batch.items), default=None)
        if largest is None:
            return None
        if len(largest.items) == 1:
            return largest
        half = [largest.items.pop() for _ in range(len(largest.items) // 2)]
        batch = Batch(largest.task, deque(reversed(half)))
        self._batches.append(batch)
        return batch

    def _send(self, worker: Worker) -> Send | None:
        """Send a worker tests of its batch."""
        batch, missing = self._batch_of(worker), self._missing(worker)
        if batch is None or missing == 0:
            return None
        items = [batch.items.popleft() for _ in range(min(missing, len(batch.items)))]
        if not batch.items:
            self._batches.remove(batch)
        worker.queue.extend(items)
        for index in items:
            self._items[index].state = State.SENT
        return Send(worker.name, tuple(items))

    def _missing(self, worker: Worker) -> int:
        """How many tests a worker should be sent: none unless its queue is half empty."""
        ahead = self._most_ahead
        if worker.seconds is None:
            # Nothing is known; its tests may be long ones that others should run.
            ahead = 0
        elif worker.seconds * ahead > _AHEAD:
            ahead = int(_AHEAD / worker.seconds)
        has, wanted = len(worker.queue), 2 + ahead
        return wanted - has if has < 2 + ahead // 2 else 0

    def _end_workers(self) -> Iterator[End]:
        """End workers for whom there will be nothing more, and some that keep devices from others.

        Where tests of several devices need those of several waiting workers, one of these will run them; the
        others end, for they wait for a next test that could only be that one.
        """
        for worker in self._active():
            if not any(self._may_come_to_have(worker, batch) for batch in self._batches):
                worker.ending = True
                yield End(worker.name)
        for batch in self._batches:
            if batch.worker is None and (needed := self._exclusive & {*batch.task.devices}):
                holders = [one for one in self._workers.values() if needed & self._held(one)]
                if len(holders) > 1 and all(holder.waits for holder in holders):
                    for holder in holders[1:]:
                        holder.ending = True
                        yield End(holder.name)

    def _may_come_to_have(self, worker: Worker, batch: Batch) -> bool:
        """Whether some of a batch may become a worker's, now or when others are done with its devices."""
        divisible = batch.worker in (None, worker.name) or not self._exclusive & {*batch.task.devices}
        return divisible and batch.task.host in (None, worker.host)

    def _may_have(self, worker: Worker, batch: Batch) -> bool:
        """Whether a worker is on the right host, and no other one has a device of the batch for itself."""
        if batch.task.host not in (None, worker.host):
            return False
        needed = self._exclusive & {*batch.task.devices}
        if not needed:
            return True
        others = (other for other in self._workers.values() if other is not worker)
        return not any(needed & self._held(other) for other in others)

    def _held(self, worker: Worker) -> Set[str]:
        """The exclusive devices of what a worker has or will be sent."""
        batch = self._batch_of(worker)
        devices = {device for index in worker.queue for device in self._items[index].task.devices}
        return self._exclusive & (devices.union(batch.task.devices) if batch else devices)

    def _batch_of(self, worker: Worker) -> Batch | None:
        return next((batch for batch in self._batches if batch.worker == worker.name), None)

    def _put_back(self, indices: Sequence[int], *, at_end: bool = False) -> None:
        """Make tests pending, before or behind the others of their batch."""
        for index in indices if at_end else reversed(indices):
            item = self._items[index]
            item.state = State.PENDING
            same = (one for one in self._batches if one.worker is None and one.task == item.task)
            batch = next(same, None)
            if batch is None:
                self._batches.append(Batch(item.task, deque([index])))
            elif at_end:
                batch.items.append(index)
            else:
                batch.items.appendleft(index)


def _rank(batch: Batch) -> tuple[bool, int, int]:
    return not batch.task.devices, len(batch.task.devices), -len(batch.items)
