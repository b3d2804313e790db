"""The decisions of the scheduler, on workers that do what those of pytest-xdist do."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Sequence, Set

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from pytest_amdgpu.plugin.workers.schedule_parts import End, Send, Task
from pytest_amdgpu.plugin.workers.scheduling import Schedule

NO_DEVICE = Task()
DEVICES = ("a0", "a1", "a2", "b0", "b1")
HOSTS = ("a", "b")


def on(*devices: str) -> Task:
    return Task(devices, devices[0][0])


class Worker:
    """Has a queue, of which the first test runs as soon as there is a second one or an end to it."""

    def __init__(self, host: str) -> None:
        self.host = host
        self.queue: deque[int] = deque()
        self.ended = False
        self.begun = False

    @property
    def runs(self) -> bool:
        return len(self.queue) > 1 or (self.ended and bool(self.queue))


class Run:
    """A schedule, workers that obey it, and what became of each test."""

    def __init__(self, tasks: Sequence[Task], workers: Sequence[str], exclusive: Set[str] = frozenset()):
        self.tasks, self.exclusive = tasks, exclusive
        self.schedule = Schedule(tasks, exclusive)
        self.workers: dict[str, Worker] = {}
        self.results: Counter[int] = Counter()
        self.ran_on: dict[int, str] = {}
        self.moves = 0
        self.withdrawn: set[str] = set()
        self.names = (f"w{number}" for number in range(1 << 30))
        for host in workers:
            self.add(host)
        self.obey()

    def add(self, host: str) -> str:
        name = next(self.names)
        self.workers[name] = Worker(host)
        self.schedule.join(name, host)
        return name

    def obey(self) -> None:
        self.withdraw(self.withdrawn)
        for order in self.schedule.plan():
            worker = self.workers[order.worker]
            assert not worker.ended
            match order:
                case End():
                    worker.ended = True
                case Send(items=items):
                    assert items
                    assert not any(self.withdrawn & {*self.tasks[index].devices} for index in items)
                    worker.queue.extend(items)
                    self.moves += 1
        self.check()

    def check(self) -> None:
        """No exclusive device is used by two workers, whatever the time at which each runs its tests."""
        users: Counter[str] = Counter()
        for worker in self.workers.values():
            users.update({device for index in worker.queue for device in self.tasks[index].devices})
            for index in worker.queue:
                assert self.tasks[index].host in (None, worker.host)
        assert all(users[device] <= 1 for device in self.exclusive)

    def running(self) -> list[str]:
        return [name for name, worker in self.workers.items() if worker.runs]

    def begin(self, name: str) -> None:
        worker = self.workers[name]
        if not worker.begun:
            worker.begun = True
            self.schedule.begin(worker.queue[0])

    def complete(self, name: str, seconds: float = 1.0) -> None:
        worker = self.workers[name]
        self.begin(name)
        index = worker.queue.popleft()
        worker.begun = False
        self.results[index] += 1
        self.ran_on[index] = name
        self.schedule.report(index)
        self.schedule.complete(name, index, seconds)
        self.obey()

    def die(self, name: str, *, when: str, replaced: bool = True) -> int | None:
        """End a worker: before or while its next test runs, or when that is over but not yet complete."""
        worker = self.workers[name]
        if worker.runs and when != "before":
            self.begin(name)
            if when == "after":
                self.results[worker.queue[0]] += 1
                self.schedule.report(worker.queue[0])
        culprit = self.schedule.leave(name)
        del self.workers[name]
        if culprit is not None:
            self.results[culprit] += 1
        if replaced:
            self.add(worker.host)
        self.obey()
        return culprit

    def withdraw(self, devices: Iterable[str]) -> None:
        """Let no worker be sent tests of these devices; they have a result."""
        self.withdrawn = {*devices}
        for device in devices:
            self.results.update(self.schedule.withdraw(device))

    def go_on(self) -> None:
        """Run what there is to run; worker by worker, so that they come far apart."""
        while running := self.running():
            self.complete(running[0])

    def is_over(self) -> bool:
        return self.schedule.finished and not self.running()


def durations() -> st.SearchStrategy[float]:
    return st.sampled_from([0.0001, 0.01, 1.0, 100.0])


@st.composite
def tasks(draw: st.DrawFn) -> list[Task]:
    single = st.sampled_from([NO_DEVICE, *(on(device) for device in DEVICES)])
    groups = st.sampled_from(
        [on("a0", "a1"), on("a1", "a2"), on("a0", "a2"), on("b0", "b1"), on("a0", "a1", "a2")]
    )
    chosen = draw(st.lists(st.one_of(single, groups), max_size=40))
    return draw(st.sampled_from([chosen, sorted(chosen, key=str)]))


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    tasks=tasks(),
    workers=st.lists(st.sampled_from(HOSTS), max_size=4),
    exclusive=st.sets(st.sampled_from(DEVICES)),
    events=st.lists(
        st.tuples(
            st.integers(0, 9), st.sampled_from(["ok"] * 5 + ["before", "during", "after"]), durations()
        ),
        max_size=60,
    ),
)
def test_every_test_has_one_result_whatever_happens(
    tasks: list[Task], workers: list[str], exclusive: set[str], events: list[tuple[int, str, float]]
) -> None:
    run = Run(tasks, [*HOSTS, *workers], exclusive)
    for number, event, seconds in events:
        names = run.running() if event == "ok" else list(run.workers)
        if names:
            name = names[number % len(names)]
            if event == "ok":
                run.complete(name, seconds)
            else:
                run.die(name, when=event)
    run.go_on()
    assert run.is_over()
    assert run.schedule.left() == []
    assert run.results == Counter(range(len(tasks)))


@settings(max_examples=100, deadline=None)
@given(tasks=tasks(), exclusive=st.sets(st.sampled_from(DEVICES)), count=st.integers(0, 20))
def test_tests_of_a_withdrawn_device_are_neither_run_nor_lost(
    tasks: list[Task], exclusive: set[str], count: int
) -> None:
    run = Run(tasks, ["a", "b", "a"], exclusive)
    for _ in range(count):
        if running := run.running():
            run.complete(running[-1])
    sent = {index for worker in run.workers.values() for index in worker.queue}
    withdrawn = run.schedule.withdraw("a0")
    assert all("a0" in tasks[index].devices for index in withdrawn)
    assert not sent & {*withdrawn}
    run.results.update(withdrawn)
    run.obey()
    run.go_on()
    assert run.is_over()
    assert run.results == Counter(range(len(tasks)))


class Events(RuleBasedStateMachine):
    """A run in which workers die and leave at any moment, are replaced late, and devices are quarantined.

    A worker that runs a test again which another one died of is one that comes late, or dies before it comes.
    """

    @initialize(
        tasks=tasks(),
        workers=st.lists(st.sampled_from(HOSTS), max_size=4),
        exclusive=st.sets(st.sampled_from(DEVICES)),
    )
    def begin(self, tasks: list[Task], workers: list[str], exclusive: set[str]) -> None:
        self.run = Run(tasks, [*HOSTS, *workers], exclusive)
        self.absent: list[str] = []
        """The hosts of workers that are to come."""
        self.withdrawn: set[str] = set()

    @precondition(lambda self: self.run.running())
    @rule(number=st.integers(0, 9), seconds=durations())
    def complete(self, number: int, seconds: float) -> None:
        names = self.run.running()
        self.run.complete(names[number % len(names)], seconds)

    @precondition(lambda self: self.run.running())
    @rule(number=st.integers(0, 9))
    def begin_a_test(self, number: int) -> None:
        names = self.run.running()
        self.run.begin(names[number % len(names)])

    @precondition(lambda self: self.run.workers)
    @rule(number=st.integers(0, 9), when=st.sampled_from(["before", "during", "after"]))
    def die(self, number: int, when: str) -> None:
        names = list(self.run.workers)
        name = names[number % len(names)]
        self.absent.append(self.run.workers[name].host)
        self.run.die(name, when=when, replaced=False)

    @precondition(lambda self: any(not one.begun for one in self.run.workers.values()))
    @rule(number=st.integers(0, 9))
    def leave(self, number: int) -> None:
        names = [name for name, worker in self.run.workers.items() if not worker.begun]
        name = names[number % len(names)]
        self.absent.append(self.run.workers[name].host)
        assert self.run.schedule.leave(name, willingly=True) is None
        del self.run.workers[name]
        self.run.obey()

    @precondition(lambda self: self.absent)
    @rule()
    def come(self) -> None:
        self.run.add(self.absent.pop(0))
        self.run.obey()

    @rule(device=st.sampled_from(DEVICES))
    def withdraw(self, device: str) -> None:
        self.withdrawn.add(device)
        self.run.withdraw(self.withdrawn)
        self.run.obey()

    @invariant()
    def no_test_has_two_results(self) -> None:
        if hasattr(self, "run"):
            assert all(count == 1 for count in self.run.results.values())
            left = {*range(len(self.run.tasks))} - {*self.run.results}
            assert left == {*self.run.schedule.left()}

    def teardown(self) -> None:
        if not hasattr(self, "run"):
            return
        while self.absent:
            self.come()
        # As the controller does before each decision.
        self.run.withdraw(self.withdrawn)
        self.run.obey()
        self.run.go_on()
        assert self.run.is_over()
        assert self.run.schedule.left() == []
        assert self.run.results == Counter(range(len(self.run.tasks)))


TestEvents = Events.TestCase
TestEvents.settings = settings(max_examples=100, stateful_step_count=60, deadline=None)


def test_a_device_stays_with_one_worker_and_no_two_workers_open_it() -> None:
    run = Run([on("a0")] * 30 + [on("a1")] * 30, ["a", "a"], {"a0", "a1"})
    run.go_on()
    assert len({run.ran_on[index] for index in range(30)}) == 1
    assert len({run.ran_on[index] for index in range(30, 60)}) == 1


def test_many_short_tests_take_few_moves() -> None:
    run = Run([on("a0")] * 1000 + [on("a1")] * 1000, ["a", "a"])
    while running := run.running():
        run.complete(running[len(run.results) % len(running)], 0.0001)
    assert run.moves < 100


def test_long_tests_are_not_sent_before_they_are_needed() -> None:
    run = Run([on("a0")] * 20, ["a"])
    for _ in range(10):
        run.complete("w0", 10.0)
        assert len(run.workers["w0"].queue) == 2


def test_a_device_of_everybody_is_divided_when_nothing_else_is_left() -> None:
    run = Run([on("a0")] * 40, ["a", "a"])
    for _ in range(20):
        for name in run.running():
            run.complete(name)
    assert Counter(run.ran_on.values()) == {"w0": 20, "w1": 20}
    # Neighbours stay together: fixtures of modules are set up once.
    assert {run.ran_on[index] for index in range(20)} == {"w0"}


def test_few_tests_go_to_all_workers() -> None:
    run = Run([on("a0")] * 4, ["a", "a"])
    assert [len(worker.queue) for worker in run.workers.values()] == [2, 2]


@pytest.mark.parametrize("count", range(8))
@pytest.mark.parametrize("workers", [1, 2, 3])
def test_any_number_of_tests_without_devices_is_run(count: int, workers: int) -> None:
    run = Run([NO_DEVICE] * count, ["a"] * workers)
    run.go_on()
    assert run.results == Counter(range(count))
    assert run.is_over()


def test_the_tests_of_several_devices_run_at_the_same_time_where_they_can() -> None:
    pairs = [on("a0", "a1"), on("b0", "b1")]
    singles = [on(device) for device in ("a0", "a1", "b0", "b1")]
    everywhere = [Task(task.devices) for task in singles * 2 + pairs * 3]
    run = Run(everywhere, ["x"] * 4, {*DEVICES})
    together = 0
    while running := run.running():
        heads = [everywhere[run.workers[name].queue[0]].devices for name in running]
        together += sum(len(devices) == 2 for devices in heads) == 2
        for name in running:
            run.complete(name)
    assert together >= 3
    assert run.is_over()


def test_tests_without_devices_are_run_while_devices_are_in_use() -> None:
    run = Run([on("a0")] * 10 + [NO_DEVICE] * 10, ["a", "a"], {"a0"})
    assert {run.tasks[run.workers["w0"].queue[0]], run.tasks[run.workers["w1"].queue[0]]} == {
        on("a0"),
        NO_DEVICE,
    }


def test_a_worker_that_can_get_nothing_more_is_not_kept_waiting() -> None:
    """It would not run its last test before it knows the next one."""
    run = Run([on("a0")] * 10 + [on("a1")], ["a", "a"], {"a0", "a1"})
    (name,) = (name for name, worker in run.workers.items() if list(worker.queue) == [10])
    assert run.workers[name].ended


def test_the_test_that_a_worker_died_of_is_told_once_and_not_run_again() -> None:
    run = Run([NO_DEVICE] * 4, ["a"])
    run.begin("w0")
    assert run.die("w0", when="during") == 0
    run.go_on()
    assert run.results == Counter(range(4))
    assert 0 not in run.ran_on


def test_a_worker_that_dies_between_tests_blames_none_the_first_time() -> None:
    run = Run([NO_DEVICE] * 4, ["a"])
    assert run.die("w0", when="before") is None
    assert run.die("w1", when="before") == 0
    assert run.die("w2", when="before") is None


def test_a_worker_that_leaves_of_its_own_accord_blames_none_however_often() -> None:
    run = Run([NO_DEVICE] * 4, ["a"])
    for number in range(5):
        assert run.schedule.leave(f"w{number}", willingly=True) is None
        del run.workers[f"w{number}"]
        run.add("a")
        run.obey()
    run.go_on()
    assert run.results == Counter(range(4))


def test_a_test_that_is_to_run_again_does() -> None:
    run = Run([NO_DEVICE] * 2, ["a"])
    run.begin("w0")
    assert run.schedule.leave("w0") == 0
    run.schedule.again(0)
    del run.workers["w0"]
    run.add("a")
    run.obey()
    run.go_on()
    assert run.results == Counter(range(2))


def test_no_more_is_sent_than_the_limit_allows() -> None:
    schedule = Schedule([NO_DEVICE] * 20, most_ahead=0)
    schedule.join("w0")
    (order,) = schedule.plan()
    assert order == Send("w0", (0, 1))
    schedule.complete("w0", 0, 0.0)
    assert schedule.plan() == [Send("w0", (2,))]
