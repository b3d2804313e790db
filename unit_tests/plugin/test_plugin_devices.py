"""Header, selection and parametrization: which tests there are, and on which devices."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from pytest_amdgpu.families.models import DATA

Run = Callable[..., pytest.RunResult]

ONE_TEST = "def test_it(amdgpu_device): print('ran on', amdgpu_device.family.name)"


def _ids(result: pytest.RunResult) -> list[str]:
    return [line for line in result.outlines if "::" in line]


@pytest.mark.parametrize(
    ("arguments", "ids"),
    [
        ([], ["sw-gfx942-0"]),
        (["--amdgpu-all-devices"], ["sw-gfx942-0", "sw-gfx1100-0"]),
        (["--amdgpu-device=gfx1100"], ["sw-gfx1100-0"]),
        (["--amdgpu-device=1", "--amdgpu-device=sw-gfx942-0"], ["sw-gfx942-0", "sw-gfx1100-0"]),
        (["--amdgpu-software=gfx1100:2", "--amdgpu-all-devices"], ["sw-gfx1100-0", "sw-gfx1100-1"]),
        (["--amdgpu-software=mi250x", "--amdgpu-all-devices"], ["sw-gfx90a-0", "sw-gfx90a-1"]),
    ],
)
def test_ids_of_the_chosen_devices(
    arguments: list[str], ids: list[str], run: Run, pytester: pytest.Pytester
) -> None:
    pytester.makepyfile(test_ids=ONE_TEST)
    result = run("--collect-only", "-q", *arguments)
    assert _ids(result) == [f"test_ids.py::test_it[{device}]" for device in ids]


def test_the_model_of_a_file_is_a_software_gpu(run: Run, pytester: pytest.Pytester) -> None:
    text = (DATA / "rx7900xtx.toml").read_text()
    text = text.replace('name = "rx7900xtx"', 'name = "mine"', 1).replace("RX 7900 XTX", "MINE")
    pytester.makefile(".toml", mine=text)
    pytester.makepyfile(ONE_TEST)
    result = run("--amdgpu-model=mine.toml", software=None)
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*sw-gfx1100-0 * gfx1100 * AMD Radeon MINE *"])


def test_by_default_there_is_one_gpu_of_each_generation(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_ids=ONE_TEST)
    result = run("--collect-only", "-q", "--amdgpu-all-devices", software=None)
    targets = ["gfx90a", "gfx942", "gfx950", "gfx1030", "gfx1100", "gfx1151", "gfx1200", "gfx1201"]
    assert _ids(result) == [f"test_ids.py::test_it[sw-{target}-0]" for target in targets]


def test_the_header_is_a_table_of_devices(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(ONE_TEST)
    result = run("--amdgpu-device=gfx1100", "--amdgpu-seed=77")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        [
            "amdgpu: seed 77, software GPUs (asked for)",
            "     device * target * name * XCCs * VRAM",
            "     sw-gfx942-0 * gfx942 * AMD Instinct MI300X * 8 * 192 GiB",
            "  [*]  sw-gfx1100-0 * gfx1100 * AMD Radeon RX 7900 XTX * 1 * 24 GiB",
        ]
    )


@pytest.mark.skipif(os.path.exists("/dev/kfd"), reason="the machine has a GPU")
def test_without_hardware_software_is_used_and_the_header_says_why(
    run: Run, pytester: pytest.Pytester
) -> None:
    pytester.makepyfile(ONE_TEST)
    result = run(backend="auto")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["amdgpu: seed *, software GPUs (no usable hardware, *)"])


@pytest.mark.skipif(os.path.exists("/dev/kfd"), reason="the machine has a GPU")
def test_hardware_that_is_not_there_is_an_error(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(ONE_TEST)
    result = run(backend="hardware")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --amdgpu-backend=hardware: no *"])


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        (
            "--amdgpu-device=gfx90a",
            "*--amdgpu-device: no device is 'gfx90a'; there are 0: sw-gfx942-0, 1: sw*",
        ),
        ("--amdgpu-software=gfx7", "*--amdgpu-software: unknown software GPU 'gfx7'; known: *"),
        ("--amdgpu-software=gfx942:many", "*--amdgpu-software: 'many' in 'gfx942:many' is not a number*"),
        ("--amdgpu-model=none.toml", "*--amdgpu-model: none.toml: file: *No such file or directory*"),
        ("--amdgpu-seed=-1", "*argument --amdgpu-seed: '-1' is not a number from 0 to 4294967295"),
        ("--amdgpu-seed=x", "*argument --amdgpu-seed: 'x' is not a number*"),
        ("--amdgpu-backend=metal", "*--amdgpu-backend: invalid choice: 'metal' (choose from *"),
        ("--amdgpu-trace=no/such/directory/file", "*--amdgpu-trace: *No such file or directory*"),
    ],
)
def test_a_wrong_option_is_a_usage_error_with_its_value(
    argument: str, message: str, run: Run, pytester: pytest.Pytester
) -> None:
    pytester.makepyfile(ONE_TEST)
    result = run(argument)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([message])


def test_targets_marker_chooses_among_the_selected_devices(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        test_targets="""
        import pytest

        @pytest.mark.amdgpu_targets("gfx1100")
        def test_one(amdgpu_device): assert amdgpu_device.family.name == "gfx1100"

        @pytest.mark.amdgpu_targets("gfx90a", "gfx908")
        def test_none(amdgpu_device): pass
        """
    )
    result = run("--amdgpu-all-devices", "--strict-markers", "-rs", "-v")
    result.assert_outcomes(passed=1, skipped=1)
    result.stdout.fnmatch_lines(["*::test_one*sw-gfx1100-0* PASSED*"])
    result.stdout.fnmatch_lines(
        ["SKIPPED*not applicable: needs gfx908 or gfx90a; selected is sw-gfx942-0, sw-gfx1100-0"]
    )


def test_a_targets_marker_with_other_arguments_is_an_error(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.amdgpu_targets(family="gfx9")
        def test_it(amdgpu_device): pass
        """
    )
    result = run()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*test_it: amdgpu_targets takes names of gfx targets, not*'family'*"])


def test_an_unknown_target_in_a_marker_is_a_warning(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.amdgpu_targets("gfx942", "gfx9000")
        def test_it(amdgpu_device): pass
        """
    )
    result = run()
    result.assert_outcomes(passed=1, warnings=1)
    result.stdout.fnmatch_lines(["*PytestWarning: *test_it: amdgpu_targets: *gfx9000*"])


def test_a_device_is_opened_once_for_all_its_tests(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        test_a="def test_1(amdgpu_device): pass\ndef test_2(amdgpu_device): pass",
        test_b="def test_3(amdgpu_device): pass",
    )
    result = run("--amdgpu-all-devices", "--amdgpu-trace=trace.txt", "-v")
    result.assert_outcomes(passed=6)
    trace = (pytester.path / "trace.txt").read_text()
    assert trace.count("AMDKFD_IOC_ACQUIRE_VM") == 2


def test_help_markers_and_fixtures_explain_themselves(run: Run) -> None:
    run("--help").stdout.fnmatch_lines(
        [
            "AMD GPUs:",
            "*--amdgpu-all-devices*Run each GPU test on every*",
            "*--amdgpu-trace=FILE*",
        ]
    )
    run("--markers").stdout.fnmatch_lines(["@pytest.mark.amdgpu_targets([*]targets): run the test only on*"])
    fixtures = run("--fixtures", "-p", "no:cacheprovider")
    for name, text in {
        "amdgpu_device [[]session scope[]]": "An opened GPU; the test runs once per selected device.",
        "vram_buffer": "Return a function that allocates memory of the GPU: `vram_buffer(size_in_bytes)`.",
        "rng": "A numpy random generator, seeded by the run's seed and the test's name.",
    }.items():
        fixtures.stdout.fnmatch_lines([f"{name} -- *", f"    {text}"])


def test_tests_without_gpu_are_left_alone(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import sys

        def test_plain():
            assert "pytest_amdgpu.driver.device" not in sys.modules
            assert "pytest_amdgpu.emulator.isa.dispatch" not in sys.modules
        """
    )
    run().assert_outcomes(passed=1)
