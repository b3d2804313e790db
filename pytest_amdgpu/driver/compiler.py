"""Compile kernels on the fly: find a clang with the AMDGPU target, run it, and cache what it made."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

LANGUAGES: Mapping[str, tuple[str, ...]] = {
    "c": ("-x", "c", "-std=c23"),
    "cl": ("-x", "cl", "-cl-std=CL2.0", "-cl-no-stdinc"),
    "asm": ("-x", "assembler"),
}
"""Source languages and the flags that choose them. OpenCL C comes without its built-in functions."""

TIMEOUT = 120.0
"""Seconds that one run of the compiler may take."""

CACHE_VARIABLE = "PYTEST_AMDGPU_CACHE"


class CompilerError(RuntimeError):
    """No compiler was found, or it refused the source; the message holds its diagnostics."""


@dataclass(frozen=True, slots=True)
class Compiler:
    """A clang and an lld that know the AMDGPU target, and where they were found."""

    clang: tuple[str, ...]
    lld: tuple[str, ...]
    origin: str

    def identity(self) -> str:
        """Tell this compiler's build from others without running it: path, size and time of its binary."""
        binary = shutil.which(self.clang[0]) or self.clang[0]
        status = os.stat(binary)
        return f"{os.path.realpath(binary)}:{status.st_size}:{status.st_mtime_ns}"


def find_compiler(option: str | None = None, environment: Mapping[str, str] | None = None) -> Compiler:
    """Find a compiler: the option, `$ROCM_PATH`, `PATH`, then the Python package ziglang.

    Raises `CompilerError` that says how to get one.
    """
    environment = os.environ if environment is None else environment
    if option:
        return _from_directory_or_file(Path(option), "--amdgpu-compiler")
    rocm = environment.get("ROCM_PATH")
    if rocm:
        for part in ("llvm/bin", "lib/llvm/bin"):
            if (Path(rocm) / part / "clang").exists():
                return _from_directory_or_file(Path(rocm) / part, "$ROCM_PATH")
    path = environment.get("PATH", "")
    clang, lld = (
        shutil.which("amdclang", path=path) or shutil.which("clang", path=path),
        shutil.which("ld.lld", path=path),
    )
    if clang and lld and _has_amdgpu(clang):
        return Compiler((clang,), (lld,), "PATH")
    zig = _zig_binary()
    if zig:
        return Compiler((zig, "clang"), (zig, "ld.lld"), "ziglang")
    raise CompilerError(
        "no compiler with the AMDGPU target: install one with `pip install pytest-amdgpu[compiler]` "
        "(ziglang), or set ROCM_PATH, or put clang and ld.lld on PATH, or give --amdgpu-compiler=PATH"
    )


def _from_directory_or_file(path: Path, origin: str) -> Compiler:
    """Make a compiler of a clang, or of the directory that holds it; ld.lld must lie beside it."""
    clang = path / "clang" if path.is_dir() else path
    if not clang.exists():
        raise CompilerError(f"{origin}: there is no clang at {clang}")
    if not os.access(clang, os.X_OK) or clang.is_dir():
        raise CompilerError(f"{origin}: {clang} is no program that can be run")
    if clang.name == "zig":
        return Compiler((str(clang), "clang"), (str(clang), "ld.lld"), origin)
    lld = clang.parent / "ld.lld"
    if not lld.exists():
        raise CompilerError(f"{origin}: {clang} has no ld.lld beside it")
    return Compiler((str(clang),), (str(lld),), origin)


def _has_amdgpu(clang: str) -> bool:
    run = subprocess.run(
        [clang, "--print-targets"], capture_output=True, text=True, timeout=TIMEOUT, check=False
    )
    return "amdgcn" in run.stdout


def _zig_binary() -> str | None:
    spec = importlib.util.find_spec("ziglang")
    if spec is None or spec.origin is None:
        return None
    return str(Path(spec.origin).parent / "zig")


def cache_directory() -> Path:
    """Where compiled code objects are kept: `$PYTEST_AMDGPU_CACHE`, else below `$XDG_CACHE_HOME`."""
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen:
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(base) / "pytest-amdgpu"


def compile_source(
    source: str,
    target: str,
    *,
    language: str = "c",
    options: Sequence[str] = ("-O2",),
    include: Sequence[Path] = (),
    compiler: Compiler | None = None,
) -> bytes:
    """Compile `source` for a target such as `gfx942` and return the linked code object.

    `include` names directories searched for headers. The result is cached by the content of source and
    headers, the target, the options and the compiler. Raises `CompilerError`, also where it cannot be kept.
    """
    if language not in LANGUAGES:
        raise CompilerError(f"unknown language {language!r}; known are {', '.join(LANGUAGES)}")
    for directory in include:
        if not Path(directory).is_dir():
            raise CompilerError(f"include: there is no directory {directory}")
    job = _Job(source, target, language, options, include, compiler or find_compiler())
    cached = cache_directory() / f"{job.digest()}.co"
    code_object = _read(cached)
    if code_object is None:
        code_object = job.run()
        _keep(cached, code_object)
    return code_object


def _read(file: Path) -> bytes | None:
    """Return what was compiled before, None if nothing was."""
    try:
        return file.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _no_cache(file, error) from error


def _keep(file: Path, code_object: bytes) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        # A rename is atomic: another process sees the whole file or none.
        with tempfile.NamedTemporaryFile(dir=file.parent, delete=False) as temporary:
            temporary.write(code_object)
        os.replace(temporary.name, file)
    except OSError as error:
        raise _no_cache(file, error) from error


def _no_cache(file: Path, error: OSError) -> CompilerError:
    return CompilerError(
        f"cannot keep compiled kernels in {file.parent}: {error}; ${CACHE_VARIABLE} names another place"
    )


@dataclass(frozen=True, slots=True)
class _Job:
    """What is compiled, for what, and by which compiler."""

    source: str
    target: str
    language: str
    options: Sequence[str]
    include: Sequence[Path]
    compiler: Compiler

    def digest(self) -> str:
        """Tell it from every other that could give another result."""
        digest = hashlib.sha256()
        identity = self.compiler.identity()
        for part in (self.source, self.target, self.language, *self.options, identity):
            digest.update(part.encode() + b"\0")
        for directory in self.include:
            for header in sorted(Path(directory).rglob("*.h")):
                name = str(header.relative_to(directory))
                digest.update(name.encode() + b"\0" + header.read_bytes() + b"\0")
        return digest.hexdigest()

    def run(self) -> bytes:
        """Compile and link."""
        compiler = self.compiler
        with tempfile.TemporaryDirectory(prefix="pytest-amdgpu-") as directory:
            object_file, linked = Path(directory, "kernel.o"), Path(directory, "kernel.co")
            headers = [argument for path in self.include for argument in ("-I", str(path))]
            _call(
                [
                    *compiler.clang,
                    *LANGUAGES[self.language],
                    "--target=amdgcn-amd-amdhsa",
                    f"-mcpu={self.target}",
                    "-nogpulib",
                    *self.options,
                    *headers,
                    *("-c", "-o", str(object_file), "-"),
                ],
                self.source,
                compiler,
            )
            _call([*compiler.lld, "-shared", "-o", str(linked), str(object_file)], "", compiler)
            return linked.read_bytes()


def _call(command: list[str], text: str, compiler: Compiler) -> None:
    try:
        run = subprocess.run(
            command, input=text, capture_output=True, text=True, timeout=TIMEOUT, check=False
        )
    except OSError as error:
        raise CompilerError(f"cannot run {command[0]} (found by {compiler.origin}): {error}") from error
    except subprocess.TimeoutExpired as error:
        raise CompilerError(f"{command[0]} did not end within {TIMEOUT} seconds") from error
    if run.returncode:
        raise CompilerError(
            f"{' '.join(command[:2])} (found by {compiler.origin}) failed with "
            f"{run.returncode}:\n{run.stderr}"
        )
