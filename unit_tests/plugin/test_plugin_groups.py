"""The fixture `amdgpu_devices` and the marker `amdgpu`: groups, their ids, skips, errors, take-back."""

from __future__ import annotations

from collections.abc import Callable

import pytest

Run = Callable[..., pytest.RunResult]

PAIR = """
import pytest

@pytest.mark.amdgpu({wish})
def test_it(amdgpu_devices):
    print("ran on", *[device.name for device in amdgpu_devices])
"""


def pair(pytester: pytest.Pytester, wish: str = "devices=2") -> None:
    pytester.makepyfile(test_ids=PAIR.format(wish=wish))


def ids(result: pytest.RunResult) -> list[str]:
    prefix = "test_ids.py::test_it["
    return [
        line.removeprefix(prefix).removesuffix("]") for line in result.outlines if line.startswith(prefix)
    ]


@pytest.mark.parametrize(
    ("wish", "arguments", "expected"),
    [
        # The first device with its neighbour; each device with its neighbour, none of them twice.
        ("devices=2", ["mi300x,rx7900xtx,rx9070xt"], ["sw-gfx942-0+sw-gfx1100-0"]),
        (
            "devices=2",
            ["gfx942,gfx1100,gfx1201", "--amdgpu-all-devices"],
            ["sw-gfx942-0+sw-gfx1100-0", "sw-gfx942-0+sw-gfx1201-0", "sw-gfx1100-0+sw-gfx1201-0"],
        ),
        ("devices=2", ["mi300x:2", "--amdgpu-all-devices"], ["sw-gfx942-0+sw-gfx942-1"]),
        ("devices=1", ["mi300x,gfx1100", "--amdgpu-all-devices"], ["sw-gfx942-0", "sw-gfx1100-0"]),
        (
            "devices=8",
            ["mi300x-cpx", "--amdgpu-all-devices"],
            ["+".join(f"sw-gfx942-{number}" for number in range(8))],
        ),
        ("devices=2, relation='same_family'", ["mi300x,gfx1100,mi300x-cpx"], ["sw-gfx942-0+sw-gfx942-1"]),
        ("devices=2, relation='hive'", ["mi300x,gfx1100,mi300x"], ["sw-gfx942-0+sw-gfx942-1"]),
        # Six MI210 are a hive of four and one of two.
        (
            "relation='hive'",
            ["mi210:6", "--amdgpu-device=3", "--amdgpu-device=4", "--amdgpu-device=5"],
            ["sw-gfx90a-4+sw-gfx90a-5"],
        ),
        ("relation='peers'", ["gfx942,gfx1100"], ["sw-gfx942-0+sw-gfx1100-0"]),
        # Only devices that the run is bound to.
        (
            "devices=2",
            ["gfx942,gfx1100,gfx1201", "--amdgpu-device=gfx942", "--amdgpu-device=gfx1201"],
            ["sw-gfx942-0+sw-gfx1201-0"],
        ),
    ],
)
def test_ids_name_all_devices_of_a_group(
    wish: str, arguments: list[str], expected: list[str], run: Run, pytester: pytest.Pytester
) -> None:
    pair(pytester, wish)
    software, *others = arguments
    assert ids(run("--collect-only", "-q", f"--amdgpu-software={software}", *others)) == expected


@pytest.mark.parametrize(
    ("wish", "arguments", "reason"),
    [
        ("devices=3", ["gfx942,gfx1100"], "needs 3 devices; there are sw-gfx942-0, sw-gfx1100-0"),
        ("relation='hive'", ["gfx942,gfx1100"], "needs 2 devices of one hive; there are sw-*"),
        ("relation='same_family'", ["gfx942,gfx1100"], "needs 2 devices of one family; there are sw-*"),
        (
            "devices=2",
            ["gfx942,gfx1100", "--amdgpu-device=gfx1100"],
            "needs 2 devices; there are sw-gfx1100-0",
        ),
    ],
)
def test_too_few_devices_skip_with_what_was_looked_for(
    wish: str, arguments: list[str], reason: str, run: Run, pytester: pytest.Pytester
) -> None:
    pair(pytester, wish)
    software, *others = arguments
    result = run("-rs", f"--amdgpu-software={software}", *others)
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines([f"SKIPPED*: {reason}"])


def test_devices_that_are_no_peers(run: Run, pytester: pytest.Pytester) -> None:
    from pytest_amdgpu.families.models import DATA

    text = (DATA / "rx7900xtx.toml").read_text().replace('name = "rx7900xtx"', 'name = "small"', 1)
    pytester.makefile(".toml", small=text.replace("heap_type = [1,", "heap_type = [2,"))
    pair(pytester, "relation='peers'")
    result = run("-rs", "--amdgpu-model=small.toml", "--amdgpu-software=small:2")
    result.stdout.fnmatch_lines(["SKIPPED*: needs 2 devices that are peers; there are sw-gfx1100-0, *"])


def test_targets_bound_the_group(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.amdgpu_targets("gfx1100", "gfx1201")
        def test_it(amdgpu_devices): pass
        """
    )
    result = run(
        "-rs", "--collect-only", "-q", "--amdgpu-software=gfx942,gfx1100,gfx1201", "--amdgpu-all-devices"
    )
    result.stdout.fnmatch_lines(["*test_it[[]sw-gfx1100-0+sw-gfx1201-0[]]"])
    result = run("-rs", "--amdgpu-software=gfx942:2")
    result.stdout.fnmatch_lines(
        ["SKIPPED*: needs 2 devices; there are none; sw-gfx942-0: is no gfx1100 or gfx1201; sw-gfx942-1: *"]
    )


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        (
            "size=3, xgmi=True",
            "amdgpu does not know size, xgmi; allowed are family, target, features, vram, devices, relation",
        ),
        ("2", "amdgpu takes keywords only (family, target, features, vram, devices, relation), not (2,)"),
        ("devices=0", "amdgpu: devices is a number of at least 1, not 0"),
        ("devices='two'", "amdgpu: devices is a number of at least 1, not 'two'"),
        ("devices=True", "amdgpu: devices is a number of at least 1, not True"),
        ("relation='friends'", "amdgpu: relation is one of peers, hive, same_family, not 'friends'"),
    ],
)
def test_wrong_markers_say_what_is_allowed(
    wish: str, message: str, run: Run, pytester: pytest.Pytester
) -> None:
    pair(pytester, wish)
    result = run()
    assert result.ret != 0
    assert f"test_ids.py::test_it: {message}" in result.stdout.str() + result.stderr.str()


def test_a_marker_without_the_fixture_is_an_error(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(PAIR.format(wish="devices=3").replace("devices)", "device)"))
    result = run()
    assert result.ret != 0
    text = result.stdout.str() + result.stderr.str()
    assert "amdgpu asks for 3 devices, but the test does not use the fixture amdgpu_devices" in text


SHARED = """
import pytest

@pytest.mark.amdgpu(devices=3)
def test_it(amdgpu_devices, amdgpu_device, vram_buffer, sdma_queue, timeline_semaphore):
    first, second, third = amdgpu_devices
    assert first is amdgpu_device
    assert len({device.node.gpu_id for device in amdgpu_devices}) == 3
    source = second.vram(4096, peers=[first])
    source.fill(7)
    target = vram_buffer(4096)
    sdma_queue.copy(target, source).signal(timeline_semaphore, 1).submit()
    timeline_semaphore.wait(1, timeout=5.0)
    assert (target.array == 7).all()

def test_after(amdgpu_device):
    assert amdgpu_device.leaks() == []
"""


@pytest.mark.parametrize("xdist", [False, True], ids=["alone", "xdist"])
def test_single_device_fixtures_are_of_the_first(run: Run, pytester: pytest.Pytester, xdist: bool) -> None:
    pytester.makepyfile(SHARED)
    options = ("-n", "2") if xdist else ()
    result = run("--amdgpu-software=mi300x,mi300x,rx7900xtx", "--amdgpu-all-devices", *options, xdist=xdist)
    result.assert_outcomes(passed=4)
    # What the test made itself of the second device is taken back and told.
    result.stdout.fnmatch_lines(["*::test_it[[]*", "    a vram buffer of 4096 bytes at *made at *:8"])


def test_what_is_left_on_any_device_is_taken_back(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest

        KEPT = []

        def test_leaves(amdgpu_devices):
            KEPT.extend(device.available_vram() for device in amdgpu_devices)
            for device in amdgpu_devices:
                device.vram(64 << 20)
                device.compute_queue()

        def test_later(amdgpu_devices):
            for device, before in zip(amdgpu_devices, KEPT, strict=True):
                assert not device.leaks()
                assert device.available_vram() == before
        """
    )
    run("--amdgpu-software=mi300x,rx7900xtx").assert_outcomes(passed=2)


def test_a_fault_of_the_second_device_is_seen_and_all_are_renewed(
    run: Run, pytester: pytest.Pytester
) -> None:
    pytester.makepyfile(
        """
        import time
        import pytest
        from pytest_amdgpu.driver.errors import GpuFaultError

        def fault(device, semaphore):
            target = device.vram(4096)
            queue = device.sdma_queue()
            copied = queue.copy(target, target, 4096)
            unmapped = (1 << 40).to_bytes(8, "little")
            copied.code[:] = copied.code.replace(target.address.to_bytes(8, "little"), unmapped)
            copied.signal(semaphore, 1).submit()

        def test_seen_by_the_waiter(amdgpu_devices):
            first, second = amdgpu_devices
            semaphore = first.timeline_semaphore()
            semaphore.map_to(second)
            fault(second, semaphore)
            begin = time.monotonic()
            with pytest.raises(GpuFaultError, match=second.node.identity):
                semaphore.wait(1, timeout=20.0)
            assert time.monotonic() - begin < 10.0

        def test_unseen(amdgpu_devices):
            first, second = amdgpu_devices
            fault(second, second.timeline_semaphore())

        def test_after(amdgpu_devices):
            for device in amdgpu_devices:
                buffer, semaphore = device.vram(4096), device.timeline_semaphore()
                device.sdma_queue().fill(buffer, 9).signal(semaphore, 1).submit()
                semaphore.wait(1, timeout=5.0)
                assert buffer.array[5] == 9
        """
    )
    result = run("--amdgpu-software=mi300x,rx7900xtx")
    result.assert_outcomes(passed=3, errors=1)
    result.stdout.fnmatch_lines(["E *memory fault on GPU 0000:04:00.0*"])


def test_a_failure_says_how_to_repeat_it_with_all_devices(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_ids=PAIR.format(wish="devices=2") + "    assert False\n")
    result = run("--amdgpu-software=gfx942,gfx1100,gfx1201", "--amdgpu-all-devices", "--amdgpu-seed=5")
    result.assert_outcomes(failed=3)
    repeat = next(
        line for line in result.outlines if line.startswith("to repeat: pytest") and "+sw-gfx1201-0" in line
    )
    again = run(*[part.strip("'") for part in repeat.split()[3:]])
    again.assert_outcomes(failed=1)
