"""Runs over hosts that are reached by ssh and by sockets; machines.py makes them."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import execnet
import pytest
from machines import Machine, Machines

from pytest_amdgpu.devices.leases import LeaseDirectory
from pytest_amdgpu.devices.machine_quarantine import MachineQuarantine
from pytest_amdgpu.families.models import model_path
from pytest_amdgpu.plugin.remote.host_service import own_version, serve
from pytest_amdgpu.plugin.remote.remote_arguments import RemoteArguments, sent_directories

Run = Callable[..., pytest.RunResult]


@pytest.fixture
def machines(tmp_path: Path, require_tool: Callable[[str], str]) -> Iterator[Machines]:
    require_tool("ssh")
    made = Machines(tmp_path / "machines", require_tool("sshd"))
    yield made
    made.end()


def on(run: Run, *arguments: str) -> pytest.RunResult:
    """Run over hosts, with the software GPUs that their gateways say."""
    return run("--dist=load", "--amdgpu-all-devices", *arguments, backend="auto", software=None, xdist=True)


def test_tests_are_sent_to_two_machines_by_ssh_and_run_where_their_devices_are(
    run: Run, pytester: pytest.Pytester, machines: Machines
) -> None:
    alpha, beta = machines.add("alpha"), machines.add("beta")
    model = model_path("mi300x").read_text().replace('name = "mi300x"', 'name = "mine"', 1)
    pytester.makefile(".toml", mine=model)
    pytester.makefile(".ini", **{"suite/pytest": "[pytest]\naddopts = -rP"})
    (pytester.path / "suite" / "helper.py").write_text("VALUE = 7")
    (pytester.path / "suite" / "test_it.py").write_text(
        "import os, socket\n"
        "import helper\n"
        "def test_fill(sdma_queue, vram_buffer, amdgpu_device):\n"
        "    buffer = vram_buffer(4096)\n"
        "    sdma_queue.fill(buffer, helper.VALUE).submit()\n"
        "    sdma_queue.wait_idle(10)\n"
        "    assert (buffer.array == 7).all()\n"
        "    print(amdgpu_device.name, 'on', socket.gethostname(), 'in', os.getcwd())\n"
    )
    result = on(
        run,
        f"--tx={machines.gateway('alpha', 'env:PYTEST_AMDGPU_SOFTWARE=mine')}",
        # What is only here the plugin sends to all hosts.
        "--amdgpu-model=mine.toml",
        "--tx",
        machines.gateway("beta", "env:PYTEST_AMDGPU_SOFTWARE=gfx942,gfx1100"),
        # A relative name, one that is also an option's value, and a file that is there and not sent.
        "--rsyncdir",
        "suite",
        "--amdgpu-verdict",
        "v.json",
        "suite",
    )
    assert result.ret == 0
    ids = ["alpha/sw-gfx942-0", "beta/sw-gfx942-0", "beta/sw-gfx1100-0"]
    hosts = {"alpha": alpha, "beta": beta}
    assert sorted(line for line in result.outlines if " on " in line and " in " in line) == sorted(
        f"{name} on {hosts[name[: name.index('/')]].host_name} in "
        f"{machines.directory / name[: name.index('/')]}"
        for name in ids
    )
    verdict = json.loads((pytester.path / "v.json").read_text())
    assert {test["id"]: test["outcome"] for test in verdict["tests"]} == {
        f"test_it.py::test_fill[{name}]": "pass" for name in ids
    }
    assert {name: host["host"] for name, host in verdict["environment"]["hosts"].items()} == {
        name: host.host_name for name, host in hosts.items()
    }


def gate(run: Run, pytester: pytest.Pytester, *arguments: str) -> tuple[pytest.RunResult, dict[str, Any]]:
    """Run a gate over hosts; return what it says, and what has become of each test."""
    result = on(run, "--amdgpu-gate", "--amdgpu-verdict=v.json", *arguments)
    verdict = json.loads((pytester.path / "v.json").read_text())
    # No test is told twice.
    assert len({test["id"] for test in verdict["tests"]}) == len(verdict["tests"])
    return result, verdict


def results(verdict: dict[str, Any]) -> dict[str, str]:
    return {
        test["id"].removeprefix("test_it.py::"): " ".join(
            [test["outcome"], *(["infra"] if test["trust"] == "infra" else [])]
        )
        for test in verdict["tests"]
    }


@contextlib.contextmanager
def when_told(path: Path, act: Callable[[], None]) -> Iterator[None]:
    """Do something when a test writes to a pipe."""
    os.mkfifo(path)

    def wait() -> None:
        if path.read_text():
            act()

    thread = threading.Thread(target=wait)
    thread.start()
    try:
        yield
    finally:
        # Where nobody came to write the thread is released.
        with contextlib.suppress(OSError):
            os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
        thread.join()


KNOWN = """
    import os
    import time
    from pathlib import Path

    import pytest

    KNOWN = Path({directory!r})

    def pytest_runtest_logstart(nodeid):
        if "PYTEST_XDIST_WORKER" not in os.environ:
            (KNOWN / nodeid.replace("/", "-")).touch()

    @pytest.fixture
    def known(request):
        def wait():
            end = time.monotonic() + 60
            while not (KNOWN / request.node.nodeid.replace("/", "-")).exists():
                assert time.monotonic() < end
                time.sleep(0.01)
        return wait
"""
"""A conftest whose fixture waits until the controller knows that the test runs: what is on its way when a
connection breaks is lost."""


def make_conftest(pytester: pytest.Pytester, machines: Machines, more: str = "") -> None:
    directory = machines.directory / "known"
    directory.mkdir()
    pytester.makeconftest(KNOWN.format(directory=str(directory)) + more)


def separate(machines: Machines, name: str) -> Machine:
    machine = machines.add(name)
    if not machine.is_separate:
        pytest.skip(machine.why_not_separate)
    return machine


def test_what_happens_to_a_worker_on_a_host_is_found_out_there(
    run: Run, pytester: pytest.Pytester, machines: Machines
) -> None:
    machines.add("alpha")
    make_conftest(pytester, machines)
    pytester.makepyfile(
        test_it="""
        import ctypes, os, signal
        import pytest

        def test_connection(amdgpu_device, known):
            if amdgpu_device.family.name == "gfx942":
                known()
                # The server of this worker's own connection.
                os.kill(os.getppid(), signal.SIGKILL)
                signal.pause()

        def test_death(amdgpu_device):
            if amdgpu_device.family.name == "gfx942":
                os._exit(3)

        def test_interrupted(amdgpu_device):
            if amdgpu_device.family.name == "gfx942":
                signal.pause()

        @pytest.mark.parametrize("number", range(2))
        def test_killed(number, amdgpu_device):
            if amdgpu_device.family.name == "gfx942":
                signal.pthread_sigmask(signal.SIG_BLOCK, set(range(1, 65)) - {signal.SIGKILL})
                ctypes.PyDLL(None).pause()

        def test_later(amdgpu_device):
            pass
        """
    )
    result, verdict = gate(
        run,
        pytester,
        f"--tx={machines.gateway('alpha', 'env:PYTEST_AMDGPU_SOFTWARE=gfx942,gfx1100')}",
        "--rsyncdir=.",
        "--amdgpu-deadline=test=1",
        "--amdgpu-quarantine=machine",
        f"--amdgpu-lease-directory={machines.directory / 'leases'}",
        "test_it.py",
    )
    assert result.ret == 1
    # Two processes were killed there, and nobody is left in the workers who could write it down.
    assert MachineQuarantine(machines.directory / "leases").names() == ["sw-gfx942-0"]
    assert results(verdict) == {
        "test_connection[alpha/sw-gfx942-0]": "crash infra",
        "test_death[alpha/sw-gfx942-0]": "crash",
        "test_interrupted[alpha/sw-gfx942-0]": "timeout",
        "test_killed[alpha/sw-gfx942-0-0]": "timeout",
        "test_killed[alpha/sw-gfx942-0-1]": "timeout",
        "test_later[alpha/sw-gfx942-0]": "fail infra",
        "test_killed[alpha/sw-gfx1100-0-0]": "pass",
        "test_killed[alpha/sw-gfx1100-0-1]": "pass",
        **{
            f"test_{name}[alpha/sw-gfx1100-0]": "pass"
            for name in ("connection", "death", "interrupted", "later")
        },
    }
    texts = {test["id"].partition("::test_")[2]: test.get("text", "") for test in verdict["tests"]}
    assert fnmatch(
        texts["connection[alpha/sw-gfx942-0]"],
        "the connection to worker gw* was lost while it ran this test; host alpha is there, *",
    )
    assert fnmatch(texts["killed[alpha/sw-gfx942-0-0]"], "Timeout: call of *: process * was killed")
    output = result.stdout.str()
    # From where the run was begun, not as the worker would have to say it.
    commands = [line for line in result.outlines if line.startswith("to repeat: pytest")]
    assert len(commands) == 6
    assert all("--rsyncdir=. " in one and " 'test_it.py::test_" in one for one in commands)
    assert output.count("what gw") == 3
    assert output.count("pause(") >= 2


def test_a_run_goes_on_without_a_host_that_is_switched_off(
    run: Run, pytester: pytest.Pytester, machines: Machines
) -> None:
    alpha = separate(machines, "alpha")
    machines.add("beta")
    pipe = machines.directory / "off"
    make_conftest(pytester, machines)
    pytester.makepyfile(
        test_it=f"""
        import signal
        import pytest

        @pytest.mark.parametrize("number", range(3))
        def test_off(number, amdgpu_device, known):
            if amdgpu_device.name.startswith("alpha") and number == 1:
                known()
                open({str(pipe)!r}, "w").write("now")
                signal.pause()

        @pytest.mark.parametrize("number", range(4))
        def test_anywhere(number):
            pass
        """
    )
    with when_told(pipe, alpha.switch_off):
        result, verdict = gate(
            run,
            pytester,
            f"--tx={machines.gateway('alpha', 'env:PYTEST_AMDGPU_SOFTWARE=gfx942')}",
            f"--tx={machines.gateway('beta', 'env:PYTEST_AMDGPU_SOFTWARE=gfx942')}",
            "--rsyncdir=.",
            "test_it.py",
        )
    assert result.ret == 10
    assert results(verdict) == {
        "test_off[alpha/sw-gfx942-0-0]": "pass",
        "test_off[alpha/sw-gfx942-0-1]": "crash infra",
        "test_off[alpha/sw-gfx942-0-2]": "fail infra",
        **{f"test_off[beta/sw-gfx942-0-{number}]": "pass" for number in range(3)},
        **{f"test_anywhere[{number}]": "pass" for number in range(4)},
    }
    assert any(fnmatch(reason, "host alpha was lost: *") for reason in verdict["reasons"])


def test_a_host_that_is_switched_off_before_tests_are_known_leaves_those_of_others(
    run: Run, pytester: pytest.Pytester, machines: Machines
) -> None:
    alpha = separate(machines, "alpha")
    machines.add("beta")
    pipe = machines.directory / "off"
    pytester.makeconftest(
        f"""
        import signal
        import socket

        def pytest_collection(session):
            if socket.gethostname() == "alpha":
                open({str(pipe)!r}, "w").write("now")
                signal.pause()
        """
    )
    pytester.makepyfile(test_it="def test_a(amdgpu_device): pass")
    with when_told(pipe, alpha.switch_off):
        result, verdict = gate(
            run,
            pytester,
            f"--tx={machines.gateway('alpha', 'env:PYTEST_AMDGPU_SOFTWARE=gfx942')}",
            f"--tx={machines.gateway('beta', 'env:PYTEST_AMDGPU_SOFTWARE=gfx942')}",
            "--rsyncdir=.",
            "test_it.py",
        )
    assert result.ret == 10
    assert results(verdict) == {"test_a[alpha/sw-gfx942-0]": "fail infra", "test_a[beta/sw-gfx942-0]": "pass"}


def test_a_host_that_is_switched_off_before_it_has_workers_ends_the_run(
    run: Run, pytester: pytest.Pytester, machines: Machines
) -> None:
    alpha = separate(machines, "alpha")
    pipe, done = machines.directory / "off", machines.directory / "done"
    os.mkfifo(done)
    pytester.makeconftest(
        f"""
        def pytest_xdist_setupnodes():
            open({str(pipe)!r}, "w").write("now")
            assert open({str(done)!r}).read() == "done"
        """
    )
    pytester.makepyfile(test_it="def test_a(amdgpu_device): pass")

    def switch_off() -> None:
        alpha.switch_off()
        done.write_text("done")

    with when_told(pipe, switch_off):
        gateway = machines.gateway("alpha", "env:PYTEST_AMDGPU_SOFTWARE=gfx942")
        result = on(run, "--amdgpu-gate", f"--tx={gateway}", "--rsyncdir=.", "test_it.py")
    assert result.ret == 10
    result.stdout.fnmatch_lines(["*no test was run: *"])


def test_a_host_ends_its_workers_and_leases_when_the_controller_was_killed(
    pytester: pytest.Pytester, machines: Machines
) -> None:
    machines.add("alpha")
    life, leases = machines.directory / "life", machines.directory / "leases"
    os.mkfifo(life)
    pytester.makepyfile(
        test_it=f"""
        import ctypes, signal

        def test_hangs(amdgpu_device):
            life = open({str(life)!r}, "w")
            print("here", file=life, flush=True)
            # Neither the end of the connection nor any signal is noticed: the GIL is held.
            signal.pthread_sigmask(signal.SIG_BLOCK, set(range(1, 65)) - {{signal.SIGKILL}})
            ctypes.PyDLL(None).pause()
        """
    )
    command = [
        *(sys.executable, "-m", "pytest", "-pno:hypothesispytest", "--dist=load", "--amdgpu-gate"),
        f"--tx={machines.gateway('alpha', 'env:PYTEST_AMDGPU_SOFTWARE=gfx942')}",
        *(f"--amdgpu-lease-directory={leases}", "--amdgpu-verdict=v.json", "--rsyncdir=.", "test_it.py"),
    ]
    controller = pytester.popen(command, stdin=subprocess.DEVNULL)
    with life.open() as reader:
        assert reader.readline() == "here\n"
        directory = LeaseDirectory(leases)
        assert directory.holders("sw-gfx942-0") is not None
        controller.kill()
        # Until the worker has ended.
        assert reader.read() == ""
    controller.communicate()
    # As long as it takes: the lease is given back after that.
    directory.take(["sw-gfx942-0"], "the test", timeout=60).release()


def test_what_any_host_can_run_does_not_end_with_the_last_worker_that_had_it(
    run: Run, pytester: pytest.Pytester, machines: Machines
) -> None:
    alpha = separate(machines, "alpha")
    machines.add("beta")
    pipe, ended = machines.directory / "off", machines.directory / "ended"
    os.mkfifo(ended)
    pytester.makeconftest(
        f"""
        import contextlib
        import os

        def pytest_unconfigure():
            # Only for the first worker there is somebody who waits for it.
            if os.environ.get("ROLE") == "beta":
                with contextlib.suppress(FileExistsError):
                    open({str(machines.directory / "once")!r}, "x").close()
                    open({str(ended)!r}, "w").write("ended")
        """
    )
    pytester.makepyfile(
        test_it=f"""
        import signal
        import pytest

        def test_off(amdgpu_device):
            # The other worker is no more, and this one has a test that it will not run.
            assert open({str(ended)!r}).read() == "ended"
            open({str(pipe)!r}, "w").write("now")
            signal.pause()

        @pytest.mark.parametrize("number", range(3))
        def test_anywhere(number):
            pass
        """
    )
    with when_told(pipe, alpha.switch_off):
        result, verdict = gate(
            run,
            pytester,
            f"--tx={machines.gateway('alpha', 'env:PYTEST_AMDGPU_SOFTWARE=gfx942')}",
            f"--tx={machines.gateway('beta', 'env:PYTEST_AMDGPU_SOFTWARE=gfx942', 'env:ROLE=beta')}",
            "--amdgpu-device=alpha/sw-gfx942-0",
            "--rsyncdir=.",
            "test_it.py",
        )
    assert result.ret == 10
    assert results(verdict) == {
        "test_off[alpha/sw-gfx942-0]": "crash infra",
        **{f"test_anywhere[{number}]": "pass" for number in range(3)},
    }
    result.stdout.no_fnmatch_line("*tests that were not run*")


def test_a_host_that_falls_silent_is_lost_and_what_only_it_could_run_is_missing(
    run: Run, pytester: pytest.Pytester, machines: Machines
) -> None:
    alpha = separate(machines, "alpha")
    pipe = machines.directory / "freeze"
    make_conftest(
        pytester,
        machines,
        """
    from pytest_amdgpu.plugin.remote import host_watch

    class Impatience:
        def pytest_runtest_logstart(self, nodeid):
            if "test_silent" in nodeid:
                host_watch.SILENCE = 2.0

    def pytest_configure(config):
        config.pluginmanager.register(Impatience())
""",
    )
    pytester.makepyfile(
        test_it=f"""
        import signal
        import pytest

        def test_before(amdgpu_device):
            pass

        def test_silent(amdgpu_device, known):
            known()
            open({str(pipe)!r}, "w").write("now")
            signal.pause()

        def test_after(amdgpu_device):
            pass

        def test_anywhere():
            pass
        """
    )
    with when_told(pipe, alpha.freeze):
        result, verdict = gate(
            run,
            pytester,
            f"--tx={machines.gateway('alpha', 'env:PYTEST_AMDGPU_SOFTWARE=gfx942')}",
            "--rsyncdir=.",
            "test_it.py",
        )
    assert result.ret == 10
    assert results(verdict) == {
        "test_before[alpha/sw-gfx942-0]": "pass",
        "test_silent[alpha/sw-gfx942-0]": "crash infra",
        "test_after[alpha/sw-gfx942-0]": "fail infra",
        "test_anywhere": "missing",
    }
    assert any(
        fnmatch(reason, "host alpha was lost: it has not answered for * s") for reason in verdict["reasons"]
    )


@pytest.fixture
def socket_server(tmp_path: Path) -> Iterator[str]:
    """The address of a socket server of execnet."""
    command = [sys.executable, "-u", "-m", "execnet.script.socketserver", "127.0.0.1:0"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, cwd=tmp_path, env=environment
    ) as server:
        assert server.stdout is not None
        # ... Entering Accept loop ('127.0.0.1', 33333)
        port = server.stdout.readline().rpartition(",")[2].strip(" )\n")
        # The pipe must not become full: workers write what pytest says to it.
        drain = threading.Thread(target=server.stdout.read)
        drain.start()
        yield f"127.0.0.1:{port}"
        server.kill()
        drain.join()


def test_workers_behind_a_socket_server_and_a_proxy(
    run: Run, pytester: pytest.Pytester, machines: Machines, socket_server: str
) -> None:
    machines.add("alpha")
    pytester.makepyfile(
        test_it="""
        import os, signal
        import pytest

        @pytest.mark.parametrize("number", range(4))
        def test_use(number, sdma_queue, vram_buffer):
            buffer = vram_buffer(4096)
            sdma_queue.fill(buffer, number).submit()
            sdma_queue.wait_idle(10)
            assert (buffer.array == number).all()

        def test_death(amdgpu_device):
            os._exit(3)

        def test_late(amdgpu_device):
            signal.pause()
        """
    )
    directory = machines.directory / "behind"
    software = "env:PYTEST_AMDGPU_SOFTWARE=gfx942"
    name = socket_server.replace(":", "-")
    result, verdict = gate(
        run,
        pytester,
        f"--px=id=proxy//{machines.gateway('alpha')}",
        f"--tx=2*popen//via=proxy//python={sys.executable}//chdir={directory}//{software}",
        f"--tx=2*socket={socket_server}//{software}",
        "--rsyncdir=.",
        "--amdgpu-deadline=test=3",
        "test_it.py",
    )
    assert result.ret == 1
    assert results(verdict) == {
        f"test_{test}[{host}/sw-gfx942-0{number}]": outcome
        for host in ("proxy", name)
        for test, number, outcome in (
            *(("use", f"-{number}", "pass") for number in range(4)),
            ("death", "", "crash"),
            ("late", "", "timeout"),
        )
    }


@pytest.mark.parametrize(
    ("given", "translated", "there"),
    [
        (["suite"], ["{0}/suite", "--rootdir={0}"], ["", "suite"]),
        (["--rsyncdir", "suite", "suite"], ["--rsyncdir", "suite", "suite"], []),
        (["-k", "suite", "--rsyncdir=suite", "suite"], ["-k", "suite", "--rsyncdir=suite", "suite"], []),
        (
            ["--rsyncdir=.", "suite/test_it.py::test_a[x::y]"],
            ["--rsyncdir=.", "{name}/suite/test_it.py::test_a[x::y]", "--rootdir={name}"],
            [],
        ),
        (
            [
                "--rsyncdir=suite",
                "--amdgpu-compiler",
                "m.cfg",
                "--ignore=suite/test_it.py",
                "suite",
                "nonesuch",
            ],
            [
                "--rsyncdir=suite",
                "--amdgpu-compiler",
                "{0}/m.cfg",
                "--ignore=suite/test_it.py",
                "suite",
                "nonesuch",
            ],
            ["m.cfg"],
        ),
        (
            ["--rsyncdir=suite", "--amdgpu-lease-directory=leases", "suite"],
            ["--rsyncdir=suite", "--amdgpu-lease-directory={0}/leases", "suite"],
            [],
        ),
        ([], ["{0}", "--rootdir={0}"], [""]),
        (
            ["--rsyncdir=suite", "--rootdir=suite", "-n0"],
            ["--rsyncdir=suite", "--rootdir=suite", "-n0", "{0}"],
            [""],
        ),
    ],
    ids=[
        "not-sent",
        "option-of-that-name",
        "expression",
        "one-test",
        "files",
        "place",
        "nothing",
        "root-is-sent",
    ],
)
def test_a_worker_elsewhere_finds_what_the_command_line_names(
    pytester: pytest.Pytester, given: list[str], translated: list[str], there: list[str]
) -> None:
    (pytester.path / "suite").mkdir()
    (pytester.path / "suite" / "test_it.py").touch()
    (pytester.path / "m.cfg").touch()
    config = pytester.parseconfig("-pno:hypothesispytest", *given)
    arguments = RemoteArguments(config)
    _, *command = arguments(sent_directories(config), [])
    # pytester gives each run a directory for temporary files.
    command = [argument for argument in command if not argument.startswith("--basetemp=")]
    assert command == [one.format(pytester.path, name=pytester.path.name) for one in translated]
    assert arguments.must_be_there() == sorted(str(Path(pytester.path, name)) for name in there)


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        (
            {"version": own_version(), "paths": ["/", "/nowhere"]},
            "/nowhere is not there; --rsyncdir=DIRECTORY",
        ),
        ({"version": "99.1", "paths": []}, f"pytest-amdgpu is {own_version()} there (Python 3"),
        ({"options": {}}, "and of an earlier version here; install"),
    ],
)
def test_a_host_that_lacks_something_says_so(question: dict[str, object], answer: str) -> None:
    sent: list[str] = []

    class Channel:
        TimeoutError = execnet.TimeoutError

        def receive(self, timeout: float) -> str:
            return json.dumps(question)

        send = sent.append

    serve(Channel())
    (error,) = (json.loads(text)["error"] for text in sent)
    assert answer in error
