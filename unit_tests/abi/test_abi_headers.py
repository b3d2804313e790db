"""The ctypes tables say what the C compiler says of the installed kernel headers."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from abi_expectations import drm_numbers, kfd_numbers, layout_expectations, struct_of_request
from abi_probe import ask_compiler

from pytest_amdgpu.abi import drm, drm_info, kfd, kfd_debug

_HERE = Path(__file__).parent
_CASES = {
    "kfd": (["linux/kfd_ioctl.h"], lambda: layout_expectations([kfd, kfd_debug]) | kfd_numbers()),
    "drm": (["drm.h", "amdgpu_drm.h"], lambda: layout_expectations([drm, drm_info]) | drm_numbers()),
}


def _struct_of(expression: str) -> str:
    """Return the structure that an expression is about, or its size lies in."""
    match = re.search(r"(?:struct|union) \w+", expression)
    return match[0] if match else struct_of_request().get(expression, "")


@pytest.mark.parametrize("interface", _CASES)
def test_sizes_offsets_requests_and_constants(
    interface: str, require_tool: Callable[[str], str], tmp_path: Path
) -> None:
    headers, expectations = _CASES[interface]
    expected = expectations()
    answers = ask_compiler(require_tool("gcc"), headers, list(expected), tmp_path)
    # A structure that grew after these headers has another size there; its old members must agree.
    grown = {_struct_of(expression) for expression in answers.unknown} - {""}
    sizes = {
        expression
        for expression in answers.values
        if _struct_of(expression) in grown and ("sizeof(struct" in expression or "IOC" in expression)
    }
    wrong = {
        expression: (expected[expression], value)
        for expression, value in answers.values.items()
        if value != expected[expression] and expression not in sizes
    }
    assert not wrong, "expression: (ours, compiler's)"
    allowed = set((_HERE / f"unchecked_{interface}.txt").read_text().splitlines())
    unchecked = answers.unknown | {s for s in sizes if answers.values[s] != expected[s]}
    assert not unchecked - allowed, "the list of what old headers cannot check may only shrink"


def test_the_probe_notices_a_wrong_offset(require_tool: Callable[[str], str], tmp_path: Path) -> None:
    gcc = require_tool("gcc")
    expression = "offsetof(struct kfd_ioctl_create_queue_args, gpu_id)"
    answers = ask_compiler(gcc, ["linux/kfd_ioctl.h"], [expression, "NO_SUCH_CONSTANT"], tmp_path)
    assert answers.values == {expression: 36}
    assert answers.unknown == {"NO_SUCH_CONSTANT"}
