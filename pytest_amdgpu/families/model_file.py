"""Reading of a model file: each value comes with a source, and each error says file, key and reason."""

from __future__ import annotations

import contextlib
import re
import stat
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType

from pytest_amdgpu.families.model_ranges import NUMBER, Range

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
"""Names of models: what `--amdgpu-software` can tell from its separators."""


class ModelFileError(ValueError):
    """A model file is wrong; the message says file, key and reason."""

    def __init__(self, path: Path, key: str, reason: str) -> None:
        super().__init__(f"{path}: {key}: {reason}")
        self.path = path
        self.key = key


def _shown(value: object) -> str:
    """Return a value for a message, shortened; Python refuses to print the longest numbers."""
    try:
        text = repr(value)
    except ValueError:
        return "a number too long to print"
    return text if len(text) < 100 else f"{text[:100]}..."


def _parse(path: Path) -> dict[str, object]:
    """Read a file of TOML; raises `ModelFileError`, for a syntax error with its line."""
    # Where this fails, so does the reading, and says why.
    with contextlib.suppress(OSError):
        if not stat.S_ISREG(path.stat().st_mode):
            raise ModelFileError(path, "file", "is a directory or device; name a file of TOML")
    try:
        return tomllib.loads(path.read_bytes().decode("utf-8"))
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ModelFileError(path, "file", f"is not UTF-8 text, see line {line}: {error.reason}") from error
    except RecursionError as error:
        raise ModelFileError(path, "file", "its arrays or tables are nested too deeply") from error
    except OSError as error:
        raise ModelFileError(path, "file", error.strerror or str(error)) from error
    except ValueError as error:
        # Syntax errors, and numbers of thousands of digits.
        raise ModelFileError(path, "file", f"is not TOML: {error}") from error


class ModelFile:
    """Reader of one model file: takes values out with their sources, and knows where it is."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.evidence: dict[str, str] = {}
        self.content = _parse(path)
        self.sources: dict[str, str] = {}
        for name, source in self.table("sources", self.content).items():
            if not isinstance(source, dict) or set(source) != {"kind", "text"}:
                raise self.error(f"sources.{name}", "must be a table with kind and text, and nothing else")
            if source["kind"] not in ("measured", "derived"):
                raise self.error(
                    f"sources.{name}.kind", f"must be measured or derived, it is {_shown(source['kind'])}"
                )
            if not isinstance(source["text"], str) or not source["text"]:
                raise self.error(f"sources.{name}.text", f"must be a text, it is {_shown(source['text'])}")
            self.sources[name] = str(source["kind"])

    def error(self, key: str, reason: str) -> ModelFileError:
        """Return an error about a key of this file."""
        return ModelFileError(self.path, key, reason)

    def table(self, key: str, where: Mapping[str, object]) -> dict[str, object]:
        """Return the table `key` (its last part) of another table."""
        value = where.get(key.rpartition(".")[2])
        if not isinstance(value, dict):
            raise self.error(key, "is missing" if value is None else "must be a table")
        return value

    def tables(self, key: str) -> list[dict[str, object]]:
        """Return the tables written as [[key]]."""
        value = self.content.get(key)
        if not isinstance(value, list) or not value or not all(isinstance(item, dict) for item in value):
            raise self.error(key, f"must be one or more [[{key}]] tables")
        return value

    def text(self, key: str) -> str:
        """Return a text at the top of the file."""
        value = self.content.get(key)
        if not isinstance(value, str) or not value:
            raise self.error(key, f"must be a text, it is {_shown(value)}")
        if not value.isprintable():
            raise self.error(key, f"must be one line of printable characters, it is {_shown(value)}")
        return value

    def name(self, key: str) -> str:
        """Return a text at the top of the file that can stand in an option."""
        value = self.text(key)
        if not NAME.fullmatch(value):
            raise self.error(
                key, f"must be letters, digits, and . _ - after the first of them, it is {_shown(value)}"
            )
        return value

    def sourced(self, key: str, value: object) -> object:
        """Take the value out of [value, source] and note what kind of source it has."""
        if not isinstance(value, list) or len(value) != 2:
            raise self.error(key, f"must be [value, source], it is {_shown(value)}")
        if not isinstance(value[1], str) or value[1] not in self.sources:
            known = ", ".join(self.sources) or "none"
            raise self.error(key, f"names source {_shown(value[1])}; [sources] has {known}")
        self.evidence[key] = self.sources[value[1]]
        return value[0]

    def number(self, key: str, value: object, least: int, most: int) -> int:
        """Take a number, with its source."""
        number = self.sourced(key, value)
        if isinstance(number, bool) or not isinstance(number, int) or not least <= number <= most:
            span = (
                f"of {most.bit_length()} bits"
                if (least, most & most + 1) == (0, 0)
                else f"from {least} to {most}"
            )
            raise self.error(key, f"must be a number {span}, it is {_shown(number)}")
        return number

    def numbers(
        self,
        key: str,
        table: Mapping[str, object],
        known: Iterable[str],
        ranges: Mapping[str, Range] = MappingProxyType({}),
        *,
        optional: bool = False,
    ) -> dict[str, int]:
        """Take all of `known` out of a table, in that order; `optional` allows some to be absent.

        A number that has no range has 32 bits.
        """
        known = tuple(known)
        for name in table:
            if name not in known:
                raise self.error(f"{key}.{name}", f"is unknown; known: {', '.join(known)}")
        for name in known:
            if name not in table and not optional:
                raise self.error(f"{key}.{name}", "is missing")
        return {
            name: self.number(f"{key}.{name}", table[name], *ranges.get(name, NUMBER))
            for name in known
            if name in table
        }

    def bitmaps(self, key: str, value: object) -> tuple[tuple[tuple[int, ...], ...], ...]:
        """Take masks of compute units, nested by XCC, engine and array."""
        nested = self.sourced(key, value)
        try:
            result = tuple(tuple(tuple(array for array in engine) for engine in xcc) for xcc in nested)  # type: ignore[attr-defined]
        except TypeError:
            raise self.error(key, "must be masks nested by XCC, engine and array") from None
        masks = [mask for xcc in result for engine in xcc for mask in engine]
        if not masks or not all(type(mask) is int and 0 < mask < 1 << 32 for mask in masks):
            raise self.error(key, "must be masks of 1 to 32 units, nested by XCC, engine and array")
        if len({(len(xcc), len(engine)) for xcc in result for engine in xcc}) != 1:
            raise self.error(key, "must have the same number of engines and arrays everywhere")
        return result
