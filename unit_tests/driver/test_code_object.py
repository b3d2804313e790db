"""Code objects against readelf, llvm-readelf and llvm-objdump, and against damage."""

from __future__ import annotations

import random
import re
import subprocess
from pathlib import Path

import pytest

from pytest_amdgpu.driver import code_object as code_object_module
from pytest_amdgpu.driver.code_object import (
    CodeObjectError,
    Relocation,
    RelocationType,
    parse,
    relocate,
)
from pytest_amdgpu.driver.compiler import compile_source

OBJECTS = Path(__file__).parents[2] / "hw_tests" / "kernels" / "objects"
ALL = sorted(OBJECTS.glob("*/*.co"))
SCRATCH = OBJECTS / "gfx942" / "scratch.co"


def identify(path: Path) -> str:
    return f"{path.parent.name}-{path.stem}"


def output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("path", ALL, ids=identify)
def test_segments_are_those_of_readelf(path, require_tool):
    lines = [
        line.split()
        for line in output(require_tool("readelf"), "-lW", str(path)).splitlines()
        if line.startswith("  LOAD")
    ]
    code_object = parse(path.read_bytes(), path.name)
    found = [
        (segment.address, len(segment.data), segment.size, segment.writable, segment.executable)
        for segment in code_object.segments
    ]
    expected = [
        (
            int(line[2], 16),
            int(line[4], 16),
            int(line[5], 16),
            "W" in "".join(line[6:-1]),
            "E" in "".join(line[6:-1]),
        )
        for line in lines
    ]
    assert found == expected


@pytest.mark.parametrize("path", ALL, ids=identify)
def test_symbols_are_those_of_readelf(path, require_tool):
    expected = {}
    for line in output(require_tool("readelf"), "--dyn-syms", "-W", str(path)).splitlines():
        fields = line.split()
        if len(fields) == 8 and fields[0][:-1].isdigit() and fields[6] != "UND":
            expected[fields[7]] = int(fields[1], 16)
    symbols = parse(path.read_bytes()).symbols
    assert expected
    assert expected.items() <= symbols.items()


@pytest.mark.parametrize("path", ALL, ids=identify)
def test_metadata_is_that_of_llvm_readelf(path, require_tool):
    text = output(require_tool("llvm-readelf"), "--notes", str(path))
    code_object = parse(path.read_bytes())
    assert f"amdgcn-amd-amdhsa--{code_object.family.name}" in text
    names = re.findall(r"^    \.name: +(\w+)$", text, re.M)
    assert sorted(names) == sorted(code_object.kernels)
    offsets = [int(value) for value in re.findall(r"\.offset: +(\d+)$", text, re.M)]
    kinds = re.findall(r"\.value_kind: +(\w+)$", text, re.M)
    found = [argument for name in names for argument in code_object.kernels[name].arguments]
    assert [(argument.offset, argument.kind) for argument in found] == list(zip(offsets, kinds, strict=True))


FIELDS = {
    "group_segment_fixed_size": lambda d: d.group_segment_fixed_size,
    "private_segment_fixed_size": lambda d: d.private_segment_fixed_size,
    "kernarg_size": lambda d: d.kernarg_size,
    "user_sgpr_dispatch_ptr": lambda d: d.properties >> 1 & 1,
    "user_sgpr_queue_ptr": lambda d: d.properties >> 2 & 1,
    "user_sgpr_kernarg_segment_ptr": lambda d: d.properties >> 3 & 1,
    "user_sgpr_dispatch_id": lambda d: d.properties >> 4 & 1,
    "user_sgpr_private_segment_size": lambda d: d.properties >> 6 & 1,
    "wavefront_size32": lambda d: d.properties >> 10 & 1,
    "uses_dynamic_stack": lambda d: d.properties >> 11 & 1,
    "enable_private_segment": lambda d: d.rsrc2 & 1,
    "system_sgpr_workgroup_id_x": lambda d: d.rsrc2 >> 7 & 1,
    "system_sgpr_workgroup_id_y": lambda d: d.rsrc2 >> 8 & 1,
    "system_sgpr_workgroup_id_z": lambda d: d.rsrc2 >> 9 & 1,
    "system_sgpr_workgroup_info": lambda d: d.rsrc2 >> 10 & 1,
    "system_vgpr_workitem_id": lambda d: d.rsrc2 >> 11 & 3,
    "float_denorm_mode_32": lambda d: d.rsrc1 >> 16 & 3,
    "float_denorm_mode_16_64": lambda d: d.rsrc1 >> 18 & 3,
}


@pytest.mark.parametrize("path", ALL, ids=identify)
def test_kernel_descriptors_are_those_of_llvm_objdump(path, require_tool):
    text = output(require_tool("llvm-objdump"), "-D", "-j", ".rodata", str(path))
    code_object = parse(path.read_bytes())
    blocks = re.findall(r"\.amdhsa_kernel (\w+)\n(.*?)\.end_amdhsa_kernel", text, re.S)
    assert sorted(name for name, _ in blocks) == sorted(code_object.kernels)
    for name, block in blocks:
        shown = {key: int(value) for key, value in re.findall(r"\.amdhsa_(\w+) (\d+)", block)}
        descriptor = code_object.kernels[name].descriptor
        decoded = {key: read(descriptor) for key, read in FIELDS.items() if key in shown}
        assert decoded == {key: shown[key] for key in decoded}
        assert len(decoded) >= 16


@pytest.mark.parametrize("path", ALL, ids=identify)
def test_entry_is_the_kernels_own_symbol(path, require_tool):
    code_object = parse(path.read_bytes())
    for name, kernel in code_object.kernels.items():
        assert kernel.entry_address == code_object.symbols[name]


TABLE = """
#include "gpu.h"
static const u32 a = 5, b = 6;
global u32 counter = 7;
const global u32 *const table[2] = {(const global u32 *)&a, (const global u32 *)&b};
KERNEL void pick(global u32 *out, u32 i) { out[0] = *table[i & 1] + counter; counter = 9; }
"""


def test_relocations_are_those_of_readelf(require_ziglang, require_tool, tmp_path):
    data = compile_source(TABLE, "gfx942", include=[OBJECTS.parent])
    path = tmp_path / "table.co"
    path.write_bytes(data)
    expected = [
        (int(fields[0], 16), int(fields[1], 16) & 0xFFFFFFFF, int(fields[3], 16))
        for fields in map(str.split, output(require_tool("readelf"), "-rW", str(path)).splitlines())
        if len(fields) == 4 and fields[2].startswith("R_AMDGPU_")
    ]
    code_object = parse(data)
    assert len(expected) == 2
    assert [(item.address, item.type, item.addend) for item in code_object.relocations] == expected
    image = bytearray(code_object.image_size)
    relocate(memoryview(image), code_object.relocations, 0x7F00_0000_0000, "table")
    for address, _, addend in expected:
        assert int.from_bytes(image[address : address + 8], "little") == 0x7F00_0000_0000 + addend


@pytest.mark.parametrize(
    ("kind", "patched"),
    [
        (RelocationType.ABS64, (0x7F12_3456_7000 + 0x1234).to_bytes(8, "little")),
        (RelocationType.RELATIVE64, (0x7F12_3456_7000 + 0x1234).to_bytes(8, "little")),
        (RelocationType.REL64, (0x1234 - 8).to_bytes(8, "little")),
        (RelocationType.ABS32_LO, b"\x34\x82\x56\x34" + bytes(4)),
        (RelocationType.ABS32_HI, b"\x12\x7f\x00\x00" + bytes(4)),
        (RelocationType.REL32, (0x1234 - 8).to_bytes(4, "little") + bytes(4)),
        (RelocationType.REL32_HI, bytes(8)),
    ],
)
def test_each_relocation_patches_what_its_definition_says(kind, patched):
    image = bytearray(24)
    relocate(memoryview(image), (Relocation(8, kind, 0x1234),), 0x7F12_3456_7000, "made by hand")
    assert image == bytes(8) + patched + bytes(8)


def test_an_unknown_relocation_is_refused_by_its_number():
    with pytest.raises(CodeObjectError, match="made by hand: relocation of unknown type 99 at 0x8"):
        relocate(memoryview(bytearray(16)), (Relocation(8, 99, 0),), 0, "made by hand")


def test_a_relocation_outside_the_image_is_refused():
    with pytest.raises(CodeObjectError, match="relocation at 0xc lies outside the image"):
        relocate(memoryview(bytearray(16)), (Relocation(12, 3, 0),), 0, "made by hand")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: b"", "not an ELF file .it starts with nothing"),
        (lambda data: b"!<arch>\n" + data, "not an ELF file .it starts with 213c6172"),
        (lambda data: data[:40], "corrupt ELF file"),
        (lambda data: data[:0x900], "truncated|corrupt"),
        (lambda data: data[:18] + b"\x3e\x00" + data[20:], "an ELF file for EM_X86_64, not for an AMD GPU"),
        (
            lambda data: data[:16] + b"\x01\x00" + data[18:],
            "ET_REL is not linked; link it with ld.lld -shared",
        ),
        (lambda data: data[:7] + b"\x03" + data[8:], "OS ABI 3 is not amdhsa"),
        (lambda data: data[:8] + b"\x01" + data[9:], "unknown code object ABI 1; known are 2 .version 4."),
        (lambda data: data[:48] + b"\xfe" + data[49:], "0xfe"),
    ],
    ids=["empty", "archive", "header", "short", "host", "object", "osabi", "version", "machine"],
)
def test_a_damaged_code_object_is_refused_for_its_damage(damage, message):
    with pytest.raises(CodeObjectError, match=message) as caught:
        parse(damage(SCRATCH.read_bytes()), "damaged.co")
    assert str(caught.value).startswith("damaged.co: ")


def test_a_segment_at_an_absurd_address_is_refused():
    """p_vaddr of the second segment that is loaded (the third program header), 16 bytes into its 56."""
    data = bytearray(SCRATCH.read_bytes())
    place = 64 + 2 * 56 + 16
    assert int.from_bytes(data[place : place + 8], "little") == parse(bytes(data)).segments[1].address
    data[place : place + 8] = (1 << 60).to_bytes(8, "little")
    with pytest.raises(
        CodeObjectError, match=r"damaged: a segment ends at 0x1000000000000.*, beyond 0x80000000"
    ):
        parse(bytes(data), "damaged")


@pytest.mark.parametrize(("kind", "offset"), [(11, 1 << 63), (7, -12)], ids=["symbols", "note"])
def test_headers_that_point_nowhere_are_refused(kind, offset):
    """What pyelftools stumbles over: symbols beyond any file, and a note that ends with its header.

    Section headers (e_shoff at 40, 64 bytes each) have sh_type at 4 and sh_offset at 24.
    """
    data = bytearray(SCRATCH.read_bytes())
    start = int.from_bytes(data[40:48], "little")
    headers = range(start, len(data), 64)
    (header,) = (at for at in headers if int.from_bytes(data[at + 4 : at + 8], "little") == kind)
    data[header + 24 : header + 32] = (offset if offset > 0 else len(data) + offset).to_bytes(8, "little")
    with pytest.raises(CodeObjectError, match="damaged: corrupt ELF file: "):
        parse(bytes(data), "damaged")


def test_metadata_of_the_wrong_shape_are_refused(monkeypatch):
    metadata = {
        "amdhsa.kernels": [{".name": "permute_private", ".symbol": "permute_private.kd", ".args": [7]}]
    }
    monkeypatch.setattr(code_object_module, "_metadata", lambda elf, name: metadata)
    with pytest.raises(CodeObjectError, match="damaged: bad kernel metadata: "):
        parse(SCRATCH.read_bytes(), "damaged")


def test_any_damage_is_refused_or_harmless():
    """No damage makes the parser fail in another way than with its own error."""
    original, choose = SCRATCH.read_bytes(), random.Random(942)
    refused = 0
    for _ in range(400):
        data = bytearray(original[: choose.choice((len(original), choose.randrange(len(original))))])
        for _ in range(choose.randrange(1, 6)):
            if data:
                data[choose.randrange(min(len(data), 1400))] = choose.randrange(256)
        try:
            parse(bytes(data), "damaged")
        except CodeObjectError:
            refused += 1
    assert refused > 200
