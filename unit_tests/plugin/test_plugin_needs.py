"""Tests that need something of their device: which run where, what is not applicable, and wrong markers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., pytest.RunResult]

ONE = """
import pytest

@pytest.mark.amdgpu({wish})
def test_it(amdgpu_device): pass
"""


def ids(result: pytest.RunResult) -> list[str]:
    prefix = "test_ids.py::test_it["
    return [
        line.removeprefix(prefix).removesuffix("]") for line in result.outlines if line.startswith(prefix)
    ]


@pytest.mark.parametrize(
    ("wish", "chosen"),
    [
        ("family='CDNA3'", "sw-gfx942-0"),
        ("family=['RDNA3', 'gfx12']", "sw-gfx1100-0"),
        ("target='gfx1201'", "sw-gfx1201-0"),
        ("target=('gfx1201', 'gfx1100')", "sw-gfx1100-0"),
        ("features='apu'", "sw-gfx1151-0"),
        ("features=['xnack', 'several_xccs']", "sw-gfx942-0"),
        ("vram='100GiB'", "sw-gfx942-0"),
        ("vram=200 << 30", "sw-gfx950-0"),
        ("features='svm'", "sw-gfx90a-0"),
    ],
)
def test_needs_choose_the_device(wish: str, chosen: str, run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_ids=ONE.format(wish=wish))
    assert ids(run("--collect-only", "-q", software=None)) == [chosen]


def test_what_only_some_devices_have(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(ONE.format(wish="features=['several_xccs']"))
    result = run("--amdgpu-all-devices", "--amdgpu-verdict=verdict.json", "--amdgpu-gate", "-n1", xdist=True)
    assert result.ret == 0
    tests = {test["id"]: test for test in json.loads(Path("verdict.json").read_text())["tests"]}
    assert {name.partition("[")[2]: test["outcome"] for name, test in tests.items()} == {
        "sw-gfx942-0]": "pass",
        "sw-gfx1100-0]": "not applicable",
    }
    (other,) = (test for name, test in tests.items() if "gfx1100" in name)
    assert other["text"] == "not applicable: sw-gfx1100-0: has one XCC (several_xccs)"
    assert other["devices"] == ["sw-gfx1100-0"]


def test_what_no_device_has_is_never_green(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(ONE.format(wish="vram='1TiB'"))
    result = run("--amdgpu-gate", "--amdgpu-all-devices")
    assert result.ret == 11
    result.stdout.fnmatch_lines(["*amdgpu verdict: must-run violated*", "no test ran on any device"])


def test_a_run_that_is_bound_to_a_device_takes_no_other(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_ids=ONE.format(wish="target='gfx1100'"))
    result = run("--amdgpu-device=gfx942", "-rs")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(
        [
            "amdgpu: 1 of the skipped tests was not applicable",
            "    1: is no gfx1100 (sw-gfx942-0)",
            "*not applicable: sw-gfx942-0: is no gfx1100",
        ]
    )


def test_every_device_of_a_group_has_what_is_needed(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        test_ids="""
        import pytest

        @pytest.mark.amdgpu(devices=2, family="CDNA", relation="peers")
        def test_it(amdgpu_devices): pass
        """
    )
    options = ("--collect-only", "-q", "--amdgpu-software=gfx1100,gfx942,gfx1201,gfx90a")
    # The first device is none of them: the first group of the machine.
    assert ids(run(*options)) == ["sw-gfx942-0+sw-gfx90a-0"]
    assert ids(run(*options, "--amdgpu-all-devices")) == ["sw-gfx942-0+sw-gfx90a-0"]
    result = run("--amdgpu-software=gfx1100,gfx942", "-rs")
    result.stdout.fnmatch_lines(
        ["*needs 2 devices that are peers; there are sw-gfx942-0; sw-gfx1100-0: is no CDNA"]
    )


def test_markers_add_up_and_the_innermost_counts(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        test_ids="""
        import pytest
        pytestmark = pytest.mark.amdgpu(family="CDNA", vram="1GiB")

        @pytest.mark.amdgpu(features=["several_xccs"], vram="250GiB")
        class TestThem:
            def test_it(self, amdgpu_device): print("ran on", amdgpu_device.name)

            @pytest.mark.amdgpu(vram="150GiB")
            def test_less(self, amdgpu_device): print("less ran on", amdgpu_device.name)

            @pytest.mark.amdgpu_targets("gfx942", "gfx1100")
            @pytest.mark.amdgpu(target=["gfx942", "gfx950"], vram=0)
            def test_both(self, amdgpu_device): print("both ran on", amdgpu_device.name)
        """
    )
    result = run("-s", software=None)
    result.assert_outcomes(passed=3)
    result.stdout.fnmatch_lines_random(
        ["*less ran on sw-gfx942-0*", "*both ran on sw-gfx942-0*", "*ran on sw-gfx950-0*"]
    )


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        ("feature='xgmi'", "amdgpu does not know feature; allowed are family, target, features, vram, dev*"),
        ("family='gfx942'", "amdgpu: family: unknown family or generation 'gfx942'; known: gfx9, gfx90x*"),
        ("family=[]", "amdgpu: family is a word or a list of words, not [[][]]"),
        ("target='gfx9'", "amdgpu: target: unknown gfx target 'gfx9'; known: gfx908*"),
        ("target=942", "amdgpu: target is a word or a list of words, not 942"),
        ("features=['sdma', 'xgml']", "amdgpu: features: unknown feature 'xgml'; known: apu, ecc*"),
        ("features={'sdma': 1}", "amdgpu: features is a word or a list of words, not {*"),
        ("features=['sdma', 3]", "amdgpu: features is a word or a list of words, not *3*"),
        (
            "vram='16GB'",
            "amdgpu: vram: '16GB' is not a size such as 16GiB, with KiB, *, nor a number of byt*",
        ),
        ("vram=-1", "amdgpu: vram is a number of bytes, or a text such as '16GiB', not -1"),
        ("vram=True", "amdgpu: vram is a number of bytes, or a text such as '16GiB', not True"),
        ("devices=2", "amdgpu asks for 2 devices, but the test does not use the fixture amdgpu_devices"),
    ],
)
def test_wrong_needs_are_errors_that_name_test_and_key(
    wish: str, message: str, run: Run, pytester: pytest.Pytester
) -> None:
    pytester.makepyfile(test_ids=ONE.format(wish=wish))
    result = run()
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines([f"*test_ids.py::test_it: {message}"])


def test_targets_that_exclude_each_other_are_an_error(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.amdgpu_targets("gfx1100")
        @pytest.mark.amdgpu(target="gfx942")
        def test_it(amdgpu_device): pass
        """
    )
    run().stdout.fnmatch_lines(["*test_it: amdgpu and amdgpu_targets have no target in common"])
