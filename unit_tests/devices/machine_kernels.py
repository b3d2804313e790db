"""A kernel that has only sysfs files and device nodes, to play machines with."""

from __future__ import annotations

import errno

from pytest_amdgpu.driver.topology import TOPOLOGY
from pytest_amdgpu.kernel.protocol import Argument, KernelError

PCI = "/sys/bus/pci/devices"


class FilesKernel:
    """Files with contents, and nodes that can be opened; an int instead of either is an errno."""

    name = "files"

    def __init__(self, files: dict[str, str | int], nodes: dict[str, int] | None = None) -> None:
        self.files = files
        self.nodes = nodes or {}
        self.open_fds = 0

    def open(self, path: str, flags: int) -> int:
        number = self.nodes.get(path, errno.ENOENT)
        if number:
            raise KernelError(number, "open", path)
        self.open_fds += 1
        return 100

    def close(self, fd: int) -> None:
        self.open_fds -= 1

    def listdir(self, path: str) -> list[str]:
        names = {file[len(path) + 1 :].split("/")[0] for file in self.files if file.startswith(path + "/")}
        if not names:
            raise KernelError(errno.ENOENT, "listdir", path)
        return sorted(names, reverse=True)

    def read_text(self, path: str) -> str:
        content = self.files.get(path, errno.ENOENT)
        if isinstance(content, int):
            raise KernelError(content, "read", path)
        return content

    def ioctl(self, fd: int, request: int, argument: Argument) -> int:
        raise NotImplementedError

    def mmap(self, address: int, length: int, protection: int, flags: int, fd: int, offset: int) -> int:
        raise NotImplementedError

    def munmap(self, address: int, length: int) -> None:
        raise NotImplementedError

    def poll(self, fds: object, timeout: float | None) -> list[tuple[int, int]]:
        raise NotImplementedError

    def store_doorbell(self, address: int, value: int) -> None:
        raise NotImplementedError


def topology(*gpus: tuple[str, int, int]) -> dict[str, str | int]:
    """Return a topology of one CPU and GPUs given by gfx_target_version, location_id and unique_id."""
    files: dict[str, str | int] = {
        f"{TOPOLOGY}/generation_id": "2\n",
        f"{TOPOLOGY}/nodes/0/gpu_id": "0\n",
        f"{TOPOLOGY}/nodes/0/properties": "cpu_cores_count 8\n",
    }
    for index, (version, location, unique_id) in enumerate(gpus, 1):
        node = f"{TOPOLOGY}/nodes/{index}"
        properties = {
            "gfx_target_version": version,
            "location_id": location,
            "domain": 0,
            "unique_id": unique_id,
            "drm_render_minor": 127 + index,
            "device_id": 0xFFFF,
            "num_xcc": 1,
        }
        files[f"{node}/gpu_id"] = f"{1000 + index}\n"
        files[f"{node}/name"] = "chip\n"
        files[f"{node}/properties"] = "".join(f"{key} {value}\n" for key, value in properties.items())
        files[f"{node}/mem_banks/0/properties"] = f"heap_type 1\nsize_in_bytes {16 << 30}\n"
    return files


def pci_gpu(address: str, vendor: int = 0x1002, code: int = 0x030000) -> dict[str, str | int]:
    """Return the files of a device on the PCI bus."""
    return {f"{PCI}/{address}/vendor": f"{vendor:#06x}\n", f"{PCI}/{address}/class": f"{code:#08x}\n"}
