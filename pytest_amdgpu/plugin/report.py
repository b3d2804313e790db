"""What the plugin says: the table of devices, how to repeat a failure, and what tests left behind."""

from __future__ import annotations

import itertools
import shlex
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import pytest

from pytest_amdgpu.devices.identity import DeviceInfo
from pytest_amdgpu.emulator.behaviour import DEFAULT_BEHAVIOUR
from pytest_amdgpu.plugin.blame import NOT_APPLICABLE
from pytest_amdgpu.plugin.injection import injection_options
from pytest_amdgpu.plugin.parametrize import DEVICE_FIXTURE, GROUP_FIXTURE
from pytest_amdgpu.plugin.plan import Plan
from pytest_amdgpu.plugin.session import GpuSession, session_key
from pytest_amdgpu.plugin.take_back import ledger_key

LOG_LINES = 50
"""Lines of the kernel's log that a failure shows, from the end of the test backwards."""

_REASONS = 10
"""Reasons of tests that were not applicable that the end of a run shows."""

_NAMED = 4
"""Devices that such a reason names."""

failed_key = pytest.StashKey[bool]()
"""Whether a phase of a test has failed already."""

_log_start_key = pytest.StashKey[int]()

REPEAT_INPUT = "amdgpu_repeat"
"""Under this name a worker is told the `Command` of its controller."""

LEAK_PROPERTY = "amdgpu_leak"
"""Name of the property of a report (and of a JUnit test case) that names one leaked resource."""


def header(plan: Plan) -> list[str]:
    """Return the lines that open a run: which GPUs, why these, and the seed."""
    machine = plan.machine
    here = f"{machine.backend} GPUs ({machine.reason})"
    lines = [f"amdgpu: seed {plan.seed}, {here if plan.uses_machine else 'GPUs of other hosts'}"]
    if machine.software and machine.software_kernel != DEFAULT_BEHAVIOUR:
        lines.append(f"amdgpu: they behave as with kernel {machine.software_kernel}")
    if machine.hostile is not None:
        lines.append(f"amdgpu: their timing is hostile, seed {machine.hostile}")
    lines += [f"amdgpu: injected: {text}" for text in plan.injected]
    if machine.backend == "hardware" and plan.uses_machine:
        lines += [f"amdgpu: cannot be used, {note}" for note in machine.notes]
    rows = [("", "device", "target", "name", "XCCs", "VRAM", *(["host"] if plan.hosts else []))]
    for device in plan.devices:
        used = "*" if device in plan.selected else ""
        size = f"{device.vram_bytes / (1 << 30):.0f} GiB"
        host = [device.host or "here"] if plan.hosts else []
        rows.append((used, device.id, device.target, device.name, str(device.num_xcc), size, *host))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        lines.append(("  " + "  ".join(cells)).rstrip())
    lines += [
        f"amdgpu: warning: {device.id} has an unknown stepping and runs as {device.stand_in}, its nearest"
        " relative (--amdgpu-nearest-target)"
        for device in plan.devices
        if device.stand_in
    ]
    return lines


def mark_log(item: pytest.Item, session: GpuSession) -> None:
    """Remember how far the kernel's log was when a test began that has to do with GPUs."""
    if _concerns_gpus(item):
        item.stash[_log_start_key] = len(session.kernel_log)


def _concerns_gpus(item: pytest.Item) -> bool:
    names: Sequence[str] = getattr(item, "fixturenames", ())
    return DEVICE_FIXTURE in names or "rng" in names


def explain_failure(item: pytest.Item, report: pytest.TestReport, session: GpuSession) -> None:
    """Tell in the report of a failure: the device, the seed, how to repeat it, and the kernel's log of it."""
    if report.failed:
        item.stash[failed_key] = True
    if not report.failed or not _concerns_gpus(item):
        return
    params = getattr(getattr(item, "callspec", None), "params", {})
    devices = [one for one in params.get(GROUP_FIXTURE) or (params.get(DEVICE_FIXTURE),) if one is not None]
    lines = reproduction(item.config, session.plan, devices, item.nodeid)
    report.sections.append(("amdgpu", "\n".join(lines)))
    if queues := list(_queues(item)):
        report.sections.append(("amdgpu queues", "\n".join(queues)))
    # Without a mark set-up failed before it came to this plugin, and the log is not about the test.
    start = item.stash.get(_log_start_key, len(session.kernel_log))
    log = [line for line in session.kernel_log[start:] if not _is_of_another(line, devices, session.plan)]
    if log:
        report.sections.append(("amdgpu kernel log", "\n".join(log[-LOG_LINES:])))
    elif obstacle := getattr(session.kernel_log, "obstacle", ""):
        report.sections.append(("amdgpu kernel log", f"cannot be read: {obstacle}"))
    # Last, because this asks the kernel something.
    if errors := list(_new_errors(item, session)):
        report.sections.append(("amdgpu error counters", "\n".join(errors)))


def _is_of_another(line: str, devices: Sequence[DeviceInfo], plan: Plan) -> bool:
    """Whether a line of the kernel's log names GPUs by their PCI addresses, and none of the test's."""
    own = any(device.pci_address in line for device in devices)
    return bool(devices) and not own and any(device.pci_address in line for device in plan.machine.devices)


def _queues(item: pytest.Item) -> Iterator[str]:
    """Yield where the queues of a test are that were given work, and what they read last.

    There are none after its tear-down.
    """
    ledger = item.stash.get(ledger_key, None)
    for device in ledger.devices if ledger is not None else ():
        for queue in reversed(device.queues()):
            try:
                if not queue.ring.write_pointer:
                    continue
                history = queue.history()
                yield f"{device.name}, {queue.state()}"
            except Exception as error:
                # What only explains a failure must not hide it.
                yield f"{device.name}, {queue.name} cannot be looked at: {type(error).__name__}: {error}"
                continue
            if history:
                yield "    before that it has read:"
            yield from (f"    {packet}" for packet in history)


def _new_errors(item: pytest.Item, session: GpuSession) -> Iterator[str]:
    """Yield which error counters of a test's devices have changed, and since when."""
    ledger = item.stash.get(ledger_key, None)
    for device in ledger.devices if ledger is not None else ():
        yield from _indented(device.name, session.errors.changes(device, item.nodeid))


def _indented(name: str, lines: list[str]) -> Iterator[str]:
    yield from (line if line.startswith(" ") else f"{name}, {line}" for line in lines)


def skip_where_impossible(item: pytest.Item, error: Exception) -> None:
    """Skip a test, with the reason, that asked for what its GPU has not: an SDMA queue, say, or a large BAR.

    What the driver cannot do for another reason stays a failure.
    """
    from pytest_amdgpu.driver.errors import MissingCapabilityError

    if isinstance(error, MissingCapabilityError):
        # It may have ended in the middle, as a failed one does.
        item.stash[failed_key] = True
        device = getattr(getattr(item, "callspec", None), "params", {}).get(DEVICE_FIXTURE)
        if device is not None:
            raise pytest.skip.Exception(f"{NOT_APPLICABLE}{device.id}: {error}") from error


def reproduction(
    config: pytest.Config, plan: Plan, devices: Iterable[DeviceInfo], node_id: str
) -> Iterator[str]:
    """Yield what is needed to repeat a test: its devices, the seed, and the command."""
    told = getattr(config, "workerinput", {}).get(REPEAT_INPUT)
    command = Command(*told) if told else command_of(config, plan)
    seed, *others = command.options
    options = [seed]
    hosts: dict[str, None] = {}
    for device in devices:
        hosts[device.host] = None
        relative = f", runs as {device.stand_in}" if device.stand_in else ""
        yield f"device: {device.id} ({device.name}, {plan.machine.backend} GPU{relative})"
        options.append(f"--amdgpu-device={device.id}")
    for host in hosts:
        options += _gateway(plan, host)
    options += injection_options(plan, hosts)
    yield f"seed: {plan.seed}"
    # Most runs say nothing of failures, and do not pay for the import.
    from pytest_amdgpu.results.rows import from_directory

    test = from_directory(node_id, command.root, command.directory)
    yield f"to repeat: pytest {shlex.join([*options, *others, test])}"


class Command(NamedTuple):
    """What a command begins with that repeats tests of a run, and where it is given."""

    options: list[str]
    """The first one has the seed."""
    root: str
    """The directory from which tests have their ids."""
    directory: str
    """That in which the run was begun."""


def command_of(config: pytest.Config, plan: Plan) -> Command:
    """Return it for a run of this process. Workers on other hosts have other directories."""
    return Command(repeat_options(config, plan), str(config.rootpath), str(config.invocation_params.dir))


def _gateway(plan: Plan, host: str) -> list[str]:
    """Return the options that let a test run on a host; none for that of the controller."""
    return [
        option
        for name, spec in plan.hosts
        if name == host
        for option in (f"--tx=id={name}//{spec}", "--dist=load")
    ]


def all_gateways(plan: Plan) -> list[str]:
    """Return the options that let tests run on all hosts of a run; none if it has this machine only."""
    if not plan.hosts:
        return []
    here = ["--tx=popen"] if plan.uses_machine else []
    return ["--dist=load", *here, *(f"--tx=id={name}//{spec}" for name, spec in plan.hosts)]


def repeat_options(config: pytest.Config, plan: Plan) -> list[str]:
    """Return the options that make a run find the same GPUs and use the same seed, which is the first."""
    # What `auto` found here it need not find elsewhere; but each host has its own.
    backend = config.getoption("--amdgpu-backend") if plan.hosts else plan.machine.backend
    options = [f"--amdgpu-seed={plan.seed}", f"--amdgpu-backend={backend}"]
    for name in ("--amdgpu-compiler", "--amdgpu-software", "--amdgpu-software-kernel", "--amdgpu-hostile"):
        if (value := config.getoption(name)) is not None:
            options.append(f"{name}={value}")
    if plan.machine.nearest_target:
        options.append("--amdgpu-nearest-target")
    options += [f"--amdgpu-model={file}" for file in config.getoption("--amdgpu-model")]
    if plan.hosts:
        options += [f"--rsyncdir={directory}" for directory in config.option.rsyncdir]
        options += [f"--px={proxy}" for proxy in config.option.px]
    return [*options, *_pytest_options(config)]


def _pytest_options(config: pytest.Config) -> Iterator[str]:
    """Yield those of pytest's own options without which a test is not found, or is another one."""
    option = config.option
    if option.rootdir:
        yield f"--rootdir={config.rootpath}"
    if option.inifilename:
        yield f"--config-file={option.inifilename}"
    # That of the command line may have undone one of a configuration file.
    if option.markexpr:
        yield f"-m{option.markexpr}"
    yield from (f"-p{name}" for name in option.plugins or () if not name.startswith("no:"))
    yield from (f"-o{setting}" for setting in option.override_ini or ())
    yield from (f"-W{warning}" for warning in option.pythonwarnings or ())


def complain(config: pytest.Config, text: str) -> None:
    """Print on stderr what went wrong outside of tests.

    Often that is where pytest has begun a line on stdout, which may be on the disk that is full.
    """
    begun = config.pluginmanager.hasplugin("terminalreporter") and (
        config.get_terminal_writer().width_of_current_line
    )
    print("\n" * bool(begun) + f"amdgpu: {text}", file=sys.stderr)


def write_not_applicable(terminal: pytest.TerminalReporter) -> None:
    """Tell at the end of a run how many tests were not applicable, by what which devices lack."""
    texts = [
        report.longrepr[2].removeprefix("Skipped: ").removeprefix(NOT_APPLICABLE)
        for report in terminal.stats.get("skipped", ())
        if isinstance(report.longrepr, tuple) and NOT_APPLICABLE in report.longrepr[2]
    ]
    if not texts:
        return
    total = len(texts)
    terminal.line(f"amdgpu: {total} of the skipped tests {'was' if total == 1 else 'were'} not applicable")
    ids = {device.id for device in terminal.config.stash[session_key].plan.pool}
    reasons = Counter[str]()
    devices: dict[str, dict[str, None]] = {}
    for text in texts:
        device, _, reason = text.partition(": ")
        reason = reason if device in ids else text
        reasons[reason] += 1
        devices.setdefault(reason, {}).update({device: None} if device in ids else {})
    for reason, count in reasons.most_common(_REASONS):
        names = (
            ", ".join(devices[reason])
            if len(devices[reason]) <= _NAMED
            else f"{len(devices[reason])} devices"
        )
        terminal.line(f"    {count}: {reason}" + (f" ({names})" if names else ""))
    if len(reasons) > _REASONS:
        terminal.line(f"    ... and {len(reasons) - _REASONS} more reasons")


def write_leaks(terminal: pytest.TerminalReporter) -> None:
    """List at the end of a run what each test left behind."""
    leaks: dict[str, list[str]] = {}
    for test_report in itertools.chain.from_iterable(terminal.stats.values()):
        if isinstance(test_report, pytest.TestReport) and test_report.when == "teardown":
            texts = [str(text) for name, text in test_report.user_properties if name == LEAK_PROPERTY]
            if texts:
                leaks[test_report.nodeid] = texts
    if leaks:
        terminal.section("amdgpu: taken back from tests that did not give it back", yellow=True)
    for test, texts in leaks.items():
        terminal.line(test)
        for text in texts:
            terminal.line(f"    {text}")
