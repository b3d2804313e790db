"""The command line as a whole: the help names each command, and each command's help says what it does."""

from __future__ import annotations

import re

import pytest

import pytest_amdgpu.__main__ as entry
from pytest_amdgpu.commands.main import main

COMMANDS = ("capture", "devices", "expectations", "compare", "report", "decode")


def helped(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as caught:
        main([*arguments, "--help"])
    assert caught.value.code == 0
    return " ".join(capsys.readouterr().out.split())


def test_the_help_lists_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert re.search(" ".join(f"{command} .*" for command in COMMANDS), helped(capsys))
    assert entry.__doc__ is not None
    assert "--help" in entry.__doc__


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_on_a_command_begins_with_what_the_list_says(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    own, overview = helped(capsys, command), helped(capsys)
    described = re.search(r" ([A-Z][a-z][^.]+)\. (?:positional|options)", own)
    assert described, own
    text = described[1].replace("- ", "-")
    assert text[0].lower() + text[1:] in overview.replace("- ", "-")
