"""Reads the file of `--amdgpu-verdict`, also what is left of one that was cut off."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pytest_amdgpu.results.confirmation import Blame, Count
from pytest_amdgpu.results.record import Outcome, Record, Trust
from pytest_amdgpu.results.verdict import Verdict
from pytest_amdgpu.results.verdict_file import SCHEMA

_TESTS = "tests"
_BLANK = re.compile(r"[ \t\r\n]*")
_BEGUN = re.compile(r"|-|t(r(ue?)?)?|f(a(l(se?)?)?)?|n(u(ll?)?)?|\.|\.?\d*[eE][-+]?|\\(u[0-9a-fA-F]{0,3})?")
"""What can be left of a text of JSON where a value or an escape was cut off."""
_WORDS = {"outcome": Outcome, "trust": Trust}
_TEXTS = ("id", "name", "expected", "text")


class VerdictFileError(ValueError):
    """A file that is no verdict; the message says file, place and what is allowed."""


@dataclass(frozen=True, slots=True)
class VerdictFile:
    """What a file says. Where it was cut off, `records` are those that are whole."""

    path: str
    verdict: Verdict
    complete: bool
    cut_off: bool
    records: tuple[Record, ...]
    reasons: tuple[str, ...] = ()
    started: str = ""
    environment: Mapping[str, Any] = field(default_factory=dict)
    targets: Mapping[str, str] = field(default_factory=dict)
    """The target of each device, by id."""
    products: Mapping[str, str] = field(default_factory=dict)
    """The name of the product, by target."""
    repeat: tuple[str, ...] = ()
    """Options that find the same GPUs and use the same seed."""
    directory: str = ""
    """Where pytest was called."""
    rootdir: str = ""
    """Where ids of tests begin; empty if the file does not say it."""
    run: Mapping[str, Any] = field(default_factory=dict)
    """Seed, backend and arguments."""

    @property
    def shortcoming(self) -> str:
        """Why results may be missing in it, or empty."""
        if self.cut_off:
            return f"{self.path} was cut off: {len(self.records)} results of it are whole"
        return "" if self.complete else f"{self.path} is of a run that did not come to its end"


def read_verdict(path: Path) -> VerdictFile:
    """Read a file; raises `VerdictFileError`, and OSError if it cannot be read."""
    content, whole = _parse(path.read_bytes(), str(path))
    if content.get("schema") != SCHEMA or isinstance(content["schema"], bool):
        said = f"is of schema {content['schema']!r}" if "schema" in content else "has no 'schema'"
        raise VerdictFileError(f"{path}: {said}; a file of --amdgpu-verdict with schema {SCHEMA} is wanted")
    return _checked(content, whole, str(path))


def _checked(content: Mapping[str, Any], whole: bool, path: str) -> VerdictFile:
    def value(key: str, kind: type[Any]) -> Any:
        if key not in content:
            if whole and key in ("verdict", "complete", "reasons", "environment", _TESTS):
                raise VerdictFileError(f"{path}: has no {key!r}")
            return kind()
        if not isinstance(content[key], kind):
            raise VerdictFileError(f"{path}: {key}: {content[key]!r:.80} is no {_KINDS[kind]}")
        return content[key]

    words = [verdict.value for verdict in Verdict]
    word = value("verdict", str) or Verdict.INCOMPLETE.value
    if word not in words:
        raise VerdictFileError(f"{path}: verdict: {word!r} is not one of {', '.join(words)}")
    environment = value("environment", dict)
    if not isinstance(environment.get("devices", {}), dict):
        raise VerdictFileError(f"{path}: environment.devices: {environment['devices']!r:.80} is no object")
    devices = value("devices", list)
    for index, device in enumerate(devices):
        if not isinstance(device, dict) or not all(
            isinstance(device.get(key), str) for key in ("id", "target")
        ):
            raise VerdictFileError(f"{path}: devices[{index}]: has no 'id' and 'target'")
    return VerdictFile(
        path=path,
        verdict=Verdict(word),
        complete=whole and value("complete", bool),
        cut_off=not whole,
        records=tuple(
            _record(test, f"{path}: {_TESTS}[{index}]") for index, test in enumerate(value(_TESTS, list))
        ),
        reasons=tuple(map(str, value("reasons", list))),
        started=value("started", str),
        environment=environment,
        targets={device["id"]: device["target"] for device in devices},
        products={device["target"]: str(device.get("name", "")) for device in devices},
        repeat=tuple(map(str, value("repeat", list))),
        directory=value("directory", str),
        rootdir=value("rootdir", str),
        run={key: content[key] for key in ("seed", "backend", "arguments") if key in content},
    )


_KINDS: Mapping[type[Any], str] = {str: "text", bool: "true or false", list: "list", dict: "object"}


def _record(test: Any, place: str) -> Record:
    if not isinstance(test, dict):
        raise VerdictFileError(f"{place}: is no object")
    values = dict(test)
    for key, kind in _WORDS.items():
        words = [member.value for member in kind]
        if test.get(key) not in words:
            raise VerdictFileError(f"{place}.{key}: {test.get(key)!r} is not one of {', '.join(words)}")
        values[key] = kind(test[key])
    for key in _TEXTS:
        if not isinstance(test.get(key), str):
            raise VerdictFileError(f"{place}.{key}: {test.get(key)!r} is no text")
    seconds, devices = test.get("seconds"), test.get("devices")
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds < float("inf"):
        raise VerdictFileError(f"{place}.seconds: {seconds!r} is not a number of seconds from 0 on")
    if not isinstance(devices, list) or not all(isinstance(device, str) for device in devices):
        raise VerdictFileError(f"{place}.devices: {devices!r} is not a list of ids")
    attachments = test.get("attachments", [])
    if not isinstance(attachments, list) or not all(isinstance(path, str) for path in attachments):
        raise VerdictFileError(f"{place}.attachments: {attachments!r} is not a list of paths")
    return Record(
        id=test["id"],
        name=test["name"],
        devices=tuple(devices),
        outcome=values["outcome"],
        trust=values["trust"],
        seconds=seconds,
        expected=test["expected"],
        text=test["text"],
        attachments=tuple(attachments),
        **_confirmed(test, place),
    )


def _confirmed(test: Mapping[str, Any], place: str) -> dict[str, Any]:
    """Return what a record says of a failure that was run again; others say nothing."""
    words = [blame.value for blame in Blame]
    if "blame" not in test:
        return {}
    if test["blame"] not in words:
        raise VerdictFileError(f"{place}.blame: {test['blame']!r} is not one of {', '.join(words)}")
    counts = test.get("confirmation")
    if not isinstance(counts, list) or not counts:
        raise VerdictFileError(f"{place}.confirmation: {counts!r} is not a list of counts")
    for index, count in enumerate(counts):
        if not isinstance(count, dict) or not _is_count(count):
            raise VerdictFileError(
                f"{place}.confirmation[{index}]: {count!r} has no 'device' and numbers 'failed' <= 'runs'"
            )
    confirmation = tuple(Count(count["device"], count["failed"], count["runs"]) for count in counts)
    return {"blame": test["blame"], "confirmation": confirmation}


def _is_count(count: Mapping[str, Any]) -> bool:
    failed, runs = count.get("failed"), count.get("runs")
    return isinstance(count.get("device"), str) and type(failed) is type(runs) is int and 0 <= failed <= runs


def _parse(data: bytes, path: str) -> tuple[dict[str, Any], bool]:
    """Return the object in a text of JSON, or of one that was cut off what is whole, and whether all is."""
    # Of blocks that never came to the disk before the machine went down a file system makes zeros.
    written = data.rstrip(b"\0")
    try:
        # A letter that the end cuts in two is no error.
        text = codecs.getincrementaldecoder("utf-8")().decode(written)
    except UnicodeDecodeError as error:
        raise VerdictFileError(f"{path}: is not UTF-8 text: {error}") from error
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        if not _is_cut_off(error):
            raise VerdictFileError(f"{path}: is not JSON: {error}") from error
        content = _whole_part(text) if text.lstrip().startswith("{") else {}
        if "schema" not in content:
            raise VerdictFileError(f"{path}: was cut off before anything of use") from error
        return content, False
    except (ValueError, RecursionError) as error:
        raise VerdictFileError(f"{path}: is not JSON that can be read: {error}") from error
    if not isinstance(content, dict):
        raise VerdictFileError(f"{path}: is no object of JSON")
    return content, True


def _is_cut_off(error: json.JSONDecodeError) -> bool:
    """Whether the text would have been JSON if it had gone on."""
    rest = error.doc[error.pos :].rstrip()
    return error.msg.startswith("Unterminated string") or _BEGUN.fullmatch(rest) is not None


def _whole_part(text: str) -> dict[str, Any]:
    """Return the members of an object that are whole; of the list of tests, those elements that are.

    A value counts as whole if something follows it: 10 can become 1.
    """
    content: dict[str, Any] = {}
    decoder = json.JSONDecoder()

    def skip(position: int) -> int:
        match = _BLANK.match(text, position)
        assert match is not None
        return match.end()

    position = skip(0) + 1
    try:
        while True:
            key, position = decoder.raw_decode(text, skip(position))
            position = skip(skip(position) + 1)
            if key == _TESTS and text.startswith("[", position):
                tests = content[key] = []
                while text[position] != "]":
                    test, position = decoder.raw_decode(text, skip(position + 1))
                    tests.append(test)
                    position = skip(position)
                position += 1
            else:
                value, position = decoder.raw_decode(text, position)
                if skip(position) < len(text):
                    content[key] = value
            position = skip(position) + 1
    except (json.JSONDecodeError, IndexError):
        return content
