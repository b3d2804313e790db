"""Gathers what became of every test, and makes a verdict of it: `--amdgpu-gate`, `-verdict`, `-must-run`.

Lives where all reports arrive: in the controller of pytest-xdist, or in the only process.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_amdgpu.plugin.blame import LATE_OUTPUT
from pytest_amdgpu.plugin.confirming.crash_trial import died_in_trial
from pytest_amdgpu.plugin.injection import injection_options
from pytest_amdgpu.plugin.judging import facts
from pytest_amdgpu.plugin.judging.lacking import lacking, unnamed_software
from pytest_amdgpu.plugin.judging.states import States, skip_text
from pytest_amdgpu.plugin.options import INFRASTRUCTURE
from pytest_amdgpu.plugin.report import all_gateways, complain, repeat_options
from pytest_amdgpu.plugin.session import session_key
from pytest_amdgpu.plugin.watching import guarding
from pytest_amdgpu.plugin.workers.refusals import REFUSAL_OUTPUT
from pytest_amdgpu.results.must_run import Demand
from pytest_amdgpu.results.rows import summary
from pytest_amdgpu.results.verdict import Judgment, Verdict, judge_run, reason_of
from pytest_amdgpu.results.verdict_file import verdict_json, write_verdict

if TYPE_CHECKING:
    from pytest_amdgpu.plugin.watching.supervision import Supervision

_SHOWN = 20
"""Reasons that the terminal shows of tests, and others."""
_DIED = "???"
"""What pytest-xdist calls the phase of a test whose worker died."""
_LAST_PHASES = ("teardown", _DIED)
_FIRST_PAUSE = 1.0
_WORK_SHARE = 20
"""Between two intermediate verdicts pass so many times what writing one takes, and at least a second."""


class Gate:
    """Sees all reports of a run. `decides` makes the verdict the exit status of the run."""

    def __init__(self, config: pytest.Config, path: Path | None, *, decides: bool) -> None:
        self.demands: tuple[Demand, ...] = ()
        self._config = config
        self._path = path
        self._decides = decides
        self._troubles: list[str] = []
        self._died: dict[str, str] = {}
        """Workers that died, as far as known in no test, and why."""
        self._refusals: tuple[str, ...] = ()
        """Why workers could not collect."""
        self._states = States()
        self._facts: dict[str, Any] = facts.of_software(config)
        self._judgment = Judgment(Verdict.INCOMPLETE, ("the run has not come to its end",))
        self.complete = False
        self._begun = False
        self._running: dict[str, None] = {}
        """Tests that have begun and not ended."""
        self._next_write = 0.0
        self._supervision: Supervision | None = None

    @property
    def exit_status(self) -> int:
        """That of the verdict."""
        return self._judgment.exit_status

    @contextlib.contextmanager
    def telling_of_refusals(self) -> Iterator[None]:
        """Tell in the verdict of a `pytest.UsageError`, which is not caught."""
        try:
            yield
        except pytest.UsageError as error:
            self._judgment, self.complete = Judgment(Verdict.USAGE, (str(error),)), True
            try:
                self.write()
            except OSError as unwritten:
                complain(self._config, f"the verdict could not be written: {unwritten}")
            raise

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionstart(self) -> Generator[None, object, object]:
        """Know that the options cannot be used, which is found out here."""
        with self.telling_of_refusals():
            return (yield)

    def supervise(self, supervision: Supervision) -> None:
        """Let somebody know all that is needed to judge the run in this process's place."""
        self._supervision = supervision
        supervision.introduce(os.getpid(), self._path, self._facts)

    def pytest_report_header(self) -> str | None:
        """Warn where the exit status can be something else than the verdict."""
        return guarding.warning(self._config) if self._decides else None

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection(self) -> None:
        """Know the devices; a gate without any has nothing to say about the tests."""
        self._begun = not self._config.option.collectonly or self._decides
        session = self._config.stash[session_key]
        plan = session.plan
        self._states.devices = tuple(device.id for device in plan.pool)
        self._facts = {**self._facts, **facts.of_machine(plan)}
        if self._path is not None:
            # Only the file tells it.
            environment = facts.of_hosts(
                self._config, {**self._facts["environment"], **facts.of_driver(session)}
            )
            self._facts |= {
                "environment": environment,
                "repeat": [
                    *repeat_options(self._config, plan),
                    *injection_options(plan),
                    *all_gateways(plan),
                ],
            }
            # Also whoever finishes the file, if this process dies, finds it there.
            self._write_meanwhile()
            self._next_write = 0.0
        if self._decides and (reason := unnamed_software(self._config)) is not None:
            pytest.exit(f"amdgpu: {reason}", returncode=INFRASTRUCTURE)

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Expect a result of every test."""
        self.expect(item.nodeid for item in session.items)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: Iterable[str]) -> None:
        """Expect a result of every test that a worker collected."""
        self.expect(ids)

    def expect(self, ids: Iterable[str]) -> None:
        """Expect a result of every test."""
        if not self._config.option.collectonly:
            known = list(ids)
            self._states.expect(known)
            if self._supervision is not None:
                self._supervision.expect(self._states.devices, known)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Know what could not be collected: tests that nobody can miss by their names."""
        if report.failed:
            why = next(iter(reversed(report.longreprtext.strip().splitlines())), "")
            self._trouble(
                f"collection of {report.nodeid or 'the session'} failed: {why.removeprefix('E').strip()}"
            )
        elif report.skipped:
            self._states.skip_file(report.nodeid, skip_text(report))

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: object) -> None:
        """Know of a worker that died, or that something other than a test did not end in."""
        output = getattr(node, "workeroutput", {})
        if late := output.get(LATE_OUTPUT):
            self._trouble(f"{node.gateway.id}: {late}")
        # All workers are asked for the same.
        self._refusals = tuple(output.get(REFUSAL_OUTPUT, self._refusals))
        if error and not died_in_trial(self._config, node):
            self._died[node.gateway.id] = next(iter(str(error).strip().splitlines()), "")

    @pytest.hookimpl(optionalhook=True)
    def pytest_handlecrashitem(self, report: pytest.TestReport) -> None:
        """Know that it died in a test, of which that is the result."""
        self._died.pop(report.node.gateway.id, None)

    def pytest_internalerror(self, excrepr: object) -> None:
        """Know that pytest itself failed."""
        self._trouble(f"internal error: {str(excrepr).strip().splitlines()[-1]}")

    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        """Know that the run was ended by hand, or by `pytest.exit`, and what was running."""
        self._trouble(f"ended early: {excinfo.exconly()}")
        for node_id in self._running:
            self._trouble(f"{node_id} was running")

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """Know that a test runs."""
        self._running[nodeid] = None

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take in what became of a phase of a test."""
        self._states.see(report)
        if report.when not in _LAST_PHASES:
            return
        self._running.pop(report.nodeid, None)
        if self._supervision is not None:
            self._supervision.take(self._states.record(report.nodeid))
        # Where a worker died nothing is reported for the seconds until another one has come up.
        if self._path is not None and (report.when == _DIED or time.monotonic() >= self._next_write):
            self._write_meanwhile()

    # Last, so that others have had their say about the exit status.
    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Judge the run."""
        if self._config.option.collectonly and not self._decides:
            return
        self._judgment = self._judge(pytest.ExitCode(session.exitstatus) if session.exitstatus < 6 else None)
        self.complete = True
        try:
            self.write()
        except OSError as error:
            complain(self._config, f"the verdict could not be written: {error}")
            if session.exitstatus == pytest.ExitCode.OK:
                session.exitstatus = INFRASTRUCTURE
            if self._judgment.verdict is Verdict.GOOD:
                reason = f"the verdict could not be written: {error}"
                self._judgment = Judgment(Verdict.INFRASTRUCTURE, (reason,))
        if self._decides:
            session.exitstatus = self._judgment.exit_status
            self._tell_status()

    def pytest_unconfigure(self) -> None:
        """Speak for a session whose own end has failed."""
        if self._begun and not self.complete:
            self._trouble("the end of the session failed")
            self._judgment = self._judge(None)
            self.complete = True
            try:
                self.write()
            except OSError as error:
                self._trouble(f"the verdict could not be written: {error}")
            print(
                f"amdgpu verdict: {self._judgment.verdict.value}", *self._troubles, sep="\n", file=sys.stderr
            )
            if self._decides:
                self._tell_status()

    @pytest.hookimpl(tryfirst=True)
    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Tell the verdict before all else."""
        if not self.complete:
            return
        good = self._judgment.verdict is Verdict.GOOD
        title = f"amdgpu verdict: {self._judgment.verdict.value}"
        terminalreporter.section(title, green=good, red=not good)
        records = self._states.records(final=True)
        terminalreporter.line(summary(records))
        of_tests = set(map(reason_of, records))
        # Apart, because what is said of many tests must not hide what is said of the run.
        for apart in (True, False):
            lines = [line for line in self._judgment.reasons if (line in of_tests) == apart]
            for line in lines[:_SHOWN]:
                terminalreporter.line(line)
            if len(lines) > _SHOWN:
                terminalreporter.line(f"... and {len(lines) - _SHOWN} more")

    def blame_machine(self, text: str) -> None:
        """Know of something that went wrong and is no test's fault."""
        self._trouble(text)

    def write(self) -> None:
        """Write the file of the verdict as far as it goes, if there is to be one; raises OSError."""
        if self._path is not None:
            records = self._states.records(final=self.complete)
            content = verdict_json(self._judgment, records, self._facts, complete=self.complete)
            write_verdict(self._path, content)

    def _write_meanwhile(self) -> None:
        begun = time.monotonic()
        try:
            self.write()
        except OSError as error:
            # The last word is the final one: space may be there again.
            self._config.issue_config_time_warning(
                pytest.PytestWarning(f"an intermediate verdict could not be written: {error}"), stacklevel=2
            )
        ended = time.monotonic()
        self._next_write = ended + max(_FIRST_PAUSE, _WORK_SHARE * (ended - begun))

    def _tell_status(self) -> None:
        if self._supervision is not None:
            self._supervision.exit_status = self._judgment.exit_status

    def _trouble(self, text: str) -> None:
        if text not in self._troubles:
            self._troubles.append(text)
            if self._supervision is not None:
                self._supervision.trouble(text)

    def _judge(self, status: pytest.ExitCode | None) -> Judgment:
        if status is pytest.ExitCode.USAGE_ERROR:
            return Judgment(Verdict.USAGE, ("the command line or what it names cannot be used",))
        if self._refusals:
            return Judgment(Verdict.USAGE, self._refusals)
        if self._supervision is not None:
            killed = self._supervision.untold()
            self._troubles += self._supervision.troubles
            for node_id, text in killed.items():
                self._states.was_killed(node_id, text)
        for worker, error in self._died.items():
            self._trouble(f"worker {worker} died outside of a test: {error}")
        records = self._states.records(final=True)
        if status in (pytest.ExitCode.INTERRUPTED, pytest.ExitCode.INTERNAL_ERROR) and not self._troubles:
            self._trouble(f"pytest ended with {status!r}")
        for device, reason in self._config.stash[session_key].quarantine:
            if any(device in record.devices for record in records):
                self._trouble(f"{device} is in quarantine: {reason}")
        judgment = judge_run(records, tuple(lacking(self._config, self.demands, records)), self._troubles)
        known = self._config.pluginmanager.getplugin("amdgpu_expectations")
        worse = tuple(known.worse()) if known is not None else ()
        if not worse and status is pytest.ExitCode.TESTS_FAILED and judgment.verdict is Verdict.GOOD:
            worse = ("pytest reports a failure that belongs to no test",)
        return Judgment(Verdict.REGRESSION, (*worse, *judgment.reasons)) if worse else judgment
