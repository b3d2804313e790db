"""A folder of files for each failing test: its traceback, output, evidence, and what it attached itself.

What a test attaches travels in its report, so that it arrives from workers, also from other machines. Files
are written where all reports arrive.
"""

from __future__ import annotations

import base64
import io
import os
import re
import sys
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_amdgpu.plugin.blame import ATTACHMENT_PROPERTY
from pytest_amdgpu.results.attachments import AttachmentFolders, safe_name

MAX_BYTES = 64 << 20
"""That one test may attach: it is kept in memory, and sent from process to process."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+=-]{0,99}", re.ASCII)
_SHOWN = 5
"""Errors that the terminal shows."""

_attached_key = pytest.StashKey[list[tuple[str, bytes]]]()
_ATTRIBUTE = "amdgpu_attached"
"""Of a report: names and contents, in Base64 so that they fit any encoding of reports."""


class AttachmentError(ValueError):
    """What a test wants to attach cannot be: the message says what can."""


def directory_of(config: pytest.Config) -> Path | None:
    """Return where attachments go: where the option says, else beside the verdict; None without both."""
    wanted: str | None = config.getoption("--amdgpu-attachments")
    verdict: str | None = config.getoption("--amdgpu-verdict")
    if wanted is None and verdict is not None:
        wanted = f"{verdict}-attachments"
    return Path(wanted) if wanted is not None else None


def register(config: pytest.Config) -> None:
    """Write attachments, in the process where reports arrive; raises `pytest.UsageError`."""
    directory = directory_of(config)
    if directory is None or hasattr(config, "workerinput"):
        return
    if config.getoption("--amdgpu-attachments") is not None:
        try:
            directory.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=directory):
                pass
        except FileExistsError as error:
            raise pytest.UsageError(f"--amdgpu-attachments: {directory} is no directory") from error
        except OSError as error:
            raise pytest.UsageError(f"--amdgpu-attachments: {error}") from error
    verdict: str | None = config.getoption("--amdgpu-verdict")
    writer = Attachments(directory.absolute(), Path(verdict).absolute().parent if verdict else None)
    config.pluginmanager.register(writer, "amdgpu_attachments")


def attach(item: pytest.Item, name: object, data: Any) -> None:
    """Keep something for the case that a test fails; raises `AttachmentError`."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise AttachmentError(
            f"{name!r} cannot name an attachment: at most 100 letters, digits and . _ + = - can, the first of"
            " which is a letter or digit"
        )
    suffix, content = _content(name, data)
    if directory_of(item.config) is None:
        return
    attached = item.stash.setdefault(_attached_key, [])
    size = sum(len(one) for _, one in attached) + len(content)
    if size > MAX_BYTES:
        raise AttachmentError(f"with {name} the test attaches {size} bytes, more than {MAX_BYTES}")
    attached.append((name if "." in name else name + suffix, content))


def _content(name: str, data: Any) -> tuple[str, bytes]:
    numpy: Any = sys.modules.get("numpy")
    if isinstance(data, str):
        return ".txt", _encoded(data)
    if numpy is not None and isinstance(data, numpy.ndarray):
        if data.dtype.hasobject:
            raise AttachmentError(
                f"{name} is an array of Python objects; an array of numbers can be attached"
            )
        file = io.BytesIO()
        numpy.save(file, data, allow_pickle=False)
        return ".npy", file.getvalue()
    if isinstance(data, bytes | bytearray | memoryview):
        return ".bin", bytes(data)
    raise AttachmentError(f"{name} is {type(data).__name__}; text, bytes and numpy arrays can be attached")


def send_attached(item: pytest.Item, report: pytest.TestReport) -> None:
    """Put into the report of a test that has failed what it attached."""
    if attached := item.stash.get(_attached_key, None):
        texts = [(name, base64.b64encode(content).decode()) for name, content in attached]
        setattr(report, _ATTRIBUTE, texts)
        attached.clear()


class Attachments:
    """Writes what failing tests leave. Paths in the verdict are relative to `base` if they can be."""

    def __init__(self, directory: Path, base: Path | None) -> None:
        self._folders = AttachmentFolders(directory)
        self._base = base
        self._tests: set[str] = set()
        self._errors: list[str] = []

    # Around the others, who then see in the report what was written.
    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> Generator[None, object, object]:
        """Write what the report of a failure holds, and what a later phase attached or tells of it."""
        attached = getattr(report, _ATTRIBUTE, ())
        if report.failed or attached or report.nodeid in self._tests:
            files = [(name, base64.b64decode(text)) for name, text in attached]
            self._write(report, [*files, *_files(report)])
        if attached:
            delattr(report, _ATTRIBUTE)
        return (yield)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say where the files are, and what could not be written."""
        if self._errors:
            terminalreporter.section("amdgpu: attachments that could not be written", red=True)
            for line in self._errors[:_SHOWN]:
                terminalreporter.line(line)
            if len(self._errors) > _SHOWN:
                terminalreporter.line(f"... and {len(self._errors) - _SHOWN} more")
        if self._tests:
            tests = f"{len(self._tests)} failing test{'s' * (len(self._tests) != 1)}"
            terminalreporter.line(f"amdgpu: attachments of {tests} are in {self._folders.directory}")

    def _write(self, report: pytest.TestReport, files: list[tuple[str, bytes]]) -> None:
        for file in files:
            try:
                paths = self._folders.add(report.nodeid, [file])
            except OSError as error:
                # The result counts, with or without them.
                self._errors.append(f"{report.nodeid}: {file[0]}: {error}")
                continue
            self._tests.add(report.nodeid)
            report.user_properties += [(ATTACHMENT_PROPERTY, self._named(path)) for path in paths]

    def _named(self, path: Path) -> str:
        if self._base is not None and path.is_relative_to(self._base):
            return os.fspath(path.relative_to(self._base))
        return os.fspath(path)


def _files(report: pytest.TestReport) -> Iterator[tuple[str, bytes]]:
    """Yield what a report holds, as files."""
    if report.failed:
        # pytest-xdist reports a test that killed its worker in a phase of no name.
        phase = safe_name(str(report.when), "crash")
        yield f"traceback-{phase}.txt", _encoded(report.longreprtext)
    for title, text in report.sections:
        if title.startswith(("amdgpu", "Captured")):
            yield f"{safe_name(title)}.txt", _encoded(text)


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")
