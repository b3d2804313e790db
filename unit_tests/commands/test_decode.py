"""The command `decode`: files of dwords in, packets out."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import pytest

from pytest_amdgpu.commands.decode import DecodeError, lines, read_dwords
from pytest_amdgpu.commands.main import main

# SDMA 7: FENCE with memory type 3 (sdma_v7_0.c), TRAP; PM4 of gfx11: SET_SH_REG of COMPUTE_NUM_THREAD_X.
FENCE = (0x00030005, 0x1000, 0x7F, 0x2A)
TRAP = (0x6, 0x9)
THREADS = (0xC0017600, 0x207, 64)


@pytest.fixture
def ring(tmp_path: Path) -> Path:
    path = tmp_path / "ring.bin"
    path.write_bytes(struct.pack("<6I", *FENCE, *TRAP))
    return path


def test_the_command_prints_one_line_a_packet(ring: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["decode", "--target", "gfx1201", "--engine", "sdma", str(ring)]) == 0
    fence, trap = capsys.readouterr().out.splitlines()
    assert fence.startswith("       0: FENCE ")
    assert "0x7f00001000" in fence
    assert trap.startswith("       4: TRAP ")


def test_registers_have_their_names(tmp_path: Path) -> None:
    path = tmp_path / "ring.txt"
    path.write_text("0x1000: c0017600 00000207\n0x1008: 0x40\n")
    assert list(lines(path, "gfx1100", "pm4")) == [
        "       0: SET_SH_REG COMPUTE_NUM_THREAD_X = 0x40 (num_thread_full=0x40)"
    ]


def test_what_is_no_packet_ends_the_list(tmp_path: Path) -> None:
    path = tmp_path / "ring.txt"
    path.write_text(" ".join(f"{word:08x}" for word in (*TRAP, 0xEE, 1)))
    trap, end = lines(path, "gfx942", "sdma")
    assert trap.startswith("       0: TRAP")
    assert end.startswith("       2: ")
    assert end.endswith("[000000ee 00000001]")


def test_aql_packets(tmp_path: Path) -> None:
    path = tmp_path / "queue.bin"
    path.write_bytes(struct.pack("<H62x", 1))
    (line,) = lines(path, "gfx942", "aql")
    assert "INVALID" in line


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"12 0x34,56\n", [0x12, 0x34, 0x56]),
        (b"0: 1 2\n8: 3\n", [1, 2, 3]),
        (b"\x01\0\0\0\xff\xff\xff\xff", [1, 0xFFFFFFFF]),
        (b"\n\n\n\n", [0x0A0A0A0A]),
    ],
)
def test_files_of_dwords(content: bytes, words: list[int], tmp_path: Path) -> None:
    path = tmp_path / "dump"
    path.write_bytes(content)
    assert read_dwords(path) == words


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "dump: the file is empty; it must hold at least one dword"),
        (b"\0" * 7, "7 bytes are not whole"),
        (b"12 hello", "'hello' is not"),
    ],
)
def test_files_without_dwords(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "dump"
    path.write_bytes(content)
    with pytest.raises(DecodeError, match=message):
        read_dwords(path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--target", "gfx7", "--engine", "sdma", "x"], "decode: unknown gfx target 'gfx7'; known: gfx908"),
        (["--target", "gfx1202", "--engine", "sdma", "x"], "gfx1250; its nearest relative is gfx1201$"),
        (["--target", "gfx942", "--engine", "sdma", "/none"], "decode: .*No such file"),
    ],
)
def test_failures_are_told_and_are_the_exit_status(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["decode", *arguments]) == 1
    assert re.search(message, capsys.readouterr().err)


def test_wrong_usage_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["decode", "--target", "gfx942", "--engine", "dma", "x"])
    assert caught.value.code == 2
    assert "invalid choice: 'dma'" in capsys.readouterr().err
