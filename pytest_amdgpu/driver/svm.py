"""Shared virtual memory: memory of the process that GPUs reach at its own address, page by page.

A range is registered with the kernel, which gives GPUs access and moves its pages between system memory and
VRAM as it is told. Registration ends when the memory is unmapped, and not before: memory of the caller's
stays registered, without access, when a range of it is freed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pytest_amdgpu.abi.kfd import SvmAttributeType, SvmFlag, SvmLocation
from pytest_amdgpu.driver.arguments import check_device, whole_number
from pytest_amdgpu.driver.backend import PAGE, Allocation, Location, MemoryRequest
from pytest_amdgpu.driver.buffer import Buffer
from pytest_amdgpu.driver.errors import AllocationError, SvmError
from pytest_amdgpu.kernel.protocol import KernelError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    import numpy.typing as npt

    from pytest_amdgpu.driver.device import Device

_MAX_GRANULARITY = 63
"""The kernel keeps six bits of it (svm_range_apply_attrs)."""


@dataclass(frozen=True, slots=True)
class SvmAttributes:
    """What the kernel says of a range. Locations are a gpu_id, 0 for system memory, None for undefined."""

    preferred: int | None
    prefetched: int | None
    granularity: int
    """Log 2 of the pages that migrate at once."""
    flags: SvmFlag
    access: dict[int, str]
    """By gpu_id: `yes`, `in place` (without migration) or `no`."""


class SvmRange(Buffer):
    """Memory of the process that GPUs share; a buffer as far as commands go. See `Device.svm`."""

    def __init__(self, device: Device, allocation: Allocation, owner: npt.NDArray[Any] | None) -> None:
        """Use `Device.svm`."""
        super().__init__(device.backend, allocation, allocation.size, device.tracker, owner=owner)
        self._device = device

    def prefetch(self, device: Device | None) -> None:
        """Move it to a GPU's memory now, or to system memory (None).

        The kernel leaves it in system memory if a GPU with access could not reach it there.
        """
        self._set((SvmAttributeType.PREFETCH_LOC, _location(device)))

    def prefer(self, device: Device | None) -> None:
        """Let it live in a GPU's memory, or in system memory (None), from the next migration on."""
        self._set((SvmAttributeType.PREFERRED_LOC, _location(device)))

    def allow(self, device: Device, *, in_place: bool = False) -> None:
        """Give a GPU access; `in_place` wherever it is, without moving it there."""
        check_device(device, "what a range is shared with")
        kind = SvmAttributeType.ACCESS_IN_PLACE if in_place else SvmAttributeType.ACCESS
        self._set((kind, device.node.gpu_id))
        mapped = self.allocation.mapped_gpus
        if device.node.gpu_id not in mapped:
            mapped.append(device.node.gpu_id)

    def map_to(self, device: Device) -> None:
        """Give another GPU access."""
        self.allow(device)

    def set_granularity(self, granularity: int) -> None:
        """Let `2 ** granularity` pages migrate at once (the kernel's default is 9: 2 MiB)."""
        granularity = whole_number(granularity, "a granularity")
        if not 0 <= granularity <= _MAX_GRANULARITY:
            raise SvmError(f"granularity {granularity} is not one from 0 to {_MAX_GRANULARITY}")
        self._set((SvmAttributeType.GRANULARITY, granularity))

    def set_flags(self, flags: SvmFlag) -> None:
        """Set flags, and leave the others as they are."""
        self._set((SvmAttributeType.SET_FLAGS, whole_number(flags, "SvmFlag")))

    def clear_flags(self, flags: SvmFlag) -> None:
        """Clear flags, and leave the others as they are."""
        self._set((SvmAttributeType.CLR_FLAGS, whole_number(flags, "SvmFlag")))

    def attributes(self, *devices: Device) -> SvmAttributes:
        """Ask the kernel, also for the access of the given GPUs (by default the one that made the range)."""
        for device in devices:
            check_device(device, "each of devices")
        gpu_ids = [device.node.gpu_id for device in devices or (self._device,)]
        wanted = [
            (SvmAttributeType.PREFERRED_LOC, 0),
            (SvmAttributeType.PREFETCH_LOC, 0),
            (SvmAttributeType.GRANULARITY, 0),
            (SvmAttributeType.SET_FLAGS, 0),
            *((SvmAttributeType.ACCESS, gpu_id) for gpu_id in gpu_ids),
        ]
        allocation = self.allocation
        told = self._backend.get_svm(allocation.address, allocation.size, wanted)
        (_, preferred), (_, prefetched), (_, granularity), (_, flags), *access = told
        return SvmAttributes(
            _known(preferred),
            _known(prefetched),
            granularity,
            SvmFlag(flags),
            {gpu_id: _ACCESS_NAMES[kind] for gpu_id, (kind, _) in zip(gpu_ids, access, strict=True)},
        )

    def _set(self, *attributes: tuple[SvmAttributeType, int]) -> None:
        allocation = self.allocation
        try:
            self._backend.set_svm(allocation.address, allocation.size, attributes)
        except KernelError as error:
            wanted = ", ".join(f"{kind.name} {value:#x}" for kind, value in attributes)
            raise SvmError(f"the kernel refuses {wanted} for {self.describe()}: {error}") from error


_ACCESS_NAMES = {
    SvmAttributeType.ACCESS: "yes",
    SvmAttributeType.ACCESS_IN_PLACE: "in place",
    SvmAttributeType.NO_ACCESS: "no",
}


def share(device: Device, address: int, size: int, owner: Any, peers: Sequence[Device]) -> SvmRange:
    """Register [address, address + size) with the kernel and give GPUs access; raises `SvmError`.

    `owner` is the caller's array, None for memory that the range may unmap when it is freed.
    """
    gpu_ids = [one.node.gpu_id for one in (device, *peers)]
    attributes = [(SvmAttributeType.ACCESS, gpu_id) for gpu_id in gpu_ids]
    for one in (device, *peers):
        if not one.node.shares_virtual_memory:
            raise SvmError(f"{one.name} cannot share virtual memory: its node has no bit SVMAPI_SUPPORTED")
    try:
        device.backend.set_svm(address, size, attributes)
    except KernelError as error:
        raise SvmError(f"cannot share {size} bytes at {address:#x} with GPUs: {error}") from error
    request = MemoryRequest(Location.SVM, size, host_address=address)
    return SvmRange(device, Allocation(request, address, 0, list(gpu_ids)), owner)


def pages_of(array: npt.NDArray[Any]) -> tuple[int, int]:
    """Return address and size of an array that fills its pages; raises `AllocationError`."""
    address = array.ctypes.data
    if not array.flags.c_contiguous or not array.nbytes or address % PAGE or array.nbytes % PAGE:
        raise AllocationError(
            f"an array of {array.nbytes} bytes at {address:#x} cannot be shared: it must be contiguous and"
            f" fill whole pages of {PAGE} bytes"
        )
    return address, array.nbytes


def _location(device: Device | None) -> int:
    if device is None:
        return SvmLocation.SYSMEM
    check_device(device, "where a range is to live, where it is not None (system memory),")
    return device.node.gpu_id


def _known(location: int) -> int | None:
    return None if location == SvmLocation.UNDEFINED else location
