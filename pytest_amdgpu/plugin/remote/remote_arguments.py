"""The command line of workers that run in another directory: on other hosts, or with `chdir` on this one.

What `--rsyncdir` sends lies in their directory. All else that the command line names must be where it is
here, as in a file system that the hosts share. pytest-xdist 3.8.0 takes any argument that is a file's name
for a test's, also the value of an option, and refuses relative names and what it does not send.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

_PATH_OPTIONS = (
    "-c",
    "--config-file",
    "--rootdir",
    "--confcutdir",
    "--ignore",
    "--amdgpu-compiler",
    "--amdgpu-expectations",
)
"""Options whose values name what workers read."""
_PLACES = ("--amdgpu-lease-directory",)
"""Options whose values name what is made where it is not: under the same name everywhere."""
_NODE_SIGN = "::"
"""Stands in the id of a test behind the name of its file."""


def sent_directories(config: pytest.Config) -> list[Path]:
    """Return the directories that pytest-xdist sends to workers; it refuses those that there are not."""
    return [Path(path).resolve() for path in (*config.option.rsyncdir, *config.getini("rsyncdirs"))]


class _Argument(NamedTuple):
    """A part of the command line: what stands before a path, the path or None, and what stands behind it."""

    before: str
    path: Path | None = None
    behind: str = ""


class RemoteArguments:
    """Translates the command line of a run."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._directory = Path(config.invocation_params.dir)
        arguments = [str(argument) for argument in config.invocation_params.args]
        self._arguments = list(self._parts(arguments))
        paths = [part.path for part in self._arguments if part.path]
        if config.args_source is not pytest.Config.ArgsSource.ARGS:
            tests = [self._test(argument) for argument in config.args]
            self._arguments += tests
            paths += [test.path for test in tests if test.path]
        roots = sent_directories(config)
        if not config.option.rootdir and (
            _sent(config.rootpath, roots) or not any(_sent(path, roots) for path in paths)
        ):
            # Ids of tests begin there.
            self._arguments.append(_Argument("--rootdir=", config.rootpath))

    def must_be_there(self) -> list[str]:
        """Return the files and directories that are not sent, so that the other end must have them."""
        roots = sent_directories(self._config)
        return sorted(
            {str(part.path) for part in self._arguments if part.path and not _sent(part.path, roots)}
        )

    def __call__(self, roots: Sequence[Path], arguments: Sequence[str]) -> list[str]:
        """Return the command line for a worker, in place of `xdist.workermanage.make_reltoroot`."""
        return [
            f"{part.before}{_sent(part.path, roots) or part.path}{part.behind}" if part.path else part.before
            for part in self._arguments
        ]

    def _parts(self, arguments: Sequence[str]) -> Iterator[_Argument]:
        tests = set(self._config.args)
        number = 0
        for index, argument in enumerate(arguments):
            option, equals, value = argument.partition("=")
            if argument in tests and (count := self._tests_in(arguments[: index + 1])) > number:
                number = count
                yield self._test(argument)
            elif equals and option in _PATH_OPTIONS:
                yield self._file(f"{option}=", value)
            elif index and arguments[index - 1] in _PATH_OPTIONS:
                yield self._file("", argument)
            elif equals and option in _PLACES:
                yield _Argument(f"{option}={Path(self._directory, value)}")
            elif index and arguments[index - 1] in _PLACES:
                yield _Argument(str(Path(self._directory, argument)))
            else:
                yield _Argument(argument)

    def _tests_in(self, arguments: Sequence[str]) -> int:
        """Return how many of these arguments are no options or their values."""
        return len(self._config._parser.parse_known_args(list(arguments)).file_or_dir)

    def _test(self, argument: str) -> _Argument:
        file, sign, name = argument.partition(_NODE_SIGN)
        return self._file("", file, f"{sign}{name}")

    def _file(self, before: str, text: str, behind: str = "") -> _Argument:
        path = Path(self._directory, text)
        try:
            exists = path.exists()
        except OSError:
            # Too long for a name of a file: the ids of tests can be.
            exists = False
        return _Argument(before, path, behind) if exists else _Argument(f"{before}{text}{behind}")


def _sent(path: Path, roots: Sequence[Path]) -> str:
    """Return what a path is called in the directory of a worker, if it is sent there; else nothing."""
    resolved = path.resolve()
    for root in roots:
        if resolved.is_relative_to(root):
            return str(Path(root.name, resolved.relative_to(root)))
    return ""
