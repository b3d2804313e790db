"""Runs over hosts that are reached by ssh and by sockets; machines.py makes them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from machines import Machines

from pytest_amdgpu.plugin.host_service import own_version, serve
from pytest_amdgpu.plugin.remote_arguments import RemoteArguments, sent_directories

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
        f"--tx={machines.gateway('alpha', 'env:PYTEST_AMDGPU_SOFTWARE=gfx942')}",
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
                "--amdgpu-model",
                "m.toml",
                "--ignore=suite/test_it.py",
                "suite",
                "nonesuch",
            ],
            [
                "--rsyncdir=suite",
                "--amdgpu-model",
                "{0}/m.toml",
                "--ignore=suite/test_it.py",
                "suite",
                "nonesuch",
            ],
            ["m.toml"],
        ),
        ([], ["{0}", "--rootdir={0}"], [""]),
        (
            ["--rsyncdir=suite", "--rootdir=suite", "-n0"],
            ["--rsyncdir=suite", "--rootdir=suite", "-n0", "{0}"],
            [""],
        ),
    ],
    ids=["not-sent", "option-of-that-name", "expression", "one-test", "files", "nothing", "root-is-sent"],
)
def test_a_worker_elsewhere_finds_what_the_command_line_names(
    pytester: pytest.Pytester, given: list[str], translated: list[str], there: list[str]
) -> None:
    (pytester.path / "suite").mkdir()
    (pytester.path / "suite" / "test_it.py").touch()
    (pytester.path / "m.toml").touch()
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
        def receive(self) -> str:
            return json.dumps(question)

        send = sent.append

    serve(Channel())
    (error,) = (json.loads(text)["error"] for text in sent)
    assert answer in error
