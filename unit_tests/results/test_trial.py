"""The further runs of a failing test: which one comes next, and what they say in the end."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from pytest_amdgpu.results.confirmation import Blame, Count
from pytest_amdgpu.results.trial import Attempt, Result, Trial, Turn

LETTERS = {
    "F": Result.FAILED,
    "P": Result.PASSED,
    "U": Result.UNUSABLE,
    "S": Result.NOT_RUN,
    "B": Result.NOT_TRIED,
}


def held(trial: Trial, here: str, elsewhere: Sequence[str]) -> str:
    """Hold a trial where runs come out as the letters say; return the turns.

    `0` is a run on the test's own device, 1 and so on are the others. Each time another process goes on.
    """
    mine, others = list(here), [list(letters) for letters in elsewhere]
    turns = ""
    while (turn := trial.next_turn()) is not None:
        assert len(turns) < 50
        if turn is Turn.HERE:
            place, letter = "0", mine.pop(0)
        else:
            tried = {attempt.devices for attempt in trial.attempts}
            names = [f"d{number}" for number in range(1, len(others) + 1)]
            name = trial.chosen or next((name for name in names if name not in tried), "")
            if not name:
                trial.exhausted = True
                turns += "-"
                continue
            place = name[1:]
            letter = others[int(place) - 1].pop(0)
        turns += place
        trial.attempts.append(Attempt(f"d{place}", LETTERS[letter], "so"))
        trial = Trial.from_json(json.loads(json.dumps(trial.to_json())))
    held.blame = trial.blame  # type: ignore[attr-defined]
    return turns


@pytest.mark.parametrize(
    ("wanted", "killed", "here", "elsewhere", "turns", "blame"),
    [
        # As many as a decision needs: first elsewhere.
        (None, False, "", ["F"], "1", Blame.REGRESSION),
        (None, False, "P", ["P"], "10", Blame.FLAKY),
        (None, False, "FF", ["PP"], "1001", Blame.DEVICE_SUSPECT),
        (None, False, "FP", ["P"], "100", Blame.FLAKY),
        (None, False, "FF", ["PF"], "1001", Blame.FLAKY),
        (None, False, "U", ["P"], "10", Blame.DEVICE_SUSPECT),
        (None, False, "", [], "-", None),
        (None, False, "", ["B"], "1-", None),
        (None, False, "F", ["U"], "1-0", Blame.REGRESSION),
        (None, False, "U", ["U"], "1-0", Blame.MACHINE),
        (None, False, "", ["B", "U", "F"], "123", Blame.REGRESSION),
        (None, False, "FF", ["S", "PP"], "12002", Blame.DEVICE_SUSPECT),
        # As many as were asked for.
        (1, False, "F", [], "0-", Blame.REGRESSION),
        (1, False, "P", ["F"], "01", Blame.FLAKY),
        (1, False, "FF", ["PP"], "0101", Blame.DEVICE_SUSPECT),
        (3, False, "FFF", ["PPP"], "010101", Blame.DEVICE_SUSPECT),
        (3, False, "FFF", ["U"], "01-00", Blame.REGRESSION),
        (3, False, "U", ["FFF"], "0111", Blame.REGRESSION),
        (2, False, "FF", ["PU"], "0101", Blame.DEVICE_SUSPECT),
        # One that had to be killed: one each, and here only if elsewhere leaves a question.
        (None, True, "", ["F"], "1", Blame.REGRESSION),
        (None, True, "F", ["P"], "10", Blame.DEVICE_SUSPECT),
        (None, True, "P", ["P"], "10", Blame.FLAKY),
        (5, True, "", ["F"], "1", Blame.REGRESSION),
        (5, True, "F", [], "-0", Blame.REGRESSION),
        (None, True, "", [], "-", None),
    ],
)
def test_which_run_comes_next(
    wanted: int | None, killed: bool, here: str, elsewhere: Sequence[str], turns: str, blame: Blame | None
) -> None:
    assert held(Trial("d0", wanted, killed=killed), here, elsewhere) == turns
    assert held.blame is blame  # type: ignore[attr-defined]


def test_what_is_said_of_a_trial() -> None:
    trial = Trial("a", None)
    trial.attempts = [
        Attempt("b", Result.NOT_TRIED, "in use"),
        Attempt("c", Result.PASSED),
        Attempt("a", Result.FAILED, "wrong"),
    ]
    trial.notes = ["a: could not be closed"]
    assert trial.counts == [Count("a", 2, 2), Count("c", 0, 1)]
    assert trial.text.splitlines() == [
        "failed 1+1 of 2 on a, 0 of 1 on c: device suspect",
        "b: not tried: in use",
        "c: passed",
        "a: failed: wrong",
        "a: could not be closed",
    ]
    assert Trial("a", None).text == "failed 1 of 1 on a: nothing follows"
