"""A model file made from what the kernel says of a real GPU: its node of the topology, and AMDGPU_INFO."""

from __future__ import annotations

import ctypes
import errno
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby

from pytest_amdgpu.abi.drm import AmdgpuInfo, DrmIoctl, HwIp
from pytest_amdgpu.abi.drm_info import AmdgpuInfoDevice, AmdgpuInfoHwIp, InfoQuery
from pytest_amdgpu.devices.hardware import examine_hardware
from pytest_amdgpu.devices.identity import hardware_devices
from pytest_amdgpu.devices.selection import select_devices
from pytest_amdgpu.driver.topology import (
    TOPOLOGY,
    GpuNode,
    Properties,
    discover,
    parse_number,
    parse_properties,
    read_number,
    read_properties,
)
from pytest_amdgpu.families.caches import ENTRY_BITS, CacheKind, cache_list
from pytest_amdgpu.families.model_file import NAME
from pytest_amdgpu.families.models import (
    CACHE_KEYS,
    DRM_KEYS,
    INSTANCE_KEYS,
    LINK_KEYS,
    MEM_BANK_KEYS,
    PCI_KEYS,
    PROPERTY_KEYS,
)
from pytest_amdgpu.kernel.protocol import Kernel, KernelError
from pytest_amdgpu.results.expectations import slug

_XGMI = 11
"""`type` of a link."""
_KIND = ("level", "size", "cache_line_size", "type")

Bitmaps = list[list[list[int]]]
CacheEntry = tuple[Properties, tuple[int, ...]]
"""Properties of a cache, and the flags of the units that share it."""


class CaptureError(ValueError):
    """The kernel's description of a GPU is not enough for a model; the message says what is missing."""


def choose(kernel: Kernel, wish: str | None) -> GpuNode:
    """Return the GPU that a wish such as `gfx942` means, by default the first of the machine.

    Raises `CaptureError` where there is none, `DeviceSelectionError` for a wish that none meets.
    """
    try:
        nodes = discover(kernel)
    except KernelError as error:
        if error.errno != errno.ENOENT:
            raise
        nodes = []
    if not nodes:
        raise CaptureError("; ".join(map(str, examine_hardware(kernel).obstacles)))
    devices = hardware_devices(nodes)
    (chosen, *_) = select_devices(devices, [] if wish is None else [wish], all_devices=False)
    return nodes[devices.index(chosen)]


def model_text(kernel: Kernel, node: GpuNode, name: str | None = None) -> str:
    """Return the text of a model file; raises `CaptureError`, `TopologyError` and `KernelError`."""
    product = hardware_devices([node])[0].name
    name = name or _short_name(product)
    if not NAME.fullmatch(name):
        raise CaptureError(
            f"{name!r} cannot be the name of a model: letters, digits, and . _ - inside it can"
        )
    own = {key: value for key, value in node.properties.items() if key not in INSTANCE_KEYS}
    missing = [key for key in PROPERTY_KEYS if key not in own and key not in INSTANCE_KEYS]
    if missing:
        raise CaptureError(f"the kernel is too old: its topology lacks {', '.join(missing)}")
    caches = _caches(kernel, node)
    bitmaps = _bitmaps(node.properties, caches)
    device, versions = _amdgpu_info(kernel, node)
    return "\n".join(
        [
            f"# {_quoted(product)[1:-1]}, made by `python -m pytest_amdgpu capture`.",
            "# A value is [value, source]; a source is named below and says whether it was measured.",
            "",
            f'name = "{name}"',
            f'target = "{node.target}"',
            f"marketing_name = {_quoted(product)}",
            f"asic_name = {_quoted(node.name)}",
            "",
            "[sources.capture]",
            'kind = "measured"',
            'text = "sysfs and AMDGPU_INFO of this GPU"',
            "",
            "[ip_versions]",
            *(f"{key} = {list(version)}" for key, version in versions.items()),
            *_table("pci", _pci(kernel, node), PCI_KEYS),
            *_table("properties", own, [key for key in PROPERTY_KEYS if key in own]),
            *(line for bank in node.memory_banks for line in _table("[mem_banks]", bank, MEM_BANK_KEYS)),
            "",
            "[compute_units]",
            f'slots = [{node.properties["cu_per_simd_array"]}, "capture"]',
            f'bitmaps = [{bitmaps}, "capture"]',
            *(
                line
                for kind in _kinds(node, caches, bitmaps)
                for line in _table("[caches]", kind, CACHE_KEYS)
            ),
            *(line for kind, link in _links(kernel, node).items() for line in _table(kind, link, LINK_KEYS)),
            *_table("drm", device, [key for key in DRM_KEYS if device[key]]),
            "",
        ]
    )


def _quoted(text: str) -> str:
    """Write a text as TOML does, which is as JSON does, without what is not printable."""
    printable = "".join(character for character in text if character.isprintable())
    return json.dumps(printable or "unknown", ensure_ascii=False)


def _short_name(product: str) -> str:
    words = [word for word in slug(product).split("-") if word not in ("", "amd", "radeon")]
    return "-".join(words) or "captured"


def _table(name: str, values: Mapping[str, int], keys: Sequence[str]) -> Iterator[str]:
    yield from ("", f"[{name}]")
    yield from (f'{key} = [{values[key]}, "capture"]' for key in keys)


def _pci(kernel: Kernel, node: GpuNode) -> dict[str, int]:
    path = f"/sys/class/drm/renderD{node.properties['drm_render_minor']}/device"
    return {key: read_number(kernel, f"{path}/{key}", base=16) for key in PCI_KEYS}


def _numbered(kernel: Kernel, path: str) -> list[str]:
    return [
        f"{path}/{number}" for number in sorted(parse_number(path, name) for name in kernel.listdir(path))
    ]


def _caches(kernel: Kernel, node: GpuNode) -> list[CacheEntry]:
    """Read the entries of the cache list."""
    found: list[CacheEntry] = []
    for path in _numbered(kernel, f"{TOPOLOGY}/nodes/{node.index}/caches"):
        file = f"{path}/properties"
        lines, _, siblings = kernel.read_text(file).partition("sibling_map")
        flags = tuple(parse_number(file, flag) for flag in siblings.strip().strip(",").split(","))
        found.append((parse_properties(file, lines), flags))
    if not found:
        raise CaptureError(
            f"node {node.index} lists no caches, which tell the compute units that are present"
        )
    return found


def _bitmaps(properties: Properties, caches: list[CacheEntry]) -> Bitmaps:
    """Masks of the units by XCC, engine and array: the first kind of cache is each unit's own."""
    slots, arrays = properties.positive("cu_per_simd_array"), properties.positive("array_count")
    per_engine, xccs = properties.positive("simd_arrays_per_engine"), properties.positive("num_xcc")
    if slots > ENTRY_BITS or arrays > len(caches) or arrays % (per_engine * xccs):
        raise CaptureError(
            f"{properties.path}: {arrays} arrays of {slots} units, {per_engine} to an engine, in {xccs} dies,"
            f" and {len(caches)} caches do not fit together"
        )
    masks = [0] * arrays
    first = _kind_of(caches[0][0])
    for cache, siblings in caches:
        if _kind_of(cache) == first and sum(siblings) == 1:
            array, unit = divmod(cache["processor_id_low"] - properties["simd_id_base"], slots)
            if not 0 <= array < arrays:
                raise CaptureError(f"a cache of unit {cache['processor_id_low']} is outside of the GPU")
            masks[array] |= 1 << unit
    units = properties["simd_count"] // properties.positive("simd_per_cu")
    present = sum(mask.bit_count() for mask in masks)
    if present != units:
        raise CaptureError(f"{present} compute units have a cache of their own, but there are {units}")
    engines = [masks[start : start + per_engine] for start in range(0, arrays, per_engine)]
    step = len(engines) // xccs
    return [engines[start : start + step] for start in range(0, len(engines), step)]


def _kind_of(cache: Properties) -> tuple[int, ...]:
    return tuple(cache[key] for key in _KIND)


def _kinds(node: GpuNode, caches: list[CacheEntry], bitmaps: Bitmaps) -> Iterator[dict[str, int]]:
    """Tell by how many units each kind of cache is shared: by so many that the same entries follow."""
    base, slots = node.properties["simd_id_base"], node.properties["cu_per_simd_array"]
    for kind, group in groupby(caches, key=lambda entry: _kind_of(entry[0])):
        level, size, line_size, type_ = kind
        entries = [(cache["processor_id_low"] - base, siblings) for cache, siblings in group]
        # All units of an array share what is not of the first level, also those that are switched off.
        for cus in range(1, ENTRY_BITS + 1) if level == 1 else (slots,):
            made = cache_list([CacheKind(level, size, line_size, type_, cus)], bitmaps, slots)
            if [(cache.first_slot, cache.sibling_map) for cache in made] == entries:
                yield dict(zip(CACHE_KEYS, (level, size, line_size, type_, cus), strict=True))
                break
        else:
            raise CaptureError(f"no number of compute units explains the caches of level {level}, {size} KiB")


def _links(kernel: Kernel, node: GpuNode) -> dict[str, dict[str, int]]:
    """Return the first link of each kind, by the name of its table."""
    found: dict[str, dict[str, int]] = {}
    for path in _numbered(kernel, f"{TOPOLOGY}/nodes/{node.index}/io_links"):
        link = read_properties(kernel, f"{path}/properties")
        if read_number(kernel, f"{TOPOLOGY}/nodes/{link['node_to']}/gpu_id") == 0:
            found.setdefault("links.cpu", link)
        elif link["type"] == _XGMI:
            found.setdefault("links.xgmi", link)
    if "links.cpu" not in found:
        raise CaptureError(f"node {node.index} has no link to a CPU")
    return found


def _amdgpu_info(kernel: Kernel, node: GpuNode) -> tuple[dict[str, int], dict[str, tuple[int, int, int]]]:
    """Ask the render node for its device structure and the versions of its blocks."""
    fd = kernel.open(node.render_path, os.O_RDWR | os.O_CLOEXEC)
    try:
        info = AmdgpuInfoDevice()
        _query(kernel, fd, AmdgpuInfo(query=InfoQuery.DEV_INFO), info)
        versions = {}
        for name, kind in (("gc", HwIp.COMPUTE), ("sdma", HwIp.DMA)):
            block, query = AmdgpuInfoHwIp(), AmdgpuInfo(query=InfoQuery.HW_IP_INFO)
            query.query_hw_ip.type = kind
            _query(kernel, fd, query, block)
            version = block.ip_discovery_version
            versions[name] = (version >> 16, version >> 8 & 0xFF, version & 0xFF)
    finally:
        kernel.close(fd)
    return {key: int(getattr(info, key)) for key in DRM_KEYS}, versions


def _query(kernel: Kernel, fd: int, query: AmdgpuInfo, result: ctypes.Structure) -> None:
    query.return_pointer = ctypes.addressof(result)
    query.return_size = ctypes.sizeof(result)
    kernel.ioctl(fd, DrmIoctl.AMDGPU_INFO, query)
