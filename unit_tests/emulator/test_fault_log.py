"""The log's lines about page faults, against those of public logs of real faults."""

from __future__ import annotations

import os
import re

import pytest

from pytest_amdgpu.emulator.fault_log import facts
from pytest_amdgpu.emulator.gpu import SoftwareGpu, make_gpus
from pytest_amdgpu.emulator.kernel import EmulatedKernel
from pytest_amdgpu.emulator.kfd.reports import QueueReports
from pytest_amdgpu.emulator.memory import Access, Reason, VmFault
from pytest_amdgpu.families.models import model


def gpu(name: str) -> SoftwareGpu:
    return make_gpus([model(name)])[0]


READ, WRITE = (
    VmFault(0x1234, Access.READ, Reason.NOT_PRESENT),
    VmFault(0x1234, Access.WRITE, Reason.NOT_PRESENT),
)
FETCH = VmFault(0x1234, Access.EXECUTE, Reason.NO_EXECUTE)


# ROCm/amdgpu issue 172 (gfx942, VMID 3; MORE_FAULTS, bit 0, is not set for a single one), the patch
# "mdkfd: To flush tlb for MMHUB of GFX9 series", logs of gfx10.3 and gfx11, and of an SDMA engine of gfx11.
@pytest.mark.parametrize(
    ("name", "fault", "sdma", "hub", "sender", "ring", "status"),
    [
        ("mi300x", READ, False, "gfxhub0", "IH client 0x1b (UTCL2)", 24, 0x00301030),
        ("mi210", WRITE, True, "mmhub0", "IH client 0x12 (VMC)", 40, 0x00340050),
        ("rx6900xt", WRITE, False, "gfxhub", "client 0x1b (UTCL2)", 40, 0x00841050),
        ("rx7900xtx", WRITE, False, "gfxhub", "client 10", 40, 0x00841050),
        ("rx7900xtx", WRITE, True, "gfxhub", "client 10", 40, 0x00841A50),
        ("r9700", READ, False, "gfxhub", "client 10", 24, 0x00801030),
    ],
)
def test_facts_are_those_of_real_faults(
    name: str, fault: VmFault, sdma: bool, hub: str, sender: str, ring: int, status: int
) -> None:
    known = facts(gpu(name), fault, sdma=sdma)
    assert (known.hub, known.sender, known.ring) == (hub, sender, ring)
    assert f"{known.status:#x}" == f"{status:#x}"


def test_fetch_from_a_page_that_is_not_executable() -> None:
    """As in the patch "Enable noretry for GFX 10.1.x": ring 64, permission faults 0x8, RW 0."""
    known = facts(gpu("rx6900xt"), FETCH, sdma=False)
    assert (known.ring, known.status >> 4 & 0xF, known.status >> 18 & 1) == (64, 0x8, 0)
    assert (known.not_present, known.read_only) == (False, False)


def test_the_lines_of_a_fault() -> None:
    kernel = EmulatedKernel([model("mi300x")])
    kernel.open("/dev/kfd", os.O_RDWR)
    assert kernel._process is not None
    (device,) = kernel._process.devices.values()
    QueueReports(device, 0).vm_fault(VmFault(0xAE85_7061_1234, Access.READ, Reason.NOT_PRESENT))
    pid = os.getpid()
    pattern = rf"""amdgpu 0000:03:00.0: [gfxhub0] no-retry page fault (src_id:0 ring:24 vmid:3 pasid:32768)
amdgpu 0000:03:00.0:  in process NAME pid {pid} thread NAME pid {pid}
amdgpu 0000:03:00.0:   in page starting at address 0x0000ae8570611000 from IH client 0x1b (UTCL2)
amdgpu 0000:03:00.0: VM_L2_PROTECTION_FAULT_STATUS:0x00301030
amdgpu 0000:03:00.0: \t Faulty UTCL2 client ID: TCP (0x8)
amdgpu 0000:03:00.0: \t PERMISSION_FAULTS: 0x3
amdgpu 0000:03:00.0: \t RW: 0x0"""
    with open("/proc/self/comm") as file:
        name = file.read().strip()
    lines = [line for line in kernel.log if "evicted" not in line]
    assert "\n".join(lines) == pattern.replace("NAME", name).replace("\\t", "\t")
    assert any(re.search("all queues of the process on this GPU are evicted", line) for line in kernel.log)
    kernel.shutdown()
