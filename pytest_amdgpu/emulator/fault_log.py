"""What the kernel's log says of a fault: the facts that amdgpu prints, in its order.

Sources: gmc_v9_0_process_interrupt and its successors up to gmc_v12_1.c (what differs is a row of the
family), the client ids of gfxhub_client_ids in gmc_v9_0.c and gfxhub_v2_1.c. Public logs of real faults show
the bits. A read of an absent page has ring 24 and permission faults 0x3 (ROCm/amdgpu issue 172), a write to
one ring 40 and 0x5, with status 0x00841051 for VMID 8 and client TCP. An instruction fetch from a page
without that right has ring 64 and 0x8 (patch "Enable noretry for GFX 10.1.x").
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_amdgpu.emulator.memory import PAGE_SIZE, Access, Reason, VmFault

if TYPE_CHECKING:
    from pytest_amdgpu.emulator.gpu import SoftwareGpu
    from pytest_amdgpu.emulator.process import Process
    from pytest_amdgpu.families.kernel_rules import FaultLog

_NOT_PRESENT, _READ, _WRITE, _EXECUTE = 1, 2, 4, 8
_NEEDED = {Access.READ: _READ, Access.WRITE: _WRITE, Access.ATOMIC: _WRITE, Access.EXECUTE: _EXECUTE}
_RING_SHIFT = 3
"""The ring of a fault's interrupt has the bits of PERMISSION_FAULTS from here on."""
_PERMISSION_SHIFT, _CLIENT_SHIFT, _VMID_SHIFT = 4, 9, 20
_STATUS_WRITE, _STATUS_ATOMIC = 1 << 18, 1 << 19

_TCP, _SQC_INST = (8, "TCP"), (9, "SQC (inst)")


def task() -> str:
    """Return the name of the client's task."""
    with open("/proc/self/comm", encoding="utf-8", errors="replace") as file:
        return file.read().rstrip()


@dataclass(frozen=True, slots=True)
class FaultFacts:
    """What an interrupt of a page fault says, and how the kernel of that GPU words it."""

    log: FaultLog
    hub: str
    sender: str
    client: tuple[int, str]
    vmid: int
    permissions: int
    write: bool
    atomic: bool

    @property
    def not_present(self) -> bool:
        """Bit 3 of the ring."""
        return bool(self.permissions & _NOT_PRESENT)

    @property
    def read_only(self) -> bool:
        """Bit 5 of the ring, which is also set where a page to be written is absent."""
        return bool(self.permissions & _WRITE)

    @property
    def ring(self) -> int:
        """The ring that the interrupt names."""
        return self.permissions << _RING_SHIFT

    @property
    def status(self) -> int:
        """VM_L2_PROTECTION_FAULT_STATUS."""
        status = self.permissions << _PERMISSION_SHIFT | self.client[0] << _CLIENT_SHIFT
        status |= self.vmid << _VMID_SHIFT | _STATUS_WRITE * self.write | _STATUS_ATOMIC * self.atomic
        return status


def facts(gpu: SoftwareGpu, fault: VmFault, *, sdma: bool) -> FaultFacts:
    """Return what the interrupt of a fault would say, raised by a wave or by an SDMA engine.

    What the command processor reads is told as a shader's.
    """
    rules = gpu.family.kernel
    log = rules.fault_log
    hub, sender, client = log.gfx_hub, log.gfx_sender, _TCP
    if sdma:
        hub, sender, client = log.sdma_hub, log.sdma_sender, log.sdma_client
    elif fault.access is Access.EXECUTE:
        client = _SQC_INST
    needed = _NEEDED[fault.access]
    if fault.reason is Reason.NOT_PRESENT:
        # Of a fetch from an absent page there is no public log; a read is what it is.
        needed = _NOT_PRESENT | (_READ if needed == _EXECUTE else needed)
    return FaultFacts(
        log,
        hub,
        sender,
        client,
        rules.first_vmid,
        needed,
        fault.access in (Access.WRITE, Access.ATOMIC),
        fault.access is Access.ATOMIC,
    )


def page_fault(process: Process, fault: VmFault, known: FaultFacts) -> Iterator[str]:
    """Yield the lines about a page fault."""
    name = task()
    page = fault.address & ~(PAGE_SIZE - 1)
    where = f"src_id:0 ring:{known.ring} vmid:{known.vmid} pasid:{process.pasid}"
    yield f"[{known.hub}] {known.log.kind} ({where})"
    yield f" in process {name} pid {process.pid} thread {name} pid {process.pid}"
    yield f"  in page starting at address {page:#018x} from {known.sender}"
    yield f"{known.log.status_register}:{known.status:#010x}"
    number, client = known.client
    yield f"\t Faulty UTCL2 client ID: {client or 'unknown'} ({number:#x})"
    yield f"\t PERMISSION_FAULTS: {known.permissions:#x}"
    yield f"\t RW: {known.write:#x}"
