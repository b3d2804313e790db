"""What a result may depend on besides the code under test: driver, firmware, boards and links.

Read through the kernel boundary, so that software GPUs have a fingerprint, too. Files: the attributes of
amdgpu beside a render node (`fw_version` in amdgpu_ucode.c, `vbios_version` in amdgpu_atombios.c, board
numbers in amdgpu_fru_eeprom.c), those of the PCI core, and `/sys/module/amdgpu` (kernel/module/sysfs.c).
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping, Sequence
from typing import Any

from pytest_amdgpu.abi.kfd import GetVersionArgs, KfdIoctl
from pytest_amdgpu.devices.identity import DeviceInfo
from pytest_amdgpu.driver.errors import DeviceOpenError
from pytest_amdgpu.driver.links import read_links
from pytest_amdgpu.driver.topology import GpuNode, discover
from pytest_amdgpu.kernel.protocol import Kernel, KernelError

MODULE = "/sys/module/amdgpu"
_KFD = "/dev/kfd"
_MODULE_FILES = ("version", "srcversion")
_DEVICE_FILES = ("vbios_version", "vbios_build", "current_link_speed", "current_link_width")
_BOARD_FILES = (
    "vendor",
    "device",
    "subsystem_vendor",
    "subsystem_device",
    "revision",
    "product_name",
    "product_number",
    "serial_number",
)
_TOPOLOGY_FIRMWARE = {"fw_version": "mec_fw_version", "sdma_fw_version": "sdma_fw_version"}
"""Keys of the topology's properties, and what the same versions are called beside the render node."""


def fingerprint(
    kernel: Kernel, devices: Sequence[DeviceInfo], *, nearest_target: bool = False
) -> dict[str, Any]:
    """Return plain values: `amdgpu`, `kfd`, `devices` by id, and `unreadable`.

    What the kernel does not have is left out. `unreadable` names what is there and could not be read, and
    why; nothing is raised, for a result is worth having also without.
    """
    return _Reading(kernel).all(devices, nearest_target)


class _Reading:
    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._unreadable: list[str] = []

    def all(self, devices: Sequence[DeviceInfo], nearest_target: bool) -> dict[str, Any]:
        module: dict[str, Any] = self._files(MODULE, _MODULE_FILES)
        if parameters := self._directory(f"{MODULE}/parameters"):
            module["parameters"] = parameters
        found: dict[str, Any] = {"amdgpu": module, "devices": {}}
        if version := self._kfd_version():
            found["kfd"] = version
        try:
            nodes = discover(self._kernel, nearest_target=nearest_target)
        except (DeviceOpenError, KernelError) as error:
            self._unreadable.append(str(error))
            nodes = []
        for device in devices:
            for node in nodes:
                if device.matches(node):
                    found["devices"][device.id] = self._device(node)
        found["unreadable"] = self._unreadable
        return found

    def _device(self, node: GpuNode) -> dict[str, Any]:
        path = f"/sys/class/drm/{os.path.basename(node.render_path)}/device"
        topology = {
            name: f"{node.properties[key]:#010x}"
            for key, name in _TOPOLOGY_FIRMWARE.items()
            if key in node.properties
        }
        known: dict[str, Any] = {
            **self._files(path, _DEVICE_FILES),
            "firmware": topology | self._directory(f"{path}/fw_version"),
            "board": self._files(path, _BOARD_FILES),
            "bar": "large" if node.large_bar else "small",
            "vram_bytes": node.vram_bytes,
        }
        visible = self._files(path, ("mem_info_vis_vram_total",)).get("mem_info_vis_vram_total", "")
        if visible.isdecimal() and len(visible) <= 20:
            known["visible_vram_bytes"] = int(visible)
        try:
            known["links"] = [
                {"to": link.target, "kind": link.kind, "weight": link.weight}
                for link in read_links(self._kernel, node)
            ]
        except (DeviceOpenError, KernelError) as error:
            self._unreadable.append(str(error))
        return known

    def _kfd_version(self) -> str:
        version = GetVersionArgs()
        try:
            fd = self._kernel.open(_KFD, os.O_RDWR | os.O_CLOEXEC)
            try:
                self._kernel.ioctl(fd, KfdIoctl.GET_VERSION, version)
            finally:
                self._kernel.close(fd)
        except KernelError as error:
            self._failed(error)
            return ""
        return f"{version.major_version}.{version.minor_version}"

    def _directory(self, path: str) -> dict[str, str]:
        """Read all files of a directory."""
        try:
            names = sorted(self._kernel.listdir(path))
        except KernelError as error:
            self._failed(error)
            return {}
        return self._files(path, names)

    def _files(self, path: str, names: Sequence[str]) -> dict[str, str]:
        """Read those of the files that are there."""
        found: Mapping[str, str | None] = {name: self._read(f"{path}/{name}") for name in names}
        return {name: text for name, text in found.items() if text is not None}

    def _read(self, path: str) -> str | None:
        try:
            text = self._kernel.read_text(path)
        except KernelError as error:
            self._failed(error)
            return None
        # Board numbers come from an EEPROM, which may hold anything.
        return text.strip().encode("utf-8", "surrogateescape").decode("utf-8", "replace")

    def _failed(self, error: KernelError) -> None:
        # Not there: another kernel, another product.
        if error.errno != errno.ENOENT:
            self._unreadable.append(str(error))
