"""Finding a compiler, compiling, and the cache."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

import pytest

from pytest_amdgpu.driver import compiler as module
from pytest_amdgpu.driver.code_object import parse
from pytest_amdgpu.driver.compiler import Compiler, CompilerError, compile_source, find_compiler

ROOT = Path(__file__).parents[2]
SOURCE = "__attribute__((amdgpu_kernel)) void k(__attribute__((address_space(1))) int *p) { *p = 1; }"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    directory = tmp_path / "cache"
    monkeypatch.setenv("PYTEST_AMDGPU_CACHE", str(directory))
    return directory


def fake_compiler(directory: Path, clang: str = "clang", script: str = "exit 0") -> Path:
    """Lay out a directory with an lld and a clang that runs `script`."""
    directory.mkdir(parents=True, exist_ok=True)
    for name in (clang, "ld.lld"):
        (directory / name).write_text(f"#!/bin/sh\n{script}\n")
        (directory / name).chmod(0o755)
    return directory


def test_the_option_comes_first(tmp_path):
    chosen, rocm = fake_compiler(tmp_path / "chosen"), tmp_path / "rocm"
    fake_compiler(rocm / "llvm" / "bin")
    found = find_compiler(str(chosen), {"ROCM_PATH": str(rocm), "PATH": ""})
    assert found == Compiler((str(chosen / "clang"),), (str(chosen / "ld.lld"),), "--amdgpu-compiler")
    assert find_compiler(str(chosen / "clang"), {}).clang == found.clang


@pytest.mark.parametrize("part", ["llvm/bin", "lib/llvm/bin"])
def test_rocm_path_comes_before_path(tmp_path, part):
    fake_compiler(tmp_path / "rocm" / part)
    fake_compiler(tmp_path / "bin", script="echo amdgcn")
    found = find_compiler(None, {"ROCM_PATH": str(tmp_path / "rocm"), "PATH": str(tmp_path / "bin")})
    assert found.origin == "$ROCM_PATH"


def test_path_comes_before_ziglang(tmp_path):
    directory = fake_compiler(tmp_path / "bin", script="echo '    amdgcn  - AMD GCN GPUs'")
    found = find_compiler(None, {"PATH": str(directory)})
    assert (found.origin, found.clang) == ("PATH", (str(directory / "clang"),))


def test_a_clang_without_the_target_is_passed_over(tmp_path, require_ziglang):
    directory = fake_compiler(tmp_path / "bin", script="echo x86-64")
    assert find_compiler(None, {"PATH": str(directory)}).origin == "ziglang"


def test_no_compiler_is_an_error_that_says_how_to_get_one(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        CompilerError, match=r"pip install pytest-amdgpu\[compiler\].*ROCM_PATH.*--amdgpu-compiler"
    ):
        find_compiler(None, {"PATH": ""})


def test_an_option_without_a_clang_names_the_path(tmp_path):
    with pytest.raises(CompilerError, match=f"--amdgpu-compiler: there is no clang at {tmp_path}/clang"):
        find_compiler(str(tmp_path), {})


def test_a_clang_without_lld_is_refused(tmp_path):
    (fake_compiler(tmp_path) / "ld.lld").unlink()
    with pytest.raises(CompilerError, match=r"has no ld\.lld beside it"):
        find_compiler(str(tmp_path), {})


@pytest.mark.parametrize("target", ["gfx942", "gfx1100"])
def test_source_becomes_a_code_object_for_the_target(target, require_ziglang):
    code_object = parse(compile_source(SOURCE, target))
    assert (code_object.family.name, list(code_object.kernels)) == (target, ["k"])


def test_assembly_is_accepted(require_ziglang):
    text = """
        .globl k
        .p2align 8
        .type k,@function
    k:  s_endpgm
        .amdhsa_kernel k
            .amdhsa_next_free_vgpr 1
            .amdhsa_next_free_sgpr 1
        .end_amdhsa_kernel
    """.replace("        .amdhsa_kernel", ".section .rodata\n.p2align 6\n        .amdhsa_kernel")
    metadata = """
    .amdgpu_metadata
    amdhsa.version: [1, 2]
    amdhsa.kernels:
      - .name: k
        .symbol: k.kd
        .kernarg_segment_size: 0
        .group_segment_fixed_size: 0
        .private_segment_fixed_size: 0
        .kernarg_segment_align: 4
        .wavefront_size: 32
        .sgpr_count: 1
        .vgpr_count: 1
        .max_flat_workgroup_size: 64
    .end_amdgpu_metadata
    """
    code = compile_source(text + metadata, "gfx1100", language="asm", options=())
    assert list(parse(code).kernels) == ["k"]


def test_an_error_in_the_source_is_shown(require_ziglang):
    with pytest.raises(CompilerError, match="use of undeclared identifier 'nothing'"):
        compile_source("int f(void) { return nothing; }", "gfx942")


def test_an_error_in_the_source_has_no_cause_in_the_cache(require_ziglang):
    with pytest.raises(CompilerError) as caught:
        compile_source("int f(void) { return nothing; }", "gfx942")
    assert (caught.value.__cause__, caught.value.__context__) == (None, None)


@pytest.mark.parametrize("what", ["file", "directory"])
def test_a_cache_that_cannot_be_used_is_named(cache, what, monkeypatch):
    compiler = Compiler((sys.executable,), (sys.executable,), "test")
    monkeypatch.setattr(module._Job, "run", lambda self: b"code")
    if what == "file":
        cache.write_text("")
    else:
        compile_source(SOURCE, "gfx942", compiler=compiler)
        (kept,) = cache.iterdir()
        kept.unlink()
        kept.mkdir()
    message = rf"cannot keep compiled kernels in {cache}: .*; \$PYTEST_AMDGPU_CACHE names another place"
    with pytest.raises(CompilerError, match=message):
        compile_source(SOURCE, "gfx942", compiler=compiler)


def test_an_include_directory_that_is_not_there_is_named(tmp_path):
    with pytest.raises(CompilerError, match=f"include: there is no directory {tmp_path}/none"):
        compile_source(SOURCE, "gfx942", include=[tmp_path / "none"])


def test_an_option_that_cannot_be_run_is_refused(tmp_path):
    clang = fake_compiler(tmp_path) / "clang"
    clang.chmod(0o644)
    with pytest.raises(CompilerError, match=f"--amdgpu-compiler: {clang} is no program that can be run"):
        find_compiler(str(clang), {})


def test_an_unknown_language_is_named():
    with pytest.raises(CompilerError, match="unknown language 'fortran'; known are c, cl, asm"):
        compile_source("", "gfx942", language="fortran")


def test_the_result_is_cached_by_content(tmp_path, cache, require_ziglang):
    first = compile_source(SOURCE, "gfx942")
    assert [path.read_bytes() for path in cache.iterdir()] == [first]
    broken = Compiler(("/nonexistent", "clang"), ("/nonexistent",), "test")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Compiler, "identity", lambda self: find_compiler_identity)
        find_compiler_identity = "same"
        again = compile_source(SOURCE + "\n", "gfx942")
        assert compile_source(SOURCE + "\n", "gfx942", compiler=broken) == again
    assert len(list(cache.iterdir())) == 2


def test_options_target_and_headers_are_part_of_the_content(tmp_path, cache, require_ziglang):
    header = tmp_path / "include" / "value.h"
    header.parent.mkdir()
    source = '#include "value.h"\n' + SOURCE.replace("1;", "VALUE;")
    for text, target, options in [
        ("#define VALUE 1\n", "gfx942", ("-O2",)),
        ("#define VALUE 2\n", "gfx942", ("-O2",)),
        ("#define VALUE 2\n", "gfx1100", ("-O2",)),
        ("#define VALUE 2\n", "gfx1100", ("-O0",)),
    ]:
        header.write_text(text)
        compile_source(source, target, options=options, include=[header.parent])
    assert len(list(cache.iterdir())) == 4


def test_a_compiler_that_cannot_run_is_named(tmp_path):
    broken = fake_compiler(tmp_path) / "clang"
    broken.chmod(0o644)
    with pytest.raises(CompilerError, match=f"cannot run {broken}"):
        compile_source(SOURCE, "gfx942", compiler=Compiler((str(broken),), (str(broken),), "test"))


def test_cache_directory_follows_the_environment(monkeypatch):
    monkeypatch.delenv("PYTEST_AMDGPU_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert module.cache_directory() == Path("/somewhere/pytest-amdgpu")


def test_the_committed_code_objects_are_those_of_the_pinned_compiler(require_ziglang):
    """Rebuilding gives the same bytes: `python hw_tests/kernels/build.py --check`."""
    import subprocess
    from importlib.metadata import version

    pinned = next(
        line.split("==")[1].strip('"]')
        for line in (ROOT / "pyproject.toml").read_text().splitlines()
        if line.startswith("compiler = ")
    )
    if version("ziglang") != pinned:
        pytest.skip(f"ziglang {version('ziglang')} is installed, {pinned} made the code objects")
    run = subprocess.run(
        [sys.executable, "hw_tests/kernels/build.py", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env={**os.environ, "PATH": "", "ROCM_PATH": ""},
        check=False,
    )
    assert (run.returncode, run.stdout) == (0, ""), run.stderr
