"""What is done to a process that is late, and when: by a clock that the test moves."""

from __future__ import annotations

import math

import pytest

from pytest_amdgpu.supervisor.protocol import Limit
from pytest_amdgpu.supervisor.watch import UNWINDING, Watch, Watched

DEADLINE, BETWEEN = 100.0, 30.0


class Actions:
    """Notes what is done. `dies_of` is the action that ends the process."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.dies_of = ""
        self.suspended = False
        self.beat = 0.0

    def _note(self, action: str) -> None:
        self.done.append(action)

    def look(self, process: Watched) -> None:
        self._note("look")

    def interrupt(self, process: Watched) -> None:
        self._note("interrupt")

    def look_closer(self, process: Watched) -> None:
        self._note("look closer")

    def terminate(self, process: Watched) -> None:
        self._note("terminate")

    def kill(self, process: Watched) -> None:
        self._note("kill")

    def give_up(self, process: Watched) -> None:
        self._note("give up")

    def is_alive(self, process: Watched) -> bool:
        return self.dies_of not in self.done

    def last_beat(self, process: Watched) -> float:
        return self.beat

    def is_suspended(self, process: Watched) -> bool:
        return self.suspended


class Scene:
    """One process, in a test that must end at DEADLINE."""

    def __init__(self) -> None:
        self.now = 0.0
        self.actions = Actions()
        self.watch = Watch(lambda: self.now, self.actions)
        self.watch.add("gw0", 1234)
        self.begin("test_it", DEADLINE)

    def begin(self, test: str, deadline: float | None) -> None:
        limit = None if deadline is None else Limit(deadline, DEADLINE)
        self.watch.begin("gw0", test, "call", limit, ("sw-0",))

    def pass_time(self, until: float) -> None:
        """Go on in time as the supervisor does: from one moment at which something is due to the next."""
        while (wait := self.watch.poll()) is not None and self.now + wait <= until:
            self.now += wait or 1e-9
        self.now = max(self.now, until)

    def act(self, done: list[str]) -> None:
        """Let as many steps happen as `done` has."""
        while (wait := self.watch.poll()) is not None and len(self.actions.done) < len(done):
            self.now += wait or 1e-9
        assert self.actions.done == done


@pytest.fixture
def scene() -> Scene:
    return Scene()


ALL = ["look", "interrupt", "look closer", "terminate", "kill", "give up"]


def test_nothing_is_done_before_the_deadline(scene: Scene) -> None:
    assert scene.watch.poll() == DEADLINE
    scene.pass_time(DEADLINE - 0.001)
    assert scene.actions.done == []


def test_all_steps_are_done_to_a_process_that_heeds_nothing_in_time_for_the_verdict(scene: Scene) -> None:
    """That has two seconds, and pytest must still write it."""
    scene.pass_time(DEADLINE + 1.75)
    assert scene.actions.done == ALL
    assert "gw0" not in scene.watch
    assert scene.watch.poll() is None


def test_without_evidence_to_wait_for_it_is_lost_after_0_9_seconds(scene: Scene) -> None:
    scene.pass_time(DEADLINE)
    scene.watch.poll()
    scene.watch.seen("gw0")
    scene.act(ALL[:3])
    scene.watch.seen("gw0")
    scene.act(ALL)
    assert scene.now == pytest.approx(DEADLINE + 0.9, abs=0.01)


@pytest.mark.parametrize("number", range(len(ALL) - 1))
def test_a_process_that_is_dead_is_left_alone(number: int, scene: Scene) -> None:
    scene.actions.dies_of = ALL[number]
    scene.pass_time(DEADLINE + 10)
    assert scene.actions.done == ALL[: number + 1]
    assert "gw0" not in scene.watch


def test_death_is_noticed_soon_after_a_signal(scene: Scene) -> None:
    scene.act(ALL[:4])
    scene.actions.dies_of = "terminate"
    wait = scene.watch.poll()
    assert wait is None
    assert "gw0" not in scene.watch


def test_a_test_that_ends_in_time_and_the_next_one(scene: Scene) -> None:
    scene.now = DEADLINE - 1
    scene.begin("test_next", DEADLINE + 50)
    scene.pass_time(DEADLINE + 49)
    assert scene.actions.done == []
    scene.pass_time(DEADLINE + 50.1)
    assert scene.actions.done == ["look"]


def test_between_tests_nothing_is_late(scene: Scene) -> None:
    scene.watch.idle("gw0", None)
    assert scene.watch.poll() is None
    scene.pass_time(10 * DEADLINE)
    assert scene.actions.done == []


def test_a_phase_without_deadline_may_take_for_ever(scene: Scene) -> None:
    scene.begin("test_it", None)
    assert scene.watch.poll() is None


@pytest.mark.parametrize("steps", [2, 3])
def test_a_test_that_was_interrupted_has_time_to_fail(steps: int, scene: Scene) -> None:
    scene.act(ALL[:steps])
    then = scene.now
    scene.watch.caught("gw0")
    scene.pass_time(then + UNWINDING - 0.01)
    assert scene.actions.done == ALL[:steps]
    scene.begin("test_it", then + 1000)
    scene.pass_time(then + 999)
    assert scene.actions.done == ALL[:steps]


def test_a_test_that_was_interrupted_and_does_not_fail_is_killed(scene: Scene) -> None:
    scene.act(ALL[:2])
    then = scene.now
    scene.watch.caught("gw0")
    scene.pass_time(then + UNWINDING + 5)
    assert scene.actions.done == ALL


@pytest.mark.parametrize("steps", [2, 3])
def test_pytest_that_was_interrupted_between_phases_has_time_for_what_it_does(
    steps: int, scene: Scene
) -> None:
    scene.act(ALL[:steps])
    then = scene.now
    scene.actions.beat = then
    scene.watch.late("gw0", Limit(then + BETWEEN, BETWEEN))
    scene.pass_time(then + BETWEEN - 0.01)
    assert scene.actions.done == ALL[:steps]
    scene.pass_time(then + BETWEEN + 5)
    assert scene.actions.done == [*ALL[:steps], *ALL]


def test_a_process_in_no_phase_has_its_time_from_each_beat_on(scene: Scene) -> None:
    scene.watch.idle("gw0", Limit(BETWEEN, BETWEEN))
    scene.actions.beat = 2 * BETWEEN - 1
    scene.pass_time(3 * BETWEEN - 1.01)
    assert scene.actions.done == []
    scene.pass_time(3 * BETWEEN - 0.99)
    assert scene.actions.done == ["look"]


def test_a_beat_gives_a_phase_no_more_time(scene: Scene) -> None:
    scene.actions.beat = DEADLINE - 1
    scene.pass_time(DEADLINE)
    assert scene.actions.done == ["look"]


@pytest.mark.parametrize("idle", [True, False])
def test_a_process_that_rests_is_not_late_and_then_has_all_its_time(idle: bool, scene: Scene) -> None:
    if idle:
        scene.watch.idle("gw0", Limit(DEADLINE, DEADLINE))
    scene.actions.beat = math.inf
    scene.pass_time(5.5 * DEADLINE)
    assert scene.actions.done == []
    scene.actions.beat = 5.5 * DEADLINE
    scene.pass_time(5.99 * DEADLINE)
    assert scene.actions.done == []
    scene.pass_time(6.51 * DEADLINE)
    assert scene.actions.done[0] == "look"


def test_once_it_is_being_killed_nothing_it_says_counts(scene: Scene) -> None:
    scene.act(ALL[:4])
    scene.begin("test_next", DEADLINE + 1000)
    scene.watch.caught("gw0")
    scene.watch.late("gw0", None)
    assert scene.watch["gw0"].test == "test_it"
    scene.pass_time(DEADLINE + 10)
    assert scene.actions.done == ALL


def test_a_run_that_somebody_stopped_is_not_late_and_has_all_its_time_when_it_goes_on(scene: Scene) -> None:
    scene.actions.suspended = True
    scene.pass_time(2.5 * DEADLINE)
    assert scene.actions.done == []
    scene.actions.suspended = False
    scene.pass_time(2.99 * DEADLINE)
    assert scene.actions.done == []
    scene.pass_time(3.01 * DEADLINE)
    assert scene.actions.done[0] == "look"


@pytest.mark.parametrize("limit", [DEADLINE, None])
def test_when_somebody_ends_the_run_what_does_not_heed_it_is_killed_in_time(
    limit: float | None, scene: Scene
) -> None:
    """Whatever it says of further tests, and also what had all the time in the world."""
    scene.begin("test_it", limit)
    scene.now = 10.0
    scene.watch.stop("gw0", 1)
    scene.act(ALL[:1])
    scene.begin("test_next", None)
    assert scene.watch.stops
    scene.watch.seen("gw0")
    scene.pass_time(11.75)
    assert scene.actions.done == ALL
    assert not scene.watch.stops


def test_what_heeds_it_has_the_time_of_the_end_until_somebody_asks_again(scene: Scene) -> None:
    scene.watch.stop("gw0", 1)
    scene.act(ALL[:2])
    scene.watch.stopping("gw0", Limit(DEADLINE, DEADLINE))
    assert not scene.watch.stops
    # Who sees the same Ctrl-C says it again.
    scene.watch.stop("gw0", 1)
    scene.begin("the run", DEADLINE)
    scene.pass_time(DEADLINE - 1)
    assert scene.actions.done == ALL[:2]
    scene.watch.stop("gw0", 2)
    scene.pass_time(DEADLINE + 0.75)
    assert scene.actions.done == [*ALL[:2], *ALL]


def test_who_heeds_it_before_it_is_said_is_not_asked(scene: Scene) -> None:
    scene.watch.stopping("gw0", None)
    scene.watch.stop("gw0", 1)
    assert scene.watch.poll() is None


def test_one_that_is_late_stays_so_when_somebody_ends_the_run(scene: Scene) -> None:
    scene.act(ALL[:2])
    scene.watch.stop("gw0", 1)
    assert scene.watch["gw0"].limit is not None
    scene.pass_time(DEADLINE + 1.75)
    assert scene.actions.done == ALL


def test_orphans_are_terminated_when_their_time_is_over(scene: Scene) -> None:
    scene.watch.end("gw0", 3.0)
    scene.pass_time(2.99)
    assert scene.actions.done == []
    scene.pass_time(10)
    assert scene.actions.done == ALL[3:]


def test_several_processes_do_not_wait_for_each_other(scene: Scene) -> None:
    scene.watch.add("gw1", 1235)
    scene.watch.begin("gw1", "test_other", "call", Limit(DEADLINE, DEADLINE), ())
    scene.pass_time(DEADLINE + 10)
    assert sorted(scene.actions.done) == sorted(2 * ALL)
    assert scene.now == DEADLINE + 10
