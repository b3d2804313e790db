"""Folders of attachments: names, what is replaced and what is kept, and a full disk."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from pytest_amdgpu.results.attachments import AttachmentFolders, folder_name, safe_name


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("amdgpu kernel log", "amdgpu_kernel_log"),
        ("a/b.py::test[x-1+y]", "a_b.py_test_x-1+y"),
        ("../../etc/passwd", "etc_passwd"),
        (".hidden", "hidden"),
        ("-rf", "rf"),
        ("ä\0\n$(reboot)", "reboot"),
        ("", "unnamed"),
        ("..", "unnamed"),
        ("y" * 300, "y" * 100),
    ],
)
def test_names_are_harmless(text: str, name: str) -> None:
    assert safe_name(text) == name


def test_folders_of_like_tests_differ() -> None:
    long = "t.py::test[" + "x" * 300
    names = {
        folder_name(test) for test in ("t.py::a[1/2]", "t.py::a[1_2]", f"{long}1]", f"{long}2]", "\ud800")
    }
    assert len(names) == 5
    assert all(len(name) <= 109 and "/" not in name for name in names)


def test_files_of_one_name_are_kept_apart_and_the_same_ones_are_not_repeated(tmp_path: Path) -> None:
    folders = AttachmentFolders(tmp_path / "new" / "place")
    first = folders.add("t", [("log.txt", b"1"), ("plain", b"1"), ("log.txt", b"2")])
    assert [path.name for path in first] == ["log.txt", "plain", "log-2.txt"]
    again = folders.add("t", [("log.txt", b"1"), ("log.txt", b"2"), ("log.txt", b"3"), ("plain", b"2")])
    assert [path.name for path in again] == ["log-3.txt", "plain-2"]
    assert {path.name: path.read_bytes() for path in first[0].parent.iterdir()} == {
        "log.txt": b"1",
        "log-2.txt": b"2",
        "log-3.txt": b"3",
        "plain": b"1",
        "plain-2": b"2",
    }
    assert "t" in folders
    assert "u" not in folders


def test_what_an_earlier_run_left_of_the_same_test_goes_and_nothing_else(tmp_path: Path) -> None:
    AttachmentFolders(tmp_path).add("t", [("old.txt", b"1")])
    AttachmentFolders(tmp_path).add("u", [("old.txt", b"1")])
    (tmp_path / "mine").write_text("mine")
    AttachmentFolders(tmp_path).add("t", [("new.txt", b"1")])
    assert sorted(
        path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()
    ) == [
        "mine",
        f"{folder_name('t')}/new.txt",
        f"{folder_name('u')}/old.txt",
    ]


def test_a_link_in_the_place_of_a_folder_is_not_followed(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "precious").write_text("1")
    (tmp_path / folder_name("t")).symlink_to(elsewhere)
    with pytest.raises(OSError, match="symbolic link"):
        AttachmentFolders(tmp_path).add("t", [("new.txt", b"1")])
    assert [path.name for path in elsewhere.iterdir()] == ["precious"]


def test_of_a_file_that_could_not_be_written_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, data: bytes) -> int:
        with open(path, "wb") as file:
            file.write(data[:1])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), os.fspath(path))

    folders = AttachmentFolders(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(OSError, match="No space left"):
            folders.add("t", [("log.txt", b"123")])
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    # Space may be there again.
    (path,) = folders.add("t", [("log.txt", b"123")])
    assert path.read_bytes() == b"123"
