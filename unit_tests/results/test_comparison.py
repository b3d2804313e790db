"""What two runs are said to differ in."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_amdgpu.results.comparison import Change, compare
from pytest_amdgpu.results.record import Outcome, Record, Trust
from pytest_amdgpu.results.verdict import Verdict
from pytest_amdgpu.results.verdict_reader import VerdictFile

TARGETS = {"a-0": "gfx942", "a-1": "gfx942", "b-0": "gfx1100"}


def record(
    outcome: Outcome,
    trust: Trust = Trust.CLEAN,
    expected: str = "",
    *,
    device: str = "a-0",
    seconds: float = 0,
) -> Record:
    return Record(f"t[{device}]", "t", (device,), outcome, trust, seconds, expected, "")


def file(
    *records: Record,
    verdict: Verdict = Verdict.GOOD,
    complete: bool = True,
    cut_off: bool = False,
    **values: Any,
) -> VerdictFile:
    return VerdictFile("x.json", verdict, complete, cut_off, records, targets=TARGETS, **values)


PASSED, FAILED, CRASHED = map(record, (Outcome.PASS, Outcome.FAIL, Outcome.CRASH))
SKIPPED, LOST = map(record, (Outcome.SKIPPED, Outcome.MISSING))
FLAKE = record(Outcome.FAIL, Trust.FLAKY, "flakes.txt:1")
FLAKE_THAT_PASSED = record(Outcome.PASS, Trust.FLAKY)
INFRA = record(Outcome.FAIL, Trust.INFRA)
KNOWN = record(Outcome.FAIL, expected="fails.txt:1")


@pytest.mark.parametrize(
    ("before", "after", "change", "worse"),
    [
        (PASSED, PASSED, None, False),
        (FAILED, FAILED, None, False),
        (FLAKE, FLAKE_THAT_PASSED, None, False),
        (PASSED, FAILED, Change.FAILS, True),
        (FLAKE, FAILED, Change.FAILS, True),
        (KNOWN, FAILED, Change.FAILS, True),
        (SKIPPED, FAILED, Change.FAILS, True),
        (None, FAILED, Change.FAILS, True),
        (FAILED, CRASHED, Change.WORSE_FAILURE, True),
        (CRASHED, FAILED, Change.OTHER_FAILURE, False),
        (FAILED, KNOWN, Change.OTHER_FAILURE, False),
        (FAILED, FLAKE, Change.OTHER_FAILURE, False),
        (PASSED, FLAKE, Change.FLAKY, True),
        (PASSED, INFRA, Change.INFRA, True),
        (None, INFRA, Change.INFRA, True),
        (PASSED, KNOWN, Change.KNOWN, True),
        (PASSED, LOST, Change.MISSING, True),
        (PASSED, None, Change.MISSING, True),
        (FAILED, None, Change.MISSING, True),
        (SKIPPED, None, Change.GONE, False),
        (PASSED, SKIPPED, Change.NOT_RUN, True),
        (FAILED, SKIPPED, Change.NOT_RUN, True),
        (FAILED, PASSED, Change.FIXED, False),
        (INFRA, PASSED, Change.FIXED, False),
        (KNOWN, PASSED, Change.FIXED, False),
        (SKIPPED, PASSED, Change.RUNS, False),
        (SKIPPED, KNOWN, Change.RUNS, False),
        (None, PASSED, Change.NEW, False),
        (None, SKIPPED, Change.NEW, False),
    ],
)
def test_what_a_change_is_called_and_whether_it_is_for_the_worse(
    before: Record | None, after: Record | None, change: Change | None, worse: bool
) -> None:
    found = compare(*(file(*([one] if one else [])) for one in (before, after)))
    assert list(found.changes) == ([change] if change else [])
    assert found.worse is worse


@pytest.mark.parametrize(
    ("before", "after", "worse"),
    [
        (Verdict.GOOD, Verdict.MUST_RUN, True),
        (Verdict.GOOD, Verdict.INFRASTRUCTURE, True),
        (Verdict.REGRESSION, Verdict.GOOD, False),
        (Verdict.INFRASTRUCTURE, Verdict.INFRASTRUCTURE, False),
    ],
)
def test_a_verdict_that_is_no_longer_good_is_worse_also_with_the_same_results(
    before: Verdict, after: Verdict, worse: bool
) -> None:
    assert compare(file(PASSED, verdict=before), file(PASSED, verdict=after)).worse is worse


def test_devices_are_compared_by_target_and_the_worst_counts() -> None:
    before = file(PASSED, record(Outcome.FAIL, device="b-0"))
    after = file(record(Outcome.PASS, device="a-1"), record(Outcome.CRASH, device="a-0"))
    assert compare(before, after).changes == {
        Change.FAILS: ["t on gfx942: pass -> crash"],
        Change.MISSING: ["t on gfx1100: was fail"],
    }


@pytest.mark.parametrize("short", [{"cut_off": True, "complete": False}, {"complete": False}])
def test_what_a_run_that_is_not_whole_lacks_is_neither_missing_nor_new(short: dict[str, bool]) -> None:
    for pair in ((file(PASSED), file(**short)), (file(**short), file(PASSED))):
        found = compare(*pair)
        assert found.changes == {}
        assert len(found.shortcomings) == 1
        assert found.worse


@pytest.mark.parametrize(
    ("before", "after", "text"),
    [
        (0.1, 0.3, ""),
        (1.0, 1.9, ""),
        (1.0, 2.0, "1.00 s -> 2.00 s"),
        (4.0, 0.5, "4.00 s -> 0.50 s"),
        (0.0, 0.6, "0.00 s -> 0.60 s"),
    ],
)
def test_big_changes_of_durations_are_told_and_no_regression(before: float, after: float, text: str) -> None:
    found = compare(*(file(record(Outcome.PASS, seconds=seconds)) for seconds in (before, after)))
    assert found.durations == ([f"t on gfx942: {text}"] if text else [])
    assert not found.worse


def test_the_environment_is_compared_key_by_key() -> None:
    def environment(mec: str, kernel: str, device: str) -> dict[str, Any]:
        links = [{"to": 0, "weight": 20}]
        devices = {device: {"firmware": {"mec": mec}, "bar": "large", "links": links}}
        return {"kernel": kernel, "devices": devices}

    old = file(environment=environment("0x1", "6.12", "a-0"), run={"seed": 1, "arguments": ["-x", "-q"]})
    new = file(environment={**environment("0x2", "6.13", "a-0"), "rocm": "7.2"}, run={"seed": 1})
    found = compare(old, new)
    assert found.environment == [
        ("arguments", "-x -q", "-"),
        ("device a-0.firmware.mec", "0x1", "0x2"),
        ("kernel", "6.12", "6.13"),
        ("rocm", "-", "7.2"),
    ]
    assert not found.worse
    # Another device of the same target stands for one that is not there.
    other = compare(old, file(environment=environment("0x2", "6.12", "a-1"), run=old.run))
    assert other.environment == [("device a-0 / a-1.firmware.mec", "0x1", "0x2")]
    unlike = compare(old, file(environment=environment("0x1", "6.12", "b-0"), run=old.run))
    assert len(unlike.environment) == 2 * 4


def test_a_device_less_is_told() -> None:
    both = file(PASSED, record(Outcome.PASS, device="a-1"), record(Outcome.SKIPPED, device="b-0"))
    found = compare(both, file(PASSED, record(Outcome.PASS, device="b-0")))
    assert found.environment == [("devices that tests ran on", "2 gfx942", "1 gfx1100, 1 gfx942")]
    assert compare(both, both).environment == []
