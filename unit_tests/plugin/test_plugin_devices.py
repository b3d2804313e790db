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
        (
            ["--amdgpu-software=gfx1100+small-bar:2,gfx1100", "--amdgpu-all-devices"],
            ["sw-gfx1100+small-bar-0", "sw-gfx1100+small-bar-1", "sw-gfx1100-0"],
        ),
        (["--amdgpu-software=gfx942,gfx942+cpx", "--amdgpu-device=sw-gfx942+cpx-7"], ["sw-gfx942+cpx-7"]),
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


def test_a_variant_of_the_model_of_a_file(run: Run, pytester: pytest.Pytester) -> None:
    text = (DATA / "rx7900xtx.toml").read_text().replace('name = "rx7900xtx"', 'name = "mine"', 1)
    pytester.makefile(".toml", mine=text)
    pytester.makepyfile("def test_bar(amdgpu_device): assert not amdgpu_device.node.large_bar")
    result = run("--amdgpu-model=mine.toml", "--amdgpu-software=mine+small-bar")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*sw-gfx1100+small-bar-0 *"])


UNKNOWN_STEPPING = """
from pytest_amdgpu.driver.device import Device

SOURCE = "__attribute__((amdgpu_kernel)) void nothing(void) {}"

def test_it(amdgpu_device, compile_kernel, compute_queue, timeline_semaphore):
    assert (amdgpu_device.node.target, amdgpu_device.family.name) == ("gfx1202", "gfx1201")
    compute_queue.dispatch(compile_kernel(SOURCE), 1, []).signal(timeline_semaphore, 1).submit()
    timeline_semaphore.wait(1, timeout=5)

def test_own(amdgpu_device):
    Device.open(amdgpu_device.kernel, amdgpu_device.node).close()

def test_failing(amdgpu_device): assert False
"""


def test_an_unknown_stepping_runs_as_its_relative_only_where_that_is_wished(
    run: Run, pytester: pytest.Pytester, require_ziglang: None
) -> None:
    text = (DATA / "r9700.toml").read_text()
    text = text.replace('target = "gfx1201"', 'target = "gfx1202"').replace("[120001,", "[120002,")
    pytester.makefile(".toml", mine=text.replace('name = "r9700"', 'name = "mine"', 1))
    pytester.makepyfile(UNKNOWN_STEPPING)
    refused = run("--amdgpu-model=mine.toml", software=None)
    assert refused.ret == pytest.ExitCode.USAGE_ERROR
    refused.stderr.fnmatch_lines(
        ["*--amdgpu-model: mine.toml: target: unknown gfx target 'gfx1202'*nearest relative is gfx1201*"]
    )
    result = run(
        "--amdgpu-model=mine.toml", "--amdgpu-nearest-target", "-o", "filterwarnings=error", software=None
    )
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(
        [
            "amdgpu: warning: sw-gfx1202-0 has an unknown stepping and runs as gfx1201, its nearest*",
            "device: sw-gfx1202-0 (*, software GPU, runs as gfx1201)",
            "to repeat: pytest * --amdgpu-nearest-target --amdgpu-model=mine.toml *",
        ]
    )


SKIPPING = """
import pytest
from pytest_amdgpu.driver.errors import NoSdmaQueueError, SmallBarError

def test_fixture(sdma_queue): pass

def test_method(amdgpu_device): amdgpu_device.sdma_queue()

def test_in_the_middle(compute_queue, timeline_semaphore, vram_buffer):
    buffer = vram_buffer(64)
    compute_queue.signal(timeline_semaphore, 1)
    buffer.array[:] = 0

def test_strict(vram_buffer): vram_buffer(64, cpu_visible=True)

def test_expected(amdgpu_device):
    with pytest.raises(NoSdmaQueueError):
        amdgpu_device.sdma_queue()

def test_other_failure(amdgpu_device): amdgpu_device.vram(1 << 60)
"""


def test_what_a_gpu_cannot_do_skips_the_test_with_the_reason(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(SKIPPING)
    result = run("--amdgpu-software=gfx1100+small-bar+no-sdma", "-rs")
    result.assert_outcomes(passed=1, skipped=4, failed=1)
    device = "not applicable: sw-gfx1100+small-bar+no-sdma-0: "
    result.stdout.fnmatch_lines_random(
        [
            f"SKIPPED [[]2[]] *: {device}*has no SDMA queue: num_sdma_engines *",
            f"SKIPPED [[]2[]] *: {device}the CPU cannot see the VRAM *",
        ]
    )


def test_a_gpu_that_can_skips_nothing(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(SKIPPING.replace("compute_queue.signal", "compute_queue.record().signal"))
    result = run("--amdgpu-software=gfx1100")
    result.assert_outcomes(passed=4, failed=2)


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
    result.stdout.fnmatch_lines(["amdgpu: seed *, software GPUs (no GPU: *)"])


PRETEND_HARDWARE = """
import dataclasses
from pytest_amdgpu.plugin import plan

find = plan.find_machine

def find_hardware(backend, *arguments, **options):
    if backend == "software":
        return find(backend, *arguments, **options)
    machine = find("software", "gfx1100")
    reason = "asked for" if backend == "hardware" else "/dev/kfd is usable"
    return dataclasses.replace(machine, backend="hardware", reason=reason, software=())

plan.find_machine = find_hardware
"""


@pytest.mark.parametrize(
    ("backend", "reason"), [("hardware", "asked for"), ("auto", "/dev/kfd is usable")], ids=["asked", "found"]
)
@pytest.mark.parametrize(
    "option",
    [
        "--amdgpu-software=gfx942",
        "--amdgpu-software-kernel=6.12",
        "--amdgpu-hostile=0",
        "--amdgpu-model=mine.toml",
    ],
)
def test_options_of_software_gpus_are_refused_on_hardware(
    option: str, backend: str, reason: str, run: Run, pytester: pytest.Pytester
) -> None:
    pytester.makeconftest(PRETEND_HARDWARE)
    pytester.makepyfile(ONE_TEST)
    result = run("--collect-only", option, backend=backend, software=None)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    name = option.partition("=")[0]
    result.stderr.fnmatch_lines(
        [
            f"ERROR: {name}: for software GPUs only, but this run uses hardware GPUs ({reason});"
            " add --amdgpu-backend=software to run on software GPUs"
        ]
    )


def test_hardware_needs_no_options_of_software_gpus(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makeconftest(PRETEND_HARDWARE)
    pytester.makepyfile(ONE_TEST)
    result = run("--collect-only", backend="hardware")
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["amdgpu: seed *, hardware GPUs (asked for)"])


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
            "*--amdgpu-device: no device is 'gfx90a'; known: sw-gfx942-0 (number 0), sw*",
        ),
        ("--amdgpu-software=gfx7", "*--amdgpu-software: unknown software GPU 'gfx7'; known: *"),
        ("--amdgpu-software=gfx942:many", "*--amdgpu-software: 'many' in 'gfx942:many' is not a number*"),
        ("--amdgpu-software=gfx942+tiny", "*--amdgpu-software: unknown option 'tiny' of mi300x; known: dpx*"),
        ("--amdgpu-software=strixhalo+small-bar", "*strixhalo cannot have option 'small-bar': its VRAM is*"),
        ("--amdgpu-model=.", "*--amdgpu-model: .: file: is a directory or device; name a file of TOML"),
        ("--amdgpu-model=none.toml", "*--amdgpu-model: none.toml: file: No such file or directory"),
        ("--amdgpu-seed=-1", "*argument --amdgpu-seed: '-1' is not a number from 0 to 4294967295"),
        ("--amdgpu-seed=x", "*argument --amdgpu-seed: 'x' is not a number*"),
        (
            "--amdgpu-backend=metal",
            "*--amdgpu-backend: 'metal' is not one of auto, hardware, software, nor *",
        ),
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


@pytest.mark.parametrize(
    "option",
    ["attachments", "compiler", "expectations", "lease-directory", "model", "must-run", "trace", "verdict"],
)
def test_an_option_for_a_file_is_not_empty(option: str, pytester: pytest.Pytester) -> None:
    """A gate that demands what an empty variable names would demand nothing."""
    with pytest.raises(pytest.UsageError, match=f"argument --amdgpu-{option}: is empty"):
        pytester.parseconfig(f"--amdgpu-{option}=")


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
    result.assert_outcomes(passed=1, skipped=3)
    result.stdout.fnmatch_lines(["*::test_one*sw-gfx1100-0* PASSED*"])
    result.stdout.fnmatch_lines_random(
        [
            "SKIPPED*not applicable: sw-gfx1100-0: is no gfx90a or gfx908",
            "SKIPPED*not applicable: sw-gfx942-0: is no gfx1100",
            "SKIPPED*not applicable: sw-gfx942-0: is no gfx90a or gfx908",
        ]
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


@pytest.mark.parametrize("marker", ['amdgpu_targets("gfx942")', "amdgpu(devices=2)"])
def test_a_marker_that_does_nothing_is_an_error(marker: str, run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        f"""
        import pytest

        @pytest.mark.{marker}
        def test_it(tmp_path): pass
        """
    )
    result = run()
    result.assert_outcomes(errors=1)
    name = marker.partition("(")[0]
    result.stdout.fnmatch_lines([f"*::test_it: {name} does nothing, because the test uses no GPU: let it*"])


def test_a_marker_of_one_parameter_is_an_error(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest

        few = pytest.mark.amdgpu_targets("gfx942")

        @pytest.mark.parametrize("number", [1, pytest.param(2, marks=few)])
        def test_it(number, amdgpu_device): pass

        @pytest.mark.parametrize("number", (value for value in [1, pytest.param(2, marks=pytest.mark.xfail)]))
        def test_other(number, amdgpu_device): assert number == 1
        """
    )
    result = run("--continue-on-collection-errors")
    result.stdout.fnmatch_lines(["*::test_it: amdgpu_targets of one parameter does nothing, because the*"])
    assert result.ret != pytest.ExitCode.OK


def test_a_marker_of_a_class_or_module_may_cover_tests_without_a_gpu(
    run: Run, pytester: pytest.Pytester
) -> None:
    pytester.makepyfile(
        """
        import pytest

        pytestmark = pytest.mark.amdgpu_targets("gfx942", "gfx1100")

        def test_none(): pass

        @pytest.mark.amdgpu(target="gfx942")
        class TestClass:
            def test_none(self): pass
            def test_one(self, amdgpu_device): pass

        @pytest.mark.amdgpu(target="gfx1100")
        @pytest.mark.usefixtures("amdgpu_device")
        def test_used(): pass
        """
    )
    run().assert_outcomes(passed=4)


def test_an_unknown_target_in_a_marker_is_an_error(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.amdgpu_targets("gfx942", "gfx9000")
        def test_it(amdgpu_device): pass
        """
    )
    result = run()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*test_it: amdgpu_targets: unknown gfx target 'gfx9000'*known: *gfx942*"])


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
    run("--markers").stdout.fnmatch_lines(["@pytest.mark.amdgpu_targets([*]targets): short for amdgpu(*"])
    fixtures = run("--fixtures", "-p", "no:cacheprovider")
    for name, text in {
        "amdgpu_device [[]session scope[]]": "An opened GPU; the test runs once per selected device.",
        "vram_buffer": "Return a function that allocates memory of the GPU: `vram_buffer(size_in_bytes)`.",
        "rng": "A numpy random generator, seeded by the run's seed and the test's name.",
    }.items():
        fixtures.stdout.fnmatch_lines([f"{name} -- *", f"    {text}"])


def test_tests_without_gpu_are_left_alone(run_alone: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import sys

        def test_plain():
            assert "pytest_amdgpu.driver.device" not in sys.modules
            assert "pytest_amdgpu.emulator.isa.dispatch" not in sys.modules
            assert "numpy" not in sys.modules
        """
    )
    run_alone().assert_outcomes(passed=1)
