"""The environment of a result, from a machine of files and from software GPUs."""

from __future__ import annotations

import errno
from collections.abc import Iterator

import pytest
from machine_kernels import FilesKernel

from pytest_amdgpu.abi.kfd import GetVersionArgs
from pytest_amdgpu.devices.fingerprint import fingerprint
from pytest_amdgpu.devices.identity import hardware_devices
from pytest_amdgpu.driver.topology import TOPOLOGY, discover
from pytest_amdgpu.emulator.kernel import EmulatedKernel
from pytest_amdgpu.families.models import model
from pytest_amdgpu.kernel.protocol import Argument

NODE = f"{TOPOLOGY}/nodes/1"
CARD = "/sys/class/drm/renderD128/device"
MODULE = "/sys/module/amdgpu"
FILES: dict[str, str | int] = {
    f"{TOPOLOGY}/generation_id": "2\n",
    f"{NODE}/gpu_id": "4711\n",
    f"{NODE}/name": "ip discovery\n",
    f"{NODE}/properties": "gfx_target_version 110000\nlocation_id 768\ndomain 0\ndrm_render_minor 128\n"
    "device_id 29772\nfw_version 2140\nsdma_fw_version 20\n",
    f"{NODE}/mem_banks/0/properties": f"heap_type 2\nsize_in_bytes {24 << 30}\n",
    f"{NODE}/io_links/0/properties": "type 2\nnode_from 1\nnode_to 0\nweight 20\n",
    f"{CARD}/vbios_version": "113-EXT84312-001\n",
    f"{CARD}/fw_version/mec_fw_version": "0x0000085c\n",
    f"{CARD}/fw_version/smc_fw_version": "0x004e7e00\n",
    f"{CARD}/fw_version/vcn_fw_version": errno.EIO,
    f"{CARD}/subsystem_vendor": "0x1da2\n",
    f"{CARD}/product_name": "NAVI31 \udcff\n",
    f"{CARD}/serial_number": errno.EACCES,
    f"{CARD}/mem_info_vis_vram_total": f"{256 << 20}\n",
    f"{MODULE}/version": "6.12.12\n",
    f"{MODULE}/srcversion": "B4F5A3C1D2E6F708192A3B4\n",
    f"{MODULE}/parameters/noretry": "-1\n",
    f"{MODULE}/parameters/secret": errno.EACCES,
}


class Machine(FilesKernel):
    """A kernel that also tells its interface version."""

    def ioctl(self, fd: int, request: int, argument: Argument) -> int:
        assert isinstance(argument, GetVersionArgs)
        argument.major_version, argument.minor_version = 1, 17
        return 0


def test_all_that_a_machine_tells() -> None:
    kernel = Machine(FILES, {"/dev/kfd": 0})
    (device,) = hardware_devices(discover(kernel))
    found = fingerprint(kernel, [device])
    assert kernel.open_fds == 0
    unreadable = found.pop("unreadable")
    assert found == {
        "kfd": "1.17",
        "amdgpu": {
            "version": "6.12.12",
            "srcversion": "B4F5A3C1D2E6F708192A3B4",
            "parameters": {"noretry": "-1"},
        },
        "devices": {
            "gfx1100-0000:03:00.0": {
                "vbios_version": "113-EXT84312-001",
                # Those of the topology, where the render node lacks them.
                "firmware": {
                    "mec_fw_version": "0x0000085c",
                    "sdma_fw_version": "0x00000014",
                    "smc_fw_version": "0x004e7e00",
                },
                "board": {"subsystem_vendor": "0x1da2", "product_name": "NAVI31 \ufffd"},
                "bar": "small",
                "vram_bytes": 24 << 30,
                "visible_vram_bytes": 256 << 20,
                "links": [{"to": 0, "kind": "pcie", "weight": 20}],
            }
        },
    }
    refused = {(f"{MODULE}/parameters/secret", "EACCES"), (f"{CARD}/serial_number", "EACCES")}
    refused.add((f"{CARD}/fw_version/vcn_fw_version", "EIO"))
    assert len(unreadable) == len(refused)
    assert all(any(path in text and name in text for text in unreadable) for path, name in refused)


def test_a_machine_that_refuses_everything_raises_nothing() -> None:
    (device,) = hardware_devices(discover(FilesKernel(FILES)))
    kernel = FilesKernel({f"{TOPOLOGY}/generation_id": errno.EIO}, {"/dev/kfd": errno.EACCES})
    found = fingerprint(kernel, [device])
    assert (found["amdgpu"], found["devices"]) == ({}, {})
    assert "kfd" not in found
    assert [text.split("(")[0] for text in found["unreadable"]] == ["[Errno 13] open", "[Errno 5] read"]


@pytest.fixture
def software() -> Iterator[EmulatedKernel]:
    kernel = EmulatedKernel([model("rx7900xtx"), model("mi300x")])
    yield kernel
    kernel.shutdown()


def test_software_gpus_have_a_fingerprint_too(software: EmulatedKernel) -> None:
    found = fingerprint(software, hardware_devices(discover(software)))
    assert found["unreadable"] == []
    assert found["kfd"] == "1.17"
    assert found["amdgpu"]["parameters"]["noretry"] == "-1"
    first = found["devices"]["gfx1100-0000:03:00.0"]
    # The measured versions 2140 and 20 of the model's file.
    assert first["firmware"] == {"mec_fw_version": "0x0000085c", "sdma_fw_version": "0x00000014"}
    assert first["board"]["device"] == "0x744c"
    assert (first["bar"], first["vram_bytes"]) == ("large", first["visible_vram_bytes"])
    assert first["links"][0]["to"] == 0
