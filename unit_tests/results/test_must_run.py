"""The contract of what must run: reading it, and finding what did not."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_amdgpu.results.must_run import Demand, DeviceNames, MustRunError, read_contract, violations
from pytest_amdgpu.results.record import Outcome, Record

DEVICES = (
    DeviceNames("sw-gfx942-0", "gfx942", "AMD Instinct MI300X"),
    DeviceNames("sw-gfx942-1", "gfx942", "AMD Instinct MI300X"),
    DeviceNames("sw-gfx1100-0", "gfx1100", "AMD Radeon RX 7900 XTX"),
)
RECORDS = [
    Record("t.py::a[0]", "t.py::a", ("sw-gfx942-0",), Outcome.PASS),
    Record("t.py::b[0]", "t.py::b", ("sw-gfx942-0",), Outcome.FAIL),
    Record("t.py::b[1]", "t.py::b", ("sw-gfx942-1",), Outcome.SKIPPED),
    Record("t.py::a[2]", "t.py::a", ("sw-gfx1100-0",), Outcome.CRASH),
    Record("t.py::c[2]", "t.py::c", ("sw-gfx1100-0",), Outcome.NOT_APPLICABLE),
    Record("t.py::d", "t.py::d", (), Outcome.PASS),
]


@pytest.mark.parametrize(
    ("demand", "missing"),
    [
        (Demand("all"), []),
        (Demand("all", devices=2), []),
        (Demand("all", devices=3), ["tests must run on 3 devices, and ran on 2"]),
        (Demand("gfx942", devices=2), ["tests must run on 2 devices (gfx942), and ran on 1"]),
        (Demand("gfx9"), []),
        (Demand("gfx110x"), []),
        (Demand("amd-instinct-mi300x"), []),
        (Demand("sw-gfx942-1"), ["tests must run on 1 device (sw-gfx942-1), and ran on 0"]),
        (
            Demand("gfx90a"),
            [
                "tests must run on 1 device (gfx90a), and ran on 0: no device is called that, there are "
                + ", ".join(f"{device.id} ({device.target})" for device in DEVICES)
            ],
        ),
        (Demand("AMD Instinct MI300X"), []),
        (Demand("gfx942", count=2), []),
        (Demand("gfx942", count=3), ["3 tests must run on sw-gfx942-0, and 2 did"]),
        (Demand("gfx1100", tests=("t.py::a",)), []),
        (
            Demand("all", tests=("t.py::[abc]", "t.py::c", "t.py::d", "t.py::")),
            [
                f"a test named '{name}' must run on {device}, and none did"
                for device in ("sw-gfx942-0", "sw-gfx1100-0")
                for name in ("t.py::c", "t.py::d", "t.py::")
            ],
        ),
    ],
)
def test_what_did_not_run_is_listed(demand: Demand, missing: list[str]) -> None:
    assert list(violations([demand], DEVICES, RECORDS)) == missing


def test_a_contract_is_read(tmp_path: Path) -> None:
    path = tmp_path / "gate.toml"
    path.write_text(
        '[[must_run]]\ndevice = "gfx942"\ndevices = 2\ncount = 30\ntests = ["a.*"]\n[[must_run]]\ncount = 5\n'
    )
    assert read_contract(path) == (Demand("gfx942", 2, 30, ("a.*",)), Demand("all", 1, 5, ()))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no [[must_run]] table, so nothing would have to run"),
        ("must_run = []", "has no [[must_run]] table"),
        ("must_run = [1]", "must_run[0]: is not a table"),
        ("[[must_run]]\n[other]", "'other' is unknown; there are only [[must_run]] tables"),
        (
            "[[must_run]]\ndevcie = 'gfx942'",
            "must_run[0].devcie: is unknown; known: device, devices, count, tests",
        ),
        ("[[must_run]]\ndevice = 7", "must_run[0].device: 7 is not a name"),
        ("[[must_run]]\n[[must_run]]\ncount = 0", "must_run[1].count: 0 is not a number from 1 on"),
        ("[[must_run]]\ncount = true", "must_run[0].count: True is not a number from 1 on"),
        ("[[must_run]]\ndevices = '2'", "must_run[0].devices: '2' is not a number from 1 on"),
        ("[[must_run]]\ntests = 'a'", "must_run[0].tests: 'a' is not a list of regular expressions"),
        ("[[must_run]]\ntests = ['(']", "must_run[0].tests: '(' is no regular expression: missing )"),
        ("[[must_run]\n", "(at line 1, column"),
    ],
)
def test_a_wrong_contract_says_where(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "gate.toml"
    path.write_text(text)
    with pytest.raises(MustRunError) as caught:
        read_contract(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)
