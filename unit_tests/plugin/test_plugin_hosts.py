"""Runs over several hosts: each test where its device is."""

from __future__ import annotations

import contextlib
import dataclasses
import fnmatch
import json
import shlex
from collections.abc import Callable, Iterator
from importlib.resources import files
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import execnet
import jsonschema
import pytest

from pytest_amdgpu.devices.lease_holder import boot_id
from pytest_amdgpu.devices.leases import LeaseDirectory
from pytest_amdgpu.devices.machine import Machine, find_machine
from pytest_amdgpu.devices.machine_quarantine import MachineQuarantine
from pytest_amdgpu.plugin.remote.host import Host
from pytest_amdgpu.plugin.remote.host_service import own_version, serve
from pytest_amdgpu.plugin.remote.hosts import Hosts, key_of, name_of

SCHEMA = json.loads((files("pytest_amdgpu.results") / "verdict_schema.json").read_text())
Run = Callable[..., pytest.RunResult]

ALPHA, BETA = (f"popen//env:PYTEST_AMDGPU_SOFTWARE={gpus}" for gpus in ("gfx942:2", "gfx1100"))
TWO_HOSTS = (f"--tx=id=alpha//{ALPHA}", f"--tx=id=beta//{BETA}", "--dist=load", "--amdgpu-all-devices")

JOURNAL = """
    import os

    def pytest_runtest_call(item):
        host = os.environ.get("PYTEST_AMDGPU_SOFTWARE", "here")
        print(item.nodeid, host, os.environ["PYTEST_XDIST_WORKER"], file=open("journal", "a"))
"""
"""Each test notes what is in the environment of the worker that it runs in."""

COPY = """
    import pytest

    @pytest.mark.parametrize("number", range(5))
    def test_fill(number, sdma_queue, vram_buffer, amdgpu_device):
        buffer = vram_buffer(4096)
        sdma_queue.fill(buffer, number).submit()
        sdma_queue.wait_idle(10)
        assert (buffer.array == number).all()

    def test_none(): pass
"""


def ran_on(path: Path) -> dict[str, str]:
    return dict(line.split()[:2] for line in (path / "journal").read_text().splitlines())


def test_each_test_runs_on_the_host_that_has_its_device(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makeconftest(JOURNAL)
    pytester.makepyfile(test_it=COPY)
    result = run(
        *TWO_HOSTS, "--amdgpu-gate", "--amdgpu-verdict=v.json", backend="auto", software=None, xdist=True
    )
    assert result.ret == 0
    result.assert_outcomes(passed=16)
    where = ran_on(pytester.path)
    assert {name: host for name, host in where.items() if "[" in name} == {
        f"test_it.py::test_fill[{device}-{number}]": host
        for device, host in (
            ("alpha/sw-gfx942-0", "gfx942:2"),
            ("alpha/sw-gfx942-1", "gfx942:2"),
            ("beta/sw-gfx1100-0", "gfx1100"),
        )
        for number in range(5)
    }
    result.stdout.fnmatch_lines_random(
        [
            f"amdgpu: host alpha ({ALPHA}): software GPUs (no GPU: *",
            "     device             target   name                    XCCs  VRAM     host",
            "  [*]  beta/sw-gfx1100-0  gfx1100  AMD Radeon RX 7900 XTX  1     24 GiB   beta",
            "*amdgpu verdict: good*",
        ]
    )
    verdict: dict[str, Any] = json.loads((pytester.path / "v.json").read_text())
    jsonschema.validate(verdict, SCHEMA)
    assert {device["id"]: device["host"] for device in verdict["devices"]} == {
        "alpha/sw-gfx942-0": "alpha",
        "alpha/sw-gfx942-1": "alpha",
        "beta/sw-gfx1100-0": "beta",
    }
    assert set(verdict["environment"]["hosts"]) == {"alpha", "beta"}
    assert "kfd" in verdict["environment"]["hosts"]["beta"]
    assert set(verdict["environment"]["devices"]) == {device["id"] for device in verdict["devices"]}


def test_a_death_on_a_host_is_told_once_and_its_other_tests_run_there(
    run: Run, pytester: pytest.Pytester
) -> None:
    pytester.makeconftest(JOURNAL)
    pytester.makepyfile(
        test_it="""
        import os
        import pytest

        def test_dies(amdgpu_device):
            if amdgpu_device.family.name == "gfx1100": os._exit(1)

        @pytest.mark.parametrize("number", range(5))
        def test_lives(number, amdgpu_device): pass
        """
    )
    result = run(*TWO_HOSTS, "--amdgpu-seed=5", backend="auto", software=None, xdist=True)
    result.assert_outcomes(passed=17, failed=1)
    assert all(host == "gfx1100" for name, host in ran_on(pytester.path).items() if "beta/" in name)
    name = "test_it.py::test_dies[beta/sw-gfx1100-0]"
    (line,) = (line for line in result.outlines if line.startswith("to repeat: pytest"))
    command = shlex.split(line.partition("pytest ")[2])
    assert command[-1] == name
    again = run(*command, backend="auto", software=None, xdist=True)
    again.assert_outcomes(failed=1)
    again.stdout.fnmatch_lines([f"worker 'beta' crashed while running '{name.replace('[', '[[]')}'"])


def test_the_failure_of_a_test_on_a_host_can_be_repeated(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_it="def test_fails(amdgpu_device): assert False")
    result = run(*TWO_HOSTS, "--amdgpu-device=beta/sw-gfx1100-0", backend="auto", software=None, xdist=True)
    result.assert_outcomes(failed=1)
    (line,) = (line for line in result.outlines if line.startswith("to repeat: pytest"))
    again = run(*shlex.split(line.partition("pytest ")[2]), backend="auto", software=None, xdist=True)
    again.assert_outcomes(failed=1)


def test_the_devices_of_a_group_are_of_one_host(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.amdgpu(devices=2)
        def test_two(amdgpu_devices):
            assert len(amdgpu_devices) == 2
        """
    )
    result = run(*TWO_HOSTS, "-v", backend="auto", software=None, xdist=True)
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*PASSED*::test_two[[]alpha/sw-gfx942-0+alpha/sw-gfx942-1]*"])


def test_workers_of_this_machine_and_of_a_host(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makeconftest(JOURNAL)
    pytester.makepyfile(test_it=COPY)
    options = ("--tx=popen", f"--tx=2*{BETA}", "--dist=load", "--amdgpu-all-devices")
    result = run(*options, "--amdgpu-verdict=v.json", software="gfx1100", xdist=True)
    result.assert_outcomes(passed=11)
    where = ran_on(pytester.path)
    assert {host for name, host in where.items() if "[sw-gfx1100-0" in name} == {"here"}
    assert {host for name, host in where.items() if "[host0/sw-gfx1100-0" in name} == {"gfx1100"}
    tests = json.loads((pytester.path / "v.json").read_text())["tests"]
    used = [tuple(test["devices"]) for test in tests if "[" in test["id"]]
    assert sorted(used) == [("host0/sw-gfx1100-0",)] * 5 + [("sw-gfx1100-0",)] * 5


def test_only_collecting_lists_the_tests_of_all_hosts(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_it="def test_a(amdgpu_device): pass")
    result = run(*TWO_HOSTS, "--collect-only", "-q", backend="auto", software=None, xdist=True)
    result.stdout.fnmatch_lines(["test_it.py::test_a[[]alpha/sw-gfx942-0]", "*beta/sw-gfx1100-0]"])


@pytest.mark.parametrize(
    ("gateways", "status", "message"),
    [
        (
            ["popen//env:PYTEST_AMDGPU_SOFTWARE=gfx7"],
            pytest.ExitCode.USAGE_ERROR,
            "*--tx: host host0: *gfx7*gfx942*",
        ),
        (
            ["popen//env:PYTEST_AMDGPU_BACKEND=nonesuch"],
            pytest.ExitCode.USAGE_ERROR,
            "*--tx: host host0: 'nonesuch' is not one of auto, hardware, software*",
        ),
        (
            ["id=a::b//popen//env:A=1"],
            pytest.ExitCode.USAGE_ERROR,
            "*--tx: id=a::b//popen//env:A=1: a host cannot be called 'a::b'; allowed are letters*",
        ),
        (
            ["id=host1//popen//env:A=1", "popen//env:A=2"],
            pytest.ExitCode.USAGE_ERROR,
            "*two hosts are called host1; add id=NAME*",
        ),
        (["popen//python=/nowhere/python"], 10, "*no test was run: no connection to popen//python=/nowhere*"),
        (["popen//env:PYTHONPATH=///chdir=/", "popen//python=python -S"], 10, "*must be installed there*"),
        (
            ["popen//via=proxy"],
            pytest.ExitCode.USAGE_ERROR,
            "*--tx: popen//via=proxy: add chdir=DIRECTORY; without it *",
        ),
        (["socket=127.0.0.1:1"], 10, "*no connection to socket=127.0.0.1:1: ConnectionRefusedError*"),
    ],
    ids=[
        "unknown-gpu",
        "unknown-backend",
        "bad-name",
        "two-of-a-name",
        "no-python",
        "no-plugin",
        "no-directory",
        "no-server",
    ],
)
def test_hosts_that_cannot_be_used_are_named(
    run: Run, pytester: pytest.Pytester, gateways: list[str], status: int, message: str
) -> None:
    pytester.makepyfile("def test_a(amdgpu_device): pass")
    result = run(*(f"--tx={one}" for one in gateways), "--dist=load", xdist=True)
    assert result.ret == status
    assert fnmatch.filter([*result.outlines, *result.errlines], message)


def test_a_host_that_takes_a_connection_and_never_answers_is_named(
    run: Run, pytester: pytest.Pytester
) -> None:
    pytester.makeconftest("import pytest_amdgpu.plugin.remote.gateway_repairs as r; r.TIMEOUT = 0.5")
    pytester.makepyfile("def test_a(amdgpu_device): pass")
    silent = pytester.path / "silent"
    silent.write_text("#!/bin/sh\nexec cat >/dev/null\n")
    silent.chmod(0o755)
    result = run(f"--tx=popen//python={silent}", "--dist=load", xdist=True)
    assert result.ret == 10
    result.stderr.fnmatch_lines(["*no connection to popen//python=*/silent: *did not answer within 0.5 s"])


def test_defects_are_injected_where_their_devices_are(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        test_it="""
        import pytest

        def fills(queue, buffer):
            queue.fill(buffer, 3).submit()
            queue.wait_idle(10)
            assert (buffer.array == 3).all()

        def test_id(sdma_queue, vram_buffer): fills(sdma_queue, vram_buffer(4096))

        def test_number(sdma_queue, vram_buffer): fills(sdma_queue, vram_buffer(4096))

        def test_by_hand(amdgpu_inject, amdgpu_device):
            if amdgpu_device.name.startswith("beta/"):
                assert len(amdgpu_inject("corrupt-byte", device="2")) == 1
                with pytest.raises(ValueError, match="alpha/sw-gfx942-0: of another host"):
                    amdgpu_inject("corrupt-byte", device="0")
        """
    )
    result = run(
        *TWO_HOSTS,
        "--amdgpu-confirm=0",
        "--amdgpu-inject=corrupt-byte:test=test_id@alpha/sw-gfx942-1",
        "--amdgpu-inject=corrupt-byte:test=test_number@2",
        backend="auto",
        software=None,
        xdist=True,
    )
    failed = sorted(line.split()[1] for line in result.outlines if line.startswith("FAILED"))
    assert failed == ["test_it.py::test_id[alpha/sw-gfx942-1]", "test_it.py::test_number[beta/sw-gfx1100-0]"]
    result.assert_outcomes(passed=7, failed=2)
    (command,) = (line for line in result.outlines if line.endswith(f"{failed[1]}'"))
    again = run(*shlex.split(command.partition("pytest ")[2]), backend="auto", software=None, xdist=True)
    again.assert_outcomes(failed=1)


def test_a_defect_for_a_device_that_no_host_has_is_a_usage_error(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_a(amdgpu_device): pass")
    result = run(*TWO_HOSTS, "--amdgpu-inject=flaky@sw-gfx942-0", backend="auto", software=None, xdist=True)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["ERROR: --amdgpu-inject: *no device is 'sw-gfx942-0'; known: alpha/sw-gfx942-0 *, and all"]
    )


def test_software_gpus_of_a_host_count_only_if_they_are_asked_for(
    run: Run, pytester: pytest.Pytester
) -> None:
    pytester.makepyfile("def test_a(amdgpu_device): pass")
    options = ("--tx=popen//env:A=1", "--dist=load", "--amdgpu-gate")
    result = run(*options, backend="auto", software=None, xdist=True)
    assert result.ret == 10
    result.stdout.fnmatch_lines(["*software GPUs count only if they are asked for by name*"])


def test_devices_are_leased_where_they_are(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_a(amdgpu_device): pass")
    options = ("--amdgpu-lease-directory=leases", "--amdgpu-lease-timeout=0.2", "--amdgpu-gate")
    with LeaseDirectory(pytester.path / "leases").take(["sw-gfx1100-0"], "another run"):
        result = run(*TWO_HOSTS, *options, backend="auto", software=None, xdist=True)
    assert result.ret == 10
    result.stdout.fnmatch_lines(
        [
            "amdgpu: waiting at most 0.2 s on beta for sw-gfx1100-0, in use by *(another run)*",
            "*no test was run: host beta: sw-gfx1100-0 was in use for 0.2 s: *another run*",
        ]
    )
    # The quarantine of a machine is beside its leases.
    MachineQuarantine(pytester.path / "leases").add("sw-gfx1100-0", "it smoked")
    result = run(*TWO_HOSTS, *options, backend="auto", software=None, xdist=True)
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(
        ["beta/sw-gfx1100-0: on host beta, of the whole machine, since * it smoked; release it with *"]
    )


def test_hosts_that_are_one_machine_do_not_wait_for_each_other(run: Run, pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_a(amdgpu_device): pass")
    gateways = ("--tx=popen", "--tx=popen//env:A=1", "--tx=popen//env:A=2", "--dist=load")
    options = ("--amdgpu-all-devices", "--amdgpu-lease-directory=leases", "--amdgpu-lease-timeout=0")
    result = run(*gateways, *options, software="gfx1100", xdist=True)
    result.assert_outcomes(passed=3)


def test_a_gpu_that_two_hosts_have_is_a_usage_error(monkeypatch: pytest.MonkeyPatch) -> None:
    here, other = find_machine("software", "gfx1100"), find_machine("software", "gfx942")
    assert [one.devices[0].pci_address for one in (here, other)] == ["0000:03:00.0"] * 2
    hosts = Hosts.__new__(Hosts)
    two = [SimpleNamespace(name=name, boot=boot_id(), machine=other) for name in ("alpha", "beta")]
    hosts.all = cast("list[Host]", two)
    nothing = dataclasses.replace(here, devices=())
    # Each process has software GPUs of its own.
    hosts.refuse_one_machine_twice(here)
    with as_on_hardware(monkeypatch):
        with pytest.raises(pytest.UsageError, match="host alpha and this machine are one machine: both have"):
            hosts.refuse_one_machine_twice(here)
        with pytest.raises(
            pytest.UsageError, match=r"beta and host alpha are one .* the GPU 0000:03:00\.0; give"
        ):
            hosts.refuse_one_machine_twice(nothing)
        two[1].boot = "another"
        hosts.refuse_one_machine_twice(nothing)


@pytest.mark.parametrize(
    ("gateway", "key", "name"),
    [
        ("id=alpha//popen//env:A=1", "popen//env:A=1", "alpha"),
        ("execmodel=main_thread_only//popen//env:A=1//id=gw7", "popen//env:A=1", "gw7"),
        ("ssh=tester@node1//python=python3.13", "ssh=tester@node1//python=python3.13", "node1"),
        ("ssh=-p 2222 node1.lan", "ssh=-p 2222 node1.lan", "node1.lan"),
        ("socket=10.0.0.1:8888", "socket=10.0.0.1:8888", "10.0.0.1-8888"),
        ("popen//via=proxy", "popen//via=proxy", "proxy"),
        ("popen//chdir=/tmp", "popen//chdir=/tmp", "host3"),
        ("id=gw1//popen//nice=10", "", "gw1"),
        ("popen", "", "host3"),
    ],
)
def test_gateways_have_hosts_with_names(gateway: str, key: str, name: str) -> None:
    assert key_of(gateway) == key
    assert name_of(execnet.XSpec(gateway), 3) == name


class Channel:
    """What a gateway gives to the code that it runs."""

    TimeoutError = execnet.TimeoutError

    def __init__(self, *questions: object) -> None:
        self.questions = [json.dumps(question) for question in questions]
        self.answers: list[dict[str, Any]] = []
        self.at_end: Callable[[], None] = lambda: None

    def receive(self, timeout: float) -> str:
        if not self.questions:
            self.at_end()
            raise EOFError
        return self.questions.pop(0)

    def send(self, text: str) -> None:
        self.answers.append(json.loads(text))


@contextlib.contextmanager
def as_on_hardware(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(Machine, "is_private", property(lambda machine: False))
    yield


def test_a_host_keeps_leases_and_locks_until_the_run_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"backend": "software", "software": "gfx942"}
    wish = {
        "names": ["0000:03:00.0"],
        "purpose": "a run",
        "shared": False,
        "timeout": 0.0,
        "directory": str(tmp_path),
    }
    question = {
        "version": own_version(),
        "options": options,
        "models": [],
        "lease_directory": str(tmp_path),
        "paths": [],
        "environment": True,
    }
    channel = Channel(question, wish)
    directory = LeaseDirectory(tmp_path)
    held: list[bool] = []

    def look() -> None:
        held.append(directory.holders("0000:03:00.0") is not None)
        held.append(Path(channel.answers[0]["locks"]).is_dir())

    channel.at_end = look
    with as_on_hardware(monkeypatch):
        serve(channel)
    found, done = channel.answers
    assert held == [True, True]
    assert [device["id"] for device in found["machine"]["devices"]] == ["sw-gfx942-0"]
    assert set(found["environment"]["devices"]) == {"sw-gfx942-0"}
    assert done == {"done": ["0000:03:00.0"]}
    assert directory.holders("0000:03:00.0") is None
    assert not Path(found["locks"]).exists()
