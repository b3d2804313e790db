"""What changed from one run to a later one: in the results, and in the environment that they came from."""

from __future__ import annotations

import enum
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from pytest_amdgpu.results.record import Outcome, Record, Trust
from pytest_amdgpu.results.verdict import Verdict
from pytest_amdgpu.results.verdict_reader import VerdictFile

_FACTOR, _SECONDS = 2.0, 0.5
"""So many times longer (or shorter), and by so much, takes a test whose duration is told."""


_DEVICES_USED = "devices that tests ran on"


class State(enum.IntEnum):
    """What a result is worth. Of several devices of one target, the greatest counts."""

    NOT_RUN = 0
    PASS = 1
    FLAKY = 2
    KNOWN = 3
    """It failed, as was expected."""
    INFRA = 4
    MISSING = 5
    FAIL = 6
    TIMEOUT = 7
    CRASH = 8


_BAD = {
    Outcome.FAIL: State.FAIL,
    Outcome.TIMEOUT: State.TIMEOUT,
    Outcome.CRASH: State.CRASH,
    Outcome.MISSING: State.MISSING,
}
_FAILURES = frozenset({State.FAIL, State.TIMEOUT, State.CRASH})


class Change(enum.Enum):
    """What became of a test. The first ones are for the worse."""

    FAILS = "new failures"
    WORSE_FAILURE = "fail worse than before"
    INFRA = "failed for the machine's sake"
    FLAKY = "became flaky"
    KNOWN = "fail now, as expected"
    MISSING = "missing"
    NOT_RUN = "no longer run"
    OTHER_FAILURE = "fail in another way"
    FIXED = "fixed"
    NEW = "new"
    GONE = "gone, and did not run before"
    RUNS = "run now"

    @property
    def worse(self) -> bool:
        """Whether it is for the worse."""
        return self in _WORSE


_WORSE = frozenset(
    {
        Change.FAILS,
        Change.WORSE_FAILURE,
        Change.INFRA,
        Change.FLAKY,
        Change.KNOWN,
        Change.MISSING,
        Change.NOT_RUN,
    }
)


_NO_RESULT = frozenset({State.NOT_RUN, State.INFRA, State.MISSING})
_TURNED = {
    State.NOT_RUN: Change.NOT_RUN,
    State.FLAKY: Change.FLAKY,
    State.KNOWN: Change.KNOWN,
    State.INFRA: Change.INFRA,
    State.MISSING: Change.MISSING,
}


@dataclass(frozen=True, slots=True)
class Test:
    """A test on devices of some targets: what two runs are compared by."""

    name: str
    targets: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.name} on {' and '.join(self.targets)}" if self.targets else self.name


@dataclass(frozen=True, slots=True)
class Comparison:
    """All that changed. `changes` holds what to say of each test, `environment` key, old and new value."""

    verdicts: tuple[Verdict, Verdict]
    changes: Mapping[Change, Sequence[str]]
    durations: Sequence[str]
    environment: Sequence[tuple[str, str, str]]
    shortcomings: Sequence[str]

    @property
    def worse(self) -> bool:
        """Whether a result or a verdict that was good got worse, or a run cannot tell."""
        before, after = self.verdicts
        return (
            bool(self.shortcomings)
            or (before is Verdict.GOOD and after is not Verdict.GOOD)
            or any(change.worse for change in self.changes)
        )


def compare(before: VerdictFile, after: VerdictFile) -> Comparison:
    """Compare two runs. Of one that is not whole, only the results that it has are compared."""
    old, new = _grouped(before), _grouped(after)
    changes: dict[Change, list[str]] = defaultdict(list)
    durations = []
    for test in sorted({*old, *new}, key=str):
        if test not in old:
            if not before.shortcoming:
                state, text = _state(new[test])
                change = _change(State.NOT_RUN, state)
                changes[change if change and change.worse else Change.NEW].append(f"{test}: {text}")
        elif test not in new:
            # A run that was cut off may have had a result.
            if not after.shortcoming:
                state, text = _state(old[test])
                changes[Change.GONE if state is State.NOT_RUN else Change.MISSING].append(
                    f"{test}: was {text}"
                )
        else:
            (was, was_text), (state, text) = _state(old[test]), _state(new[test])
            if change := _change(was, state):
                changes[change].append(f"{test}: {was_text} -> {text}")
            elif state is State.PASS and (line := _duration(old[test], new[test])):
                durations.append(f"{test}: {line}")
    return Comparison(
        (before.verdict, after.verdict),
        {change: changes[change] for change in Change if change in changes},
        durations,
        list(_environment(before, after)),
        [file.shortcoming for file in (before, after) if file.shortcoming],
    )


def _grouped(file: VerdictFile) -> dict[Test, list[Record]]:
    tests = defaultdict(list)
    for record in file.records:
        targets = tuple(file.targets.get(device, device) for device in record.devices)
        tests[Test(record.name, targets)].append(record)
    return tests


def _state(records: Sequence[Record]) -> tuple[State, str]:
    """Return the worst state of a test on devices of one target, and its words."""
    state, record = max(((state_of(record), record) for record in records), key=lambda pair: pair[0])
    words = [record.outcome.value]
    if record.trust is not Trust.CLEAN:
        words.append(record.trust.value)
    if record.expected:
        # Of an expectation file it begins like that already.
        words.append(f"expected: {record.expected.removeprefix('expected: ')}")
    if record.blame:
        words.append(record.blame_text)
    if record.outcome.bad and record.text:
        words.append(record.text)
    return state, ", ".join(words)


def state_of(record: Record) -> State:
    """Return what a result is worth."""
    if record.trust is Trust.INFRA and record.outcome.bad:
        return State.INFRA
    if record.trust is Trust.FLAKY and record.outcome.ran:
        return State.FLAKY
    if record.outcome.bad:
        return State.KNOWN if record.expected else _BAD[record.outcome]
    return State.PASS if record.outcome is Outcome.PASS else State.NOT_RUN


def _change(was: State, state: State) -> Change | None:
    if was is state:
        return None
    if state in _FAILURES:
        if was not in _FAILURES:
            return Change.FAILS
        return Change.OTHER_FAILURE if state is State.FAIL else Change.WORSE_FAILURE
    if state in (State.PASS, State.FLAKY, State.KNOWN) and was in _NO_RESULT:
        return Change.FIXED if was in (State.INFRA, State.MISSING) and state is State.PASS else Change.RUNS
    if state is State.PASS:
        return Change.FIXED
    if state in (State.FLAKY, State.KNOWN) and was in _FAILURES:
        return Change.OTHER_FAILURE
    return _TURNED[state]


def _duration(old: Sequence[Record], new: Sequence[Record]) -> str:
    before, after = (max(record.seconds for record in records) for records in (old, new))
    short, long = sorted((before, after))
    if long < short * _FACTOR or long - short < _SECONDS:
        return ""
    return f"{before:.2f} s -> {after:.2f} s"


def _environment(before: VerdictFile, after: VerdictFile) -> Iterator[tuple[str, str, str]]:
    pairs = _device_pairs(before, after)
    old = dict(
        flat_environment(before, {old: f"{old} / {new}" if old != new else old for old, new in pairs.items()})
    )
    new = dict(
        flat_environment(after, {new: f"{old} / {new}" if old != new else new for old, new in pairs.items()})
    )
    # Of several devices of a target the worst result counts, so that nothing else tells of one that is gone.
    if not before.shortcoming and not after.shortcoming:
        old[_DEVICES_USED], new[_DEVICES_USED] = map(_devices_used, (before, after))
    for key in sorted({*old, *new}):
        values = old.get(key, "-"), new.get(key, "-")
        if values[0] != values[1]:
            yield (key, *values)


def _devices_used(file: VerdictFile) -> str:
    """Return on how many devices of each target tests ran."""
    devices = {device for record in file.records if record.outcome.ran for device in record.devices}
    targets = Counter(file.targets.get(device, device) for device in devices)
    return ", ".join(f"{count} {target}" for target, count in sorted(targets.items()))


def _device_pairs(before: VerdictFile, after: VerdictFile) -> dict[str, str]:
    """Return which device of the later run stands for each: the same one, else the next of its target."""
    old, new = (list(file.environment.get("devices", ())) for file in (before, after))
    pairs = {device: device for device in old if device in new}
    left = [device for device in new if device not in pairs]
    for device in old:
        target = before.targets.get(device)
        like = [other for other in left if after.targets.get(other) == target]
        if device not in pairs and like:
            pairs[device] = like[0]
            left.remove(like[0])
    return pairs


def flat_environment(
    file: VerdictFile, names: Mapping[str, str] = MappingProxyType({})
) -> Iterator[tuple[str, str]]:
    """Yield the keys of all levels, with values as text; devices get other names, if given."""
    environment = dict(file.environment)
    devices = environment.pop("devices", {})
    for device, values in devices.items() if isinstance(devices, dict) else ():
        yield from _flattened(f"device {names.get(device, device)}", values)
    for key, value in {**environment, **file.run}.items():
        yield from _flattened(key, value)


def _flattened(key: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for name, member in value.items():
            yield from _flattened(f"{key}.{name}", member)
    elif isinstance(value, list) and any(isinstance(member, dict) for member in value):
        for index, member in enumerate(value):
            yield from _flattened(f"{key}[{index}]", member)
    else:
        yield key, " ".join(map(str, value)) if isinstance(value, list) else str(value)
