"""What pytest's JUnit file says of tests of this plugin."""

from __future__ import annotations

from collections.abc import Callable
from xml.etree import ElementTree

import pytest

Run = Callable[..., pytest.RunResult]
TESTS = """
    import os, pytest

    def test_passes(amdgpu_device): pass
    def test_without_a_gpu(): pass
    @pytest.mark.amdgpu_targets("gfx908")
    def test_not_applicable(amdgpu_device): pass
    @pytest.mark.xfail
    def test_expected(amdgpu_device): assert False
    @pytest.mark.timeout(0.2, func_only=True)
    def test_hangs(amdgpu_device):
        import threading
        threading.Event().wait(60)
    def test_loses(amdgpu_device):
        from pytest_amdgpu.plugin.session import DeviceLostError
        raise DeviceLostError("it is gone")
    @pytest.fixture
    def bad_teardown():
        yield
        raise RuntimeError("not taken back")
    def test_teardown(amdgpu_device, bad_teardown): pass
"""


@pytest.mark.parametrize("workers", [[], ["-n2"]])
def test_rich_states_are_plain_ones_with_properties(
    workers: list[str], run: Run, pytester: pytest.Pytester
) -> None:
    pytester.makepyfile(test_it=TESTS)
    run("--junitxml=junit.xml", "--amdgpu-seed=7", "--amdgpu-device=gfx942", *workers, xdist=bool(workers))
    found = {}
    for case in ElementTree.parse("junit.xml").iter("testcase"):
        plain = [child.tag for child in case if child.tag in ("failure", "error", "skipped")]
        properties = [(one.get("name"), one.get("value")) for one in case.iter("property")]
        name = str(case.get("name")).removeprefix("test_").removesuffix("[sw-gfx942-0]")
        ours = {str(key).removeprefix("amdgpu_"): value for key, value in properties if key != "amdgpu_infra"}
        found[name] = (plain, ours)
    on_device = {"device": "sw-gfx942-0", "seed": "7"}
    clean = {"trust": "clean", **on_device}
    assert found == {
        "passes": ([], {"outcome": "pass", **clean}),
        "without_a_gpu": ([], {"outcome": "pass", "trust": "clean", "seed": "7"}),
        "not_applicable": (["skipped"], {"outcome": "not applicable", **clean}),
        "expected": (["skipped"], {"outcome": "fail", **clean}),
        "hangs": (["failure"], {"outcome": "timeout", **clean}),
        "loses": (["failure"], {"outcome": "fail", "trust": "infra", **on_device}),
        "teardown": (["error"], {"outcome": "fail", **clean}),
    }
