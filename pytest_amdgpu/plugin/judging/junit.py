"""Properties of JUnit test cases, for `--junitxml`: the states that JUnit has no words for.

pytest's own writer takes them from the report of a test's tear-down, in the process that sees all reports. It
looks for its file only when all tests have run, and if it cannot write it nobody else has a last word.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from _pytest.junitxml import LogXML, xml_key

from pytest_amdgpu.plugin.blame import ATTACHMENT_PROPERTY
from pytest_amdgpu.plugin.judging.states import States
from pytest_amdgpu.plugin.options import INFRASTRUCTURE
from pytest_amdgpu.plugin.report import complain
from pytest_amdgpu.plugin.session import session_key

OUTCOME_PROPERTY = "amdgpu_outcome"
TRUST_PROPERTY = "amdgpu_trust"
DEVICE_PROPERTY = "amdgpu_device"
"""Name of the property for each device of a test."""
SEED_PROPERTY = "amdgpu_seed"


class JunitProperties:
    """Adds to the last report of each test what became of it."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._states = States()

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self) -> None:
        """See that the file can be written, before tests run in vain; raises `pytest.UsageError`."""
        writer = self._config.stash.get(xml_key, None)
        if writer is None:
            return
        path = Path(writer.logfile)
        try:
            _check_place(path)
        except OSError as error:
            why = f"{path.parent} is no directory" if isinstance(error, FileExistsError) else error.strerror
            raise pytest.UsageError(f"--junitxml: {path} cannot be written: {why}") from error
        self._guard(writer)

    def _guard(self, writer: LogXML) -> None:
        """Make an end like others of a run whose file can no longer be written when its tests have run."""
        write, tell = writer.pytest_sessionfinish, writer.pytest_terminal_summary
        failed = False

        def pytest_sessionfinish(session: pytest.Session) -> None:
            nonlocal failed
            try:
                write()
            except OSError as error:
                failed = True
                text = f"the JUnit file could not be written: {error}"
                complain(self._config, text)
                if session.exitstatus == pytest.ExitCode.OK:
                    session.exitstatus = INFRASTRUCTURE
                if gate := self._config.pluginmanager.getplugin("amdgpu_gate"):
                    gate.blame_machine(text)

        def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
            if not failed:
                tell(terminalreporter, self._config)

        # Pluggy keeps what it found when the writer was registered.
        self._config.pluginmanager.unregister(writer)
        writer.pytest_sessionfinish = pytest_sessionfinish  # type: ignore[method-assign, assignment]
        writer.pytest_terminal_summary = pytest_terminal_summary  # type: ignore[method-assign, assignment]
        self._config.pluginmanager.register(writer)

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection(self) -> None:
        """Know the devices."""
        self._states.devices = tuple(device.id for device in self._config.stash[session_key].plan.pool)

    # Before pytest's writer, which takes the properties from here.
    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take in a phase, and after the last one tell."""
        self._states.see(report)
        if report.when != "teardown":
            return
        record = self._states.take(report.nodeid)
        own = [value for name, value in report.user_properties if name == ATTACHMENT_PROPERTY]
        report.user_properties += [
            (OUTCOME_PROPERTY, record.outcome.value),
            (TRUST_PROPERTY, record.trust.value),
            *((DEVICE_PROPERTY, device) for device in record.devices),
            *((ATTACHMENT_PROPERTY, path) for path in record.attachments if path not in own),
            (SEED_PROPERTY, self._config.stash[session_key].plan.seed),
        ]


def _check_place(path: Path) -> None:
    """Raise OSError if there can be no such file; as pytest does it makes the directories above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        os.close(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK))
    else:
        with tempfile.TemporaryFile(dir=path.parent):
            pass
