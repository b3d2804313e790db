"""Code objects: what an AMDGPU ELF says about its target, its image in memory and its kernels.

Sources of facts: LLVM's "User Guide for AMDGPU Backend" (ELF header flags, relocation records, kernel
descriptor, metadata of code object version 4 to 6).
"""

from __future__ import annotations

import io
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgpack
import numpy as np
from elftools.common.exceptions import ELFError
from elftools.construct import ConstructError
from elftools.elf.elffile import ELFFile
from elftools.elf.relocation import RelocationSection
from elftools.elf.sections import NoteSection, SymbolTableSection

from pytest_amdgpu.driver.kernel_metadata import KernelInfo, parse_kernels
from pytest_amdgpu.families.registry import Family, UnknownFamilyError, family_by_elf_mach

EM_AMDGPU = 224
ELFOSABI_AMDGPU_HSA = 64
ABI_VERSIONS = {2: 4, 3: 5, 4: 6}
"""ELF header's e_ident[EI_ABIVERSION] to code object version."""

EF_MACH_MASK = 0xFF
EF_XNACK_SHIFT, EF_SRAMECC_SHIFT = 8, 10
FEATURE_STATES = ("unsupported", "any", "off", "on")
EF_GENERIC_VERSION_SHIFT = 24

NT_AMDGPU_METADATA = 32
PT_LOAD = "PT_LOAD"

MAX_IMAGE = 1 << 31
"""Bytes; more than any code object needs, and little enough to lay out before anything is known of it."""

MALFORMED = (
    *(ELFError, ConstructError, struct.error),
    *(KeyError, IndexError, AttributeError, AssertionError, ValueError, OverflowError),
)
"""What pyelftools raises for a file whose headers make no sense."""


class CodeObjectError(ValueError):
    """A code object is corrupt, of another architecture, or needs what the loader cannot give."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A loadable segment: where it lies in the image (bytes from its start), its content, its protection."""

    address: int
    size: int
    data: bytes
    writable: bool
    executable: bool


@dataclass(frozen=True, slots=True)
class Relocation:
    """A place of the image to patch when its address is known; `addend` includes the symbol's value."""

    address: int
    type: int
    addend: int


class RelocationType:
    """Relocations that a linked code object may hold (LLVM AMDGPU guide, "Relocation Records")."""

    ABS32_LO, ABS32_HI, ABS64, REL32, REL64, ABS32 = 1, 2, 3, 4, 5, 6
    REL32_LO, REL32_HI, RELATIVE64 = 10, 11, 13


@dataclass(frozen=True, slots=True)
class CodeObject:
    """An AMDGPU ELF, parsed and checked. Addresses are bytes from the start of the image."""

    name: str
    family: Family
    version: int
    xnack: str
    sramecc: str
    segments: tuple[Segment, ...]
    relocations: tuple[Relocation, ...]
    symbols: Mapping[str, int]
    kernels: Mapping[str, KernelInfo]
    image_size: int

    @property
    def target(self) -> str:
        """The target with its features as LLVM writes it, for instance `gfx942:sramecc+:xnack-`."""
        text = self.family.name
        for feature, state in (("sramecc", self.sramecc), ("xnack", self.xnack)):
            if state in ("on", "off"):
                text += f":{feature}{'+' if state == 'on' else '-'}"
        return text


def parse(data: bytes, name: str = "code object") -> CodeObject:
    """Parse a code object; `name` is what error messages call it.

    Raises `CodeObjectError` for anything that is not a complete AMDGPU code object of version 4 to 6.
    """
    if data[:4] != b"\x7fELF":
        raise CodeObjectError(f"{name}: not an ELF file (it starts with {data[:4].hex() or 'nothing'})")
    try:
        elf = ELFFile(io.BytesIO(data))
        family, version, xnack, sramecc = _target(elf, data[7], name)
        segments, image_size = _segments(elf, data, name)
        symbols = _symbols(elf)
        relocations = _relocations(elf, name)
        metadata = _metadata(elf, name)
    except CodeObjectError:
        raise
    except MALFORMED as error:
        raise CodeObjectError(f"{name}: corrupt ELF file: {error}") from error
    declared = str(metadata.get("amdhsa.target", "")).rpartition("--")[2].partition(":")[0]
    if declared and declared != family.name:
        raise CodeObjectError(
            f"{name}: its metadata is for {declared}, but its ELF header is for {family.name}"
        )
    image = _image(segments, image_size)
    try:
        kernels = parse_kernels(metadata, symbols, image)
    except (KeyError, TypeError, ValueError, AttributeError, struct.error) as error:
        raise CodeObjectError(f"{name}: bad kernel metadata: {error}") from error
    return CodeObject(
        name, family, version, xnack, sramecc, segments, relocations, symbols, kernels, image_size
    )


def _target(elf: ELFFile, osabi: int, name: str) -> tuple[Family, int, str, str]:
    """Read architecture, ABI version and target features from the ELF header."""
    header = elf.header
    machine = header["e_machine"]
    if machine not in ("EM_AMDGPU", EM_AMDGPU):
        raise CodeObjectError(f"{name}: an ELF file for {machine}, not for an AMD GPU")
    if header["e_type"] != "ET_DYN":
        raise CodeObjectError(f"{name}: {header['e_type']} is not linked; link it with ld.lld -shared")
    if osabi != ELFOSABI_AMDGPU_HSA:
        raise CodeObjectError(f"{name}: OS ABI {osabi} is not amdhsa ({ELFOSABI_AMDGPU_HSA})")
    abi_version = header["e_ident"]["EI_ABIVERSION"]
    if abi_version not in ABI_VERSIONS:
        known = ", ".join(f"{abi} (version {version})" for abi, version in ABI_VERSIONS.items())
        raise CodeObjectError(f"{name}: unknown code object ABI {abi_version}; known are {known}")
    flags = header["e_flags"]
    try:
        family = family_by_elf_mach(flags & EF_MACH_MASK)
    except UnknownFamilyError as error:
        raise CodeObjectError(f"{name}: {error}") from error
    xnack = FEATURE_STATES[flags >> EF_XNACK_SHIFT & 3]
    sramecc = FEATURE_STATES[flags >> EF_SRAMECC_SHIFT & 3]
    return family, ABI_VERSIONS[abi_version], xnack, sramecc


def _segments(elf: ELFFile, data: bytes, name: str) -> tuple[tuple[Segment, ...], int]:
    """Read the loadable segments and the size of the image."""
    segments: list[Segment] = []
    for header in elf.iter_segments():
        if header["p_type"] != PT_LOAD:
            continue
        start, size, memory = header["p_offset"], header["p_filesz"], header["p_memsz"]
        if start + size > len(data):
            raise CodeObjectError(
                f"{name}: truncated: a segment ends at byte {start + size} of a file of {len(data)}"
            )
        flags = header["p_flags"]
        address = header["p_vaddr"]
        if size > memory:
            raise CodeObjectError(f"{name}: a segment of {size} bytes claims {memory} bytes of memory")
        if address + memory > MAX_IMAGE:
            raise CodeObjectError(f"{name}: a segment ends at {address + memory:#x}, beyond {MAX_IMAGE:#x}")
        if segments and address < segments[-1].address + segments[-1].size:
            raise CodeObjectError(f"{name}: segment at {address:#x} overlaps the one before it")
        segments.append(
            Segment(address, memory, data[start : start + size], bool(flags & 2), bool(flags & 1))
        )
    if not segments:
        raise CodeObjectError(f"{name}: no loadable segment")
    return tuple(segments), segments[-1].address + segments[-1].size


def _symbols(elf: ELFFile) -> dict[str, int]:
    """Read the defined symbols: those for the dynamic linker, and local ones where they are kept."""
    symbols: dict[str, int] = {}
    for section_name in (".symtab", ".dynsym"):
        section = elf.get_section_by_name(section_name)
        if not isinstance(section, SymbolTableSection):
            continue
        for symbol in section.iter_symbols():
            if symbol.name and symbol["st_shndx"] not in ("SHN_UNDEF", "SHN_ABS"):
                symbols[symbol.name] = symbol["st_value"]
    return symbols


def _relocations(elf: ELFFile, name: str) -> tuple[Relocation, ...]:
    """Read the dynamic relocations, with the values of their symbols added in."""
    relocations: list[Relocation] = []
    for section in elf.iter_sections():
        if not isinstance(section, RelocationSection):
            continue
        table = elf.get_section(section["sh_link"])
        assert isinstance(table, SymbolTableSection), f"{table.name} is no symbol table"
        for entry in section.iter_relocations():
            addend = entry["r_addend"]
            if entry["r_info_sym"]:
                symbol = table.get_symbol(entry["r_info_sym"])
                if symbol["st_shndx"] == "SHN_UNDEF":
                    raise CodeObjectError(f"{name}: undefined symbol {symbol.name}")
                addend += symbol["st_value"]
            relocations.append(Relocation(entry["r_offset"], entry["r_info_type"], addend))
    return tuple(relocations)


def _metadata(elf: ELFFile, name: str) -> Mapping[str, Any]:
    """Read the metadata note, a msgpack map."""
    for section in elf.iter_sections():
        if not isinstance(section, NoteSection):
            continue
        for note in section.iter_notes():
            if note["n_name"] == "AMDGPU" and note["n_type"] in (NT_AMDGPU_METADATA, "NT_AMDGPU_METADATA"):
                return _unpack(note, name)
    raise CodeObjectError(f"{name}: no AMDGPU metadata note")


def _unpack(note: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    try:
        metadata = msgpack.unpackb(note["n_descdata"])
    except (ValueError, msgpack.UnpackException) as error:
        raise CodeObjectError(f"{name}: metadata note is not msgpack: {error}") from error
    if not isinstance(metadata, dict):
        raise CodeObjectError(f"{name}: metadata note holds {type(metadata).__name__}, not a map")
    return metadata


def _image(segments: tuple[Segment, ...], size: int) -> memoryview:
    """Lay the segments out as they lie in memory; pages that none fills cost nothing."""
    image = memoryview(np.zeros(size, np.uint8))  # type: ignore[arg-type]
    for segment in segments:
        image[segment.address : segment.address + len(segment.data)] = segment.data
    return image


def relocate(image: memoryview, relocations: tuple[Relocation, ...], base: int, name: str) -> None:
    """Patch an image (bytes) that will lie at GPU address `base`.

    Raises `CodeObjectError` for a relocation type that a linked code object does not hold.
    """
    kinds = RelocationType
    for relocation in relocations:
        value, size = base + relocation.addend, 4
        match relocation.type:
            case kinds.ABS64 | kinds.RELATIVE64:
                size = 8
            case kinds.REL64:
                value, size = relocation.addend - relocation.address, 8
            case kinds.ABS32 | kinds.ABS32_LO:
                pass
            case kinds.ABS32_HI:
                value >>= 32
            case kinds.REL32 | kinds.REL32_LO:
                value = relocation.addend - relocation.address
            case kinds.REL32_HI:
                value = (relocation.addend - relocation.address) >> 32
            case _:
                raise CodeObjectError(
                    f"{name}: relocation of unknown type {relocation.type} at {relocation.address:#x}"
                )
        if relocation.address + size > len(image):
            raise CodeObjectError(f"{name}: relocation at {relocation.address:#x} lies outside the image")
        patch = (value & (1 << 8 * size) - 1).to_bytes(size, "little")
        image[relocation.address : relocation.address + size] = patch
