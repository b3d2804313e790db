"""Texts for the page of HTML: which are taken, how much of them, and which never."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pytest_amdgpu.results.evidence import FILE_ROOM, Evidence


def test_a_text_is_read_and_of_a_long_one_the_end(tmp_path: Path) -> None:
    (tmp_path / "t-1").mkdir()
    (tmp_path / "t-1" / "log.txt").write_bytes(b"one\n\xff")
    (tmp_path / "long.txt").write_text("-" * 5 + "x" * FILE_ROOM)
    evidence = Evidence(tmp_path)
    assert evidence.text("t-1/log.txt") == "one\n�"
    assert evidence.text("long.txt") == "(5 bytes before this are left out)\n" + "x" * FILE_ROOM


def test_what_is_no_text_below_the_directory_is_not_read(tmp_path: Path) -> None:
    inside, secret = tmp_path / "run", tmp_path / "secret.txt"
    inside.mkdir()
    secret.write_text("secret")
    (inside / "link.txt").symlink_to(secret)
    (inside / "got.npy").write_bytes(b"1")
    (inside / "folder.txt").mkdir()
    os.mkfifo(inside / "pipe.txt")
    paths = (
        str(secret),
        "../secret.txt",
        "link.txt",
        "got.npy",
        "folder.txt",
        "pipe.txt",
        "gone.txt",
        "a\0.txt",
    )
    assert {path: Evidence(inside).text(path) for path in paths} == dict.fromkeys(paths)


@pytest.mark.parametrize(("room", "read"), [(FILE_ROOM - 1, 0), (2 * FILE_ROOM, 2), (3 * FILE_ROOM - 1, 2)])
def test_when_the_room_is_used_up_nothing_more_is_read(room: int, read: int, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x" * FILE_ROOM)
    evidence = Evidence(tmp_path, room)
    assert [bool(evidence.text("a.txt")) for _ in range(4)] == [True] * read + [False] * (4 - read)
