"""LLVM's AMDGPU disassembler as a function over many encodings, safe against its crashes.

Development only: the opcode tables are generated with it and the decoder tests use it as their oracle.
LLVM 22 dies on some random words of gfx9, so the work is done in forked children that are replaced when they
die.

    python tools/llvm_disassembler.py gfx942 < lines-of-hex-bytes

prints for each line `size<TAB>text`, size 0 where LLVM finds no instruction and -1 where it crashed.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

CRASHED = -1


def find_library() -> str:
    """Path of libLLVM 22 next to llvm-mc; raises FileNotFoundError naming what was looked for."""
    candidates = [os.environ.get("LLVM_MC"), shutil.which("llvm-mc-22"), "/usr/lib/llvm-22/bin/llvm-mc"]
    for tool in filter(None, candidates):
        library = Path(tool).resolve().parent.parent / "lib" / "libLLVM.so"
        if library.exists():
            return str(library)
    raise FileNotFoundError(f"no libLLVM.so beside llvm-mc 22; looked at {candidates}")


class _Disassembler:
    def __init__(self, target: str, features: str) -> None:
        library = ctypes.CDLL(find_library())
        for step in ("TargetInfo", "TargetMC", "Disassembler"):
            getattr(library, f"LLVMInitializeAMDGPU{step}")()
        create = library.LLVMCreateDisasmCPUFeatures
        create.restype = ctypes.c_void_p
        create.argtypes = [ctypes.c_char_p] * 3 + [
            ctypes.c_void_p,
            ctypes.c_int,
            ctypes.c_void_p,
            ctypes.c_void_p,
        ]
        self._run = library.LLVMDisasmInstruction
        self._run.restype = ctypes.c_size_t
        self._run.argtypes = [
            ctypes.c_void_p,
            ctypes.c_char_p,
            ctypes.c_uint64,
            ctypes.c_uint64,
            ctypes.c_char_p,
            ctypes.c_size_t,
        ]
        self._context = create(b"amdgcn-amd-amdhsa", target.encode(), features.encode(), None, 0, None, None)
        if not self._context:
            raise ValueError(f"libLLVM knows no AMDGPU target {target!r} with features {features!r}")
        set_options = library.LLVMSetDisasmOptions
        set_options.argtypes = [ctypes.c_void_p, ctypes.c_uint64]
        set_options(self._context, 2)  # LLVMDisassembler_Option_PrintImmHex, as llvm-objdump does
        self._text = ctypes.create_string_buffer(512)

    def one(self, code: bytes) -> tuple[int, str]:
        size = self._run(self._context, code, len(code), 0, self._text, len(self._text))
        return size, " ".join(self._text.value.decode().split()) if size else ""


class LlvmDisassembler:
    """A child process that disassembles; replaced when LLVM crashes in it. Use as a context manager.

    `target` is a CPU name of LLVM, `features` its list, for example "+wavefrontsize64".
    """

    CHUNK = 256
    """Codes per round trip: few enough that question and answer fit the pipes' buffers."""

    def __init__(self, target: str, features: str = "") -> None:
        self._target, self._features = target, features
        # Loaded here too: a child that dies at once would hide a bad target name.
        self._disassembler = _Disassembler(target, features)
        self._child = 0
        self._start()

    def __enter__(self) -> LlvmDisassembler:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def __call__(self, codes: Iterable[bytes]) -> list[tuple[int, str]]:
        """First instruction of each byte string: (size in bytes, text), (0, "") if LLVM finds none.

        A code that crashes LLVM gives (CRASHED, "").
        """
        todo = list(codes)
        results: list[tuple[int, str]] = []
        while len(results) < len(todo):
            chunk = todo[len(results) : len(results) + self.CHUNK]
            answers = self._ask(chunk)
            results += answers
            if len(answers) < len(chunk):
                results.append((CRASHED, ""))
                self._stop()
                self._start()
        return results

    def _ask(self, chunk: list[bytes]) -> list[tuple[int, str]]:
        """The answers up to the one at which the child died."""
        self._questions.write("".join(f"{code.hex()}\n" for code in chunk))
        self._questions.flush()
        answers = []
        for _ in chunk:
            line = self._answers.readline()
            if not line.endswith("\n"):
                break
            size, text = line.rstrip("\n").split("\t", 1)
            answers.append((int(size), text))
        return answers

    def _start(self) -> None:
        question_reader, question_writer = os.pipe()
        answer_reader, answer_writer = os.pipe()
        self._child = os.fork()
        if self._child == 0:
            os.close(question_writer)
            os.close(answer_reader)
            try:
                for line in os.fdopen(question_reader, encoding="ascii"):
                    size, text = self._disassembler.one(bytes.fromhex(line))
                    # Unbuffered on purpose: what was found before a crash must arrive.
                    os.write(answer_writer, f"{size}\t{text}\n".encode())
            finally:
                os._exit(0)
        os.close(question_reader)
        os.close(answer_writer)
        self._questions = os.fdopen(question_writer, "w", encoding="ascii")
        self._answers = os.fdopen(answer_reader, encoding="utf-8")

    def _stop(self) -> None:
        with contextlib.suppress(BrokenPipeError):
            self._questions.close()
        self._answers.close()
        os.waitpid(self._child, 0)


def main() -> None:
    """Filter: hex bytes in, text out."""
    target, *features = sys.argv[1:]
    codes = [bytes.fromhex(line) for line in sys.stdin]
    with LlvmDisassembler(target, ",".join(features)) as disassemble:
        for size, text in disassemble(codes):
            print(size, text, sep="\t")


if __name__ == "__main__":
    main()
