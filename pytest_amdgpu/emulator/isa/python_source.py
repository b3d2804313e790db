"""Collects assignments to locals as they are thought of, and writes them as the source of a Python
function.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import CodeType
from typing import Any

BlockFunction = Callable[[Any, list[Any], list[Any]], Any]


@dataclass
class Compiled:
    """A block function, and which instruction each of its lines comes from."""

    function: BlockFunction
    source: str
    line_offsets: list[int]
    """By line number less 1, the offset in the code of the instruction."""
    code: CodeType


@dataclass
class _Statement:
    text: str
    target: int
    """Number of the value it defines, -1 for none."""
    uses: tuple[int, ...]
    offset: int


class _Names:
    """Names of Python locals, reused when their value is dead so that numpy can give its memory back."""

    def __init__(self) -> None:
        self._free: list[str] = []
        self._count = 0

    def take(self) -> str:
        if self._free:
            return self._free.pop()
        self._count += 1
        return f"x{self._count}"

    def give(self, name: str) -> None:
        self._free.append(name)


class SourceWriter:
    """The statements of `block(g, v, s)`, in order; dead ones are dropped."""

    def __init__(self, start: int, namespace: dict[str, Any]) -> None:
        self.start = start
        self.namespace = namespace
        self.offset = start
        """Offset of the instruction that the statements to come belong to."""
        self.locals: dict[Any, int] = {}
        """Numbers of locals by what they hold."""
        self._statements: list[_Statement] = []

    def define(self, key: Any, text: str, uses: tuple[int, ...]) -> int:
        """Append `local = text`; `{%n}` in the text stands for local n."""
        number = len(self.locals)
        self.locals[key] = number
        self._statements.append(_Statement(text, number, uses, self.offset))
        return number

    def do(self, text: str, uses: tuple[int, ...]) -> None:
        """Append a statement that defines nothing."""
        self._statements.append(_Statement(text, -1, uses, self.offset))

    def finish(self) -> Compiled:
        """Write and compile the function."""
        last_use: dict[int, int] = {}
        for position, statement in enumerate(self._statements):
            for used in statement.uses:
                last_use[used] = position
        names = _Names()
        assigned: dict[int, str] = {}
        fresh: set[int] = set()
        lines = ["def block(g, v, s):"]
        offsets = [self.start]
        for position, statement in enumerate(self._statements):
            if statement.target >= 0 and statement.target not in last_use and not self._is_call(statement):
                continue
            text = statement.text
            if text.startswith("write_lane({%"):
                old = statement.uses[0]
                if old in fresh and last_use[old] == position:
                    # Nobody else sees the array that an earlier write_lane has made.
                    text = text.replace("write_lane(", "overwrite_lane(", 1)
                fresh.add(statement.target)
            for used in set(statement.uses):
                text = text.replace(f"{{%{used}}}", assigned[used])
            for used in set(statement.uses):
                if last_use[used] == position:
                    names.give(assigned[used])
            if statement.target >= 0:
                assigned[statement.target] = name = names.take()
                text = f"{name} = {text}"
                if statement.target not in last_use:
                    names.give(name)
            lines.append("    " + text)
            offsets.append(statement.offset)
        if len(lines) == 1:
            lines.append("    pass")
            offsets.append(self.start)
        source = "\n".join(lines) + "\n"
        code = compile(source, f"<block at {self.start:#x}>", "exec")
        defined: dict[str, Any] = {}
        exec(code, self.namespace, defined)
        function = defined["block"]
        return Compiled(function, source, offsets, function.__code__)

    @staticmethod
    def _is_call(statement: _Statement) -> bool:
        return statement.text.startswith("g.memory.") or statement.text.startswith("g.setreg")
