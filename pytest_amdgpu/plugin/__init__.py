"""The pytest plugin: the only package that imports pytest. It reads in the order in which pytest calls it."""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from typing import TYPE_CHECKING

import pytest

from pytest_amdgpu.plugin import (
    blame,
    health,
    injection,
    leasing,
    machine_wide,
    options,
    parametrize,
    progress,
    report,
    take_back,
)
from pytest_amdgpu.plugin.fixtures import (
    _amdgpu_impostor,
    _amdgpu_take_back,
    amdgpu_attach,
    amdgpu_device,
    amdgpu_devices,
    amdgpu_inject,
    compile_kernel,
    compute_queue,
    gtt_buffer,
    load_kernel,
    rng,
    sdma_queue,
    timeline_semaphore,
    userptr_buffer,
    vram_buffer,
)
from pytest_amdgpu.plugin.judging import named_paths
from pytest_amdgpu.plugin.session import session_key, start_session
from pytest_amdgpu.plugin.watching import guarding

if TYPE_CHECKING:
    from pytest_amdgpu.plugin.judging.gate import Gate

__all__ = [
    "_amdgpu_impostor",
    "_amdgpu_take_back",
    "amdgpu_attach",
    "amdgpu_device",
    "amdgpu_devices",
    "amdgpu_inject",
    "compile_kernel",
    "compute_queue",
    "gtt_buffer",
    "load_kernel",
    "rng",
    "sdma_queue",
    "timeline_semaphore",
    "userptr_buffer",
    "vram_buffer",
]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options `--amdgpu-*`."""
    options.add_options(parser)


# A wrapper that is the first one, so that a child that goes on has done nothing yet.
@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> Generator[None, object, object]:
    """Leave a gate's exit status to a process that runs no tests; let others know early of a worker.

    In this hook pytest-cov decides where it measures.
    """
    guarding.begin(early_config)
    if options.is_supervised(early_config.known_args_namespace):
        from pytest_amdgpu.plugin.watching import supervision

        supervision.use_a_worker(early_config, early_config.known_args_namespace)
    return (yield)


# A wrapper, which comes before the hook in which pytest-xdist reads its options.
@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> Generator[None, object, object]:
    """Put the tests of a supervised run in a worker; let a gate have the last word about the status."""
    if options.is_supervised(config.option):
        from pytest_amdgpu.plugin.watching import supervision

        supervision.use_a_worker(config, config.option)
    status = yield
    if options.decides(config.option) and not options.is_worker(config):
        from pytest_amdgpu.plugin.judging import gating

        return gating.last_word(config, status)
    return status


# First, because pytest itself runs tests in it.
@pytest.hookimpl(tryfirst=True, specname="pytest_cmdline_main")
def pytest_amdgpu_print_defects(config: pytest.Config) -> int | None:
    """Only print the list of defects, if it is asked for."""
    if injection.HELP not in config.getoption("--amdgpu-inject"):
        return None
    print(injection.describe())
    return 0


def pytest_configure(config: pytest.Config) -> None:
    """Register markers, and what gathers results and talks to pytest-xdist where it is in use."""
    gathering = None
    if options.wants_verdict(config):
        from pytest_amdgpu.plugin.judging import gating

        gathering = gating.register(config)
    with gathering.telling_of_refusals() if gathering is not None else contextlib.nullcontext():
        _register_what_gathers(config, gathering)
    for marker in options.MARKERS:
        config.addinivalue_line("markers", marker)
    if config.getoption("--amdgpu-nearest-target"):
        # It is what was asked for, and the header says so.
        config.addinivalue_line("filterwarnings", f"ignore::{options.NEAREST_TARGET_WARNING}")
    if config.pluginmanager.hasplugin("xdist"):
        from pytest_amdgpu.plugin.workers import shared_quarantine, xdist_hooks

        xdist_hooks.register(config)
        shared_quarantine.register(config)


def _register_what_gathers(config: pytest.Config, gathering: Gate | None) -> None:
    # A gate that only collects has nothing to watch, but a status.
    is_guarded = guarding.ADDRESS in config.stash
    if (options.is_supervised(config.option) or is_guarded) and not options.is_worker(config):
        from pytest_amdgpu.plugin.watching import supervision

        supervision.register(config, gathering)
    if options.wants_attachments(config):
        from pytest_amdgpu.plugin.judging import attachments

        attachments.register(config)
    if options.wants_junit(config):
        from pytest_amdgpu.plugin.judging.junit import JunitProperties

        config.pluginmanager.register(JunitProperties(config), "amdgpu_junit")
    options.refuse_optimized(config)
    if options.decides(config.option):
        named_paths.register(config)
        options.take_warnings_for_errors(config)


@pytest.hookimpl(optionalhook=True, tryfirst=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """Choose the number of workers for `-n auto`."""
    from pytest_amdgpu.plugin.workers import xdist_hooks

    return xdist_hooks.number_of_workers(config)


# First, because the header and pytest-xdist's start of workers need what is found here.
@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """Find the GPUs and choose those that tests run on."""
    gpus = session.config.stash[session_key] = start_session(session.config)
    if health.is_wanted(session.config, gpus):
        health.register(session.config, gpus)
    machine_wide.start(session.config, gpus)
    if options.is_supervised(session.config.option):
        from pytest_amdgpu.plugin.watching import supervision

        supervision.keep_deadlines(session.config)
    if session.config.getoption("--amdgpu-expectations"):
        from pytest_amdgpu.plugin.judging import expected

        expected.register(session.config)
    # Here, because the terminal's reporter is there now.
    progress.register(session.config)
    if session.config.getoption("--amdgpu-confirm") != 0:
        from pytest_amdgpu.plugin.confirming import confirm

        # After the files, whose judgment it needs.
        confirm.register(session.config)


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Print the table of devices."""
    return report.header(config.stash[session_key].plan)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make one test per device of each that asks for one."""
    if parametrize.DEVICE_FIXTURE in metafunc.fixturenames:
        parametrize.parametrize_devices(metafunc, metafunc.config.stash[session_key].plan)
    else:
        parametrize.refuse_idle_markers(metafunc)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Let what tests make of their devices be taken back."""
    take_back.attend(items)
    if options.decides(config.option):
        parametrize.refuse_impostors(items, config.stash[session_key].plan)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Lease the GPUs of the tests; of a run with workers, the controller does it."""
    if not (session.config.option.collectonly or hasattr(session.config, "workerinput")):
        leasing.take_leases(session.config, (item.nodeid for item in session.items))


# First, because set-up already talks to the kernel.
@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, object, object]:
    """Remember where the kernel's log was; skip a test whose fixtures need what its GPU has not."""
    report.mark_log(item, item.config.stash[session_key])
    try:
        return (yield)
    except Exception as error:
        report.skip_where_impossible(item, error)
        raise


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Skip a test that comes to need what its GPU has not."""
    try:
        return (yield)
    except Exception as error:
        report.skip_where_impossible(item, error)
        raise


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add to a failure what is needed to repeat it."""
    test_report = yield
    if test_report.passed and not item.stash.get(report.failed_key, False):
        # Nothing is to be said of most tests, and options are not looked up for each of them.
        return test_report
    blame.blame_machine(test_report, call)
    report.explain_failure(item, test_report, item.config.stash[session_key])
    if item.stash.get(report.failed_key, False) and options.wants_attachments(item.config):
        from pytest_amdgpu.plugin.judging.attachments import send_attached

        send_attached(item, test_report)
    return test_report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """List what tests left behind, and why tests were not applicable."""
    report.write_leaks(terminalreporter)
    report.write_not_applicable(terminalreporter)
    if gpus := terminalreporter.config.stash.get(session_key, None):
        health.write_summary(terminalreporter, gpus)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Give the leases back, and end the trace of system calls."""
    leasing.release_leases(config)
    for name in (options.HEARTBEAT, "amdgpu_supervision"):
        if (plugin := config.pluginmanager.getplugin(name)) is not None:
            plugin.close()
    if session := config.stash.get(session_key, None):
        session.end()
