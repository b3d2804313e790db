"""LLVM's AMDGPU disassembler as a function over many encodings, safe against its crashes.

Development only: the opcode tables are generated with it and the decoder tests use it as their oracle.
LLVM 22 dies on some random words of gfx9. So the work is done by a server process of its own, which forks
workers and replaces those that die; the caller's process, which may have threads, never forks.

    python tools/llvm_disassembler.py gfx942 [features] < lines-of-hex-bytes

is that server: it answers each line with `size<TAB>text`, size 0 where LLVM finds no instruction and -1 where
it crashed.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

CRASHED = -1


SONAME = "libLLVM.so.22.1"


def find_library() -> str:
    """Path of libLLVM 22 beside llvm-mc, or its name if only the loader knows where it is.

    Debian has `libLLVM.so` beside llvm-mc only where the development package is installed. Raises
    FileNotFoundError naming what was looked for.
    """
    candidates = [os.environ.get("LLVM_MC"), shutil.which("llvm-mc-22"), "/usr/lib/llvm-22/bin/llvm-mc"]
    for tool in filter(None, candidates):
        library = Path(tool).resolve().parent.parent / "lib" / "libLLVM.so"
        if library.exists():
            return str(library)
    try:
        ctypes.CDLL(SONAME)
    except OSError:
        raise FileNotFoundError(
            f"no libLLVM.so beside llvm-mc 22, and no {SONAME} among the loader's libraries;"
            f" looked at {candidates}"
        ) from None
    return SONAME


class _Disassembler:
    def __init__(self, target: str, features: str) -> None:
        if target.startswith("gfx12"):
            # The hardware has half registers, LLVM 22 leaves them off for this target unless asked.
            features += ",+real-true16"
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


class _Worker:
    """A forked child with LLVM in it, replaced when LLVM kills it."""

    def __init__(self, disassembler: _Disassembler) -> None:
        self._disassembler = disassembler
        self._start()

    def ask(self, line: str) -> str:
        """The answer to a line of hex digits."""
        self._questions.write(line)
        self._questions.flush()
        answer = self._answers.readline()
        if answer.endswith("\n"):
            return answer
        with contextlib.suppress(BrokenPipeError):
            self._questions.close()
        self._answers.close()
        os.waitpid(self._child, 0)
        self._start()
        return f"{CRASHED}\t\n"

    def _start(self) -> None:
        question_reader, question_writer = os.pipe()
        answer_reader, answer_writer = os.pipe()
        self._child = os.fork()
        if self._child == 0:
            os.close(question_writer)
            os.close(answer_reader)
            faulthandler.disable()
            try:
                for line in os.fdopen(question_reader, encoding="ascii"):
                    size, text = self._disassembler.one(bytes.fromhex(line))
                    os.write(answer_writer, f"{size}\t{text}\n".encode())
            finally:
                os._exit(0)
        os.close(question_reader)
        os.close(answer_writer)
        self._questions = os.fdopen(question_writer, "w", encoding="ascii")
        self._answers = os.fdopen(answer_reader, encoding="utf-8")


class LlvmDisassembler:
    """A server process that disassembles; use as a context manager.

    `target` is a CPU name of LLVM, `features` its list, for example "+wavefrontsize64".
    """

    CHUNK = 256
    """Codes per round trip: few enough that question and answer fit the pipes' buffers."""

    def __init__(self, target: str, features: str = "") -> None:
        self._server = subprocess.Popen(
            [sys.executable, __file__, target, features],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
        )

    def __enter__(self) -> LlvmDisassembler:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.communicate(timeout=60)

    def __call__(self, codes: Iterable[bytes]) -> list[tuple[int, str]]:
        """First instruction of each byte string: (size in bytes, text), (0, "") if LLVM finds none.

        A code that crashes LLVM gives (CRASHED, ""). Raises RuntimeError if the server is gone.
        """
        todo = list(codes)
        questions, answers = self._server.stdin, self._server.stdout
        assert questions is not None
        assert answers is not None
        results: list[tuple[int, str]] = []
        for start in range(0, len(todo), self.CHUNK):
            chunk = todo[start : start + self.CHUNK]
            questions.write("".join(f"{code.hex()}\n" for code in chunk))
            questions.flush()
            for code in chunk:
                line = answers.readline()
                if not line.endswith("\n"):
                    raise RuntimeError(f"LLVM's server ended at {code.hex()} with {self._server.wait(10)}")
                size, text = line.rstrip("\n").split("\t", 1)
                results.append((int(size), text))
        return results


def main() -> None:
    """The server."""
    target, *features = sys.argv[1:]
    worker = _Worker(_Disassembler(target, ",".join(features)))
    for line in sys.stdin:
        print(worker.ask(line), end="", flush=True)


if __name__ == "__main__":
    main()
