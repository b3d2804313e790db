"""Rows of families: nobody compares versions, every field has its source, and what is assumed is listed."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path

import pytest

import pytest_amdgpu
from pytest_amdgpu.families import context_save, family, kernel_rules, scratch_rules, shader_rules
from pytest_amdgpu.families.registry import FAMILIES, Family
from pytest_amdgpu.families.registry import family as find_family

PACKAGE = Path(pytest_amdgpu.__file__).parent
DOCS = Path(__file__).parents[2] / "docs" / "software_kernel.md"
MAY_USE_VERSIONS = ("families/family.py", "families/registry.py", "families/rows.py")
"""Where versions are told, made into names and numbers, and looked up."""
VERSIONS = {"gfx_version", "gfx_target_version"}
ROW_MODULES = (family, shader_rules, scratch_rules, context_save, kernel_rules)
A_SOURCE = re.compile(
    r"AMDGPUUsage|LLVM|ROCr|HIP|ISA documents? of|\b\w+\.[ch]\b|\b[A-Z]+_\w*PER_(CU|WAVE)|\bkfd_\w+"
    r"|[Ww]ave_num|see \w+(/\w+)?\.py|width of the packet's count"
)


def version_uses(source: str) -> Iterator[tuple[int, str]]:
    """Yield line and text of what asks a family for its version, or compares a target by number or name."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and node.attr in VERSIONS:
            yield node.lineno, ast.unparse(node)
        elif isinstance(node, ast.Compare):
            for part in ast.walk(node):
                if isinstance(part, ast.Constant) and isinstance(part.value, str):
                    text = part.value
                    if text in VERSIONS or re.fullmatch(r"gfx\d\w*", text):
                        yield node.lineno, ast.unparse(node)


def test_no_code_asks_for_the_version_of_a_family() -> None:
    found = [
        f"{name}:{line}: {text}"
        for path in sorted(PACKAGE.rglob("*.py"))
        if (name := path.relative_to(PACKAGE).as_posix()) not in MAY_USE_VERSIONS
        for line, text in version_uses(path.read_text())
    ]
    assert found == [], "make it a field of the family's row, named after what it means (families/family.py)"


@pytest.mark.parametrize(
    "code",
    [
        "if family.gfx_version[0] >= 10: pass",
        "new = gpu.family.gfx_version in ((9, 4, 2), (9, 5, 0))",
        "major = g.chunk.state.family.gfx_version",
        "match row.gfx_version:\n case (9, *_): pass",
        "old = node.properties['gfx_target_version'] < 100100",
        "cdna = family.gfx_target_version // 10000 == 9",
        "if family.name == 'gfx1100': pass",
        "if target in ('gfx942', 'gfx950'): pass",
    ],
)
def test_a_use_of_the_version_is_found(code: str) -> None:
    assert [line for line, _ in version_uses(code)]


def test_what_is_no_use_of_a_version() -> None:
    assert not list(
        version_uses("x = properties['gfx_target_version']\nf(name='gfx942')\nif a.pm4 == b: pass")
    )


def undocumented(source: str) -> Iterator[str]:
    """Yield fields of dataclasses of a module that name no source where neither they nor their class do."""
    for node in ast.parse(source).body:
        if not isinstance(node, ast.ClassDef) or "Enum" in map(ast.unparse, node.bases):
            continue
        of_class = bool(A_SOURCE.search(ast.get_docstring(node) or ""))
        for part, following in zip(node.body, [*node.body[1:], None], strict=True):
            if isinstance(part, ast.AnnAssign):
                text = ""
                if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
                    text = str(following.value.value)
                if not of_class and not A_SOURCE.search(text):
                    yield f"{node.name}.{ast.unparse(part.target)}"


@pytest.mark.parametrize("module", ROW_MODULES, ids=lambda module: module.__name__.rpartition(".")[2])
def test_every_field_of_a_row_names_its_source(module: object) -> None:
    path = Path(str(getattr(module, "__file__", "")))
    # Those are a name, what others refer to, and groups whose own fields name sources.
    groups = {f"Family.{name}" for name in ("name", "shader", "scratch", "context_save", "kernel", "assumed")}
    groups |= {"ShaderRules.accumulation", "ShaderRules.flat_scratch", "ShaderRules.buffers"}
    groups |= {"KernelRules.fault_log"}
    assert set(undocumented(path.read_text())) - groups == set()


def test_a_field_without_a_source_is_found() -> None:
    text = 'class A(NamedTuple):\n    a: int\n    """From kfd_queue.c."""\n    b: int\n    """Nothing."""'
    assert list(undocumented(text)) == ["A.b"]


def leaves(value: object, path: str = "") -> Iterator[str]:
    """Yield the paths of all fields, also of groups."""
    names = [field.name for field in fields(value)] if is_dataclass(value) else getattr(value, "_fields", ())
    for name in names:
        yield f"{path}{name}"
        yield from leaves(getattr(value, name), f"{path}{name}.")


@pytest.mark.parametrize("row", FAMILIES, ids=str)
def test_assumed_fields_exist(row: Family) -> None:
    assert row.assumed <= set(leaves(row))


def test_only_gfx12_has_assumed_values() -> None:
    assumed = {row.name: row.assumed for row in FAMILIES if row.assumed}
    assert set(assumed) == {"gfx1200", "gfx1201", "gfx1250"}
    assert assumed["gfx1200"] == assumed["gfx1201"] == {"hardware_ids"}


def test_docs_list_what_is_assumed() -> None:
    text = DOCS.read_text().partition("## What is assumed")[2].partition("\n## ")[0]
    listed = {
        (target, value)
        for line in text.splitlines()
        if line.startswith("| gfx")
        for targets, values in [line.strip("| ").split(" | ")[:2]]
        for target in targets.split(", ")
        for value in re.findall(r"`([\w.]+)`", values)
    }
    assert listed == {(row.name, value) for row in FAMILIES for value in row.assumed}


# Worked out from amdgpu of Linux 7.0: target, whether the scheduler is MES, first VMID, last doorbell that is
# not for compute queues, queues of a process, columns of cu_bitmap for an engine.
KERNEL_NUMBERS = [
    ("gfx908", False, 3, 0x18F, 127, 1),
    ("gfx90a", False, 3, 0x18F, 127, 1),
    ("gfx942", False, 3, 0x1E8, 255, 1),
    ("gfx950", False, 3, 0x1E8, 255, 1),
    ("gfx1010", False, 8, 0x190, 127, 2),
    ("gfx1036", False, 8, 0x190, 127, 2),
    ("gfx1100", True, 8, 0x190, 127, 2),
    ("gfx1151", True, 8, 0x190, 127, 2),
    ("gfx1201", True, 8, 0x190, 127, 2),
    ("gfx1250", True, 3, 0x1EF, 127, 2),
]


@pytest.mark.parametrize(("target", "mes", "vmid", "doorbell", "queues", "step"), KERNEL_NUMBERS)
def test_numbers_of_the_kernel(
    target: str, mes: bool, vmid: int, doorbell: int, queues: int, step: int
) -> None:
    rules = find_family(target).kernel
    assert (rules.mes, rules.first_vmid, rules.last_reserved_doorbell) == (mes, vmid, doorbell)
    assert (rules.max_queues, rules.cu_bitmap_step) == (queues, step)


def test_what_only_some_targets_have() -> None:
    def names(what: str) -> list[str]:
        return [row.name for row in FAMILIES if getattr(row.kernel, what)]

    # KFD_SUPPORT_XNACK_PER_PROCESS: GC 9.4.2, 9.4.3, 9.4.4 and 9.5.0.
    assert names("xnack_per_process") == names("poison") == ["gfx90a", "gfx942", "gfx950"]
    # pqm_set_gws: without MES, and not GC 9.4.3, 9.4.4, 9.5.0.
    assert names("gws_is_a_buffer") == [
        row.name for row in FAMILIES if row.architecture in ("CDNA1", "CDNA2", "RDNA1", "RDNA2")
    ]
    # kfd_dbg_has_cwsr_workaround: GC 11.0.0 to 11.0.3, which are gfx1100, gfx1103, gfx1102, gfx1101.
    assert names("cwsr_workaround") == ["gfx1100", "gfx1101", "gfx1102", "gfx1103"]
    # No graphics ring: GC 9.4.1, 9.4.2, all of gfx_v9_4_3.c and gfx_v12_1.c.
    assert [row.name for row in FAMILIES if not row.kernel.graphics] == [
        "gfx908",
        "gfx90a",
        "gfx942",
        "gfx950",
        "gfx1250",
    ]
