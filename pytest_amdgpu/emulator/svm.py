"""Shared virtual memory: ranges of the client's own memory, their attributes, and who may reach them.

Rules: kfd_svm.c of amdkfd (svm_range_set_attr, svm_range_get_attr, svm_range_unmap_from_cpu). The memory is
the client's and stays where it is: a migration changes what a range says of itself and makes records, no
more. Ranges are mapped when their attributes are set, also with XNACK, where the kernel would wait for the
first access; and with XNACK memory that was never registered cannot be reached.
"""

from __future__ import annotations

import dataclasses
import errno
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pytest_amdgpu.abi.kfd import (
    MigrateTrigger,
    QueueEvictionTrigger,
    SvmFlag,
    SvmLocation,
    SvmUnmapTrigger,
)
from pytest_amdgpu.emulator import client
from pytest_amdgpu.emulator.arena import borrow
from pytest_amdgpu.emulator.memory import BufferObject, Location, Mapping
from pytest_amdgpu.emulator.refusal import Refusal

if TYPE_CHECKING:
    from pytest_amdgpu.emulator.process import Process, ProcessDevice

DEFAULT_GRANULARITY = 9
"""Log 2 of the pages that migrate at once: 2 MiB."""
DEFAULT_FLAGS = int(SvmFlag.HOST_ACCESS | SvmFlag.COHERENT)
_CAPABLE = 1 << 27
"""HSA_CAP_SVMAPI_SUPPORTED in a node's `capability`."""


@dataclass(eq=False)
class SvmRange:
    """CPU and GPU addresses [start, end) with the same attributes. GPUs are named by gpu_id."""

    start: int
    end: int
    preferred: int = SvmLocation.UNDEFINED
    prefetch: int = SvmLocation.UNDEFINED
    granularity: int = DEFAULT_GRANULARITY
    flags: int = DEFAULT_FLAGS
    access: set[int] = field(default_factory=set)
    in_place: set[int] = field(default_factory=set)
    location: int = SvmLocation.SYSMEM
    """Where it was migrated to: 0 or a gpu_id."""
    mapped: bool = False
    """Whether a GPU has it in its page table."""
    queue_references: int = 0

    def part(self, start: int, end: int) -> SvmRange:
        """Return a part of the range with attributes of its own."""
        copy = dataclasses.replace(self, start=start, end=end)
        copy.access, copy.in_place = set(self.access), set(self.in_place)
        return copy


class SvmRanges:
    """The registered ranges of a process; all but `overlapping` needs the process's lock to be held."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._ranges: list[SvmRange] = []

    def overlapping(self, start: int, end: int) -> list[SvmRange]:
        """Return the ranges that have bytes of [start, end), by address."""
        return [item for item in tuple(self._ranges) if item.start < end and start < item.end]

    def capable(self, gpu_id: int) -> bool:
        """Whether a GPU of the process can share virtual memory; EINVAL for an unknown id."""
        return bool(self._process.device(gpu_id).gpu.properties["capability"] & _CAPABLE)

    def require_unregistered(self, start: int, end: int) -> None:
        """Refuse with EADDRINUSE addresses that belong to a range."""
        for item in self.overlapping(start, end):
            raise Refusal(errno.EADDRINUSE, f"{item.start:#x} to {item.end:#x} is shared virtual memory")

    def require_valid(self, start: int, end: int) -> list[tuple[int, int, str]]:
        """Return the client's mappings of [start, end): EFAULT where it has none, EADDRINUSE for buffers.

        Mappings of buffers and doorbells count as none: they are device memory (VM_PFNMAP).
        """
        regions = client.regions(start, end)
        if self._process.machine.maps.overlaps(start, end):
            raise Refusal(errno.EFAULT, f"{start:#x} to {end:#x} is device memory in part")
        for device in self._process.devices.values():
            for mapping in device.space.mappings:
                if mapping.start < end and start < mapping.end and mapping.bo.location is not Location.SVM:
                    raise Refusal(errno.EADDRINUSE, f"{start:#x} to {end:#x} overlaps {mapping!r}")
        return regions

    def take(self, start: int, end: int) -> list[SvmRange]:
        """Return ranges that cover exactly [start, end): parts of old ones, and new ones in the gaps."""
        taken: list[SvmRange] = []
        position = start
        for item in self.overlapping(start, end):
            self._ranges.remove(item)
            if position < item.start:
                taken.append(self._new(position, item.start))
            inner = item.part(max(item.start, start), min(item.end, end))
            taken.append(inner)
            if item.start < start:
                self._ranges.append(item.part(item.start, start))
            if item.end > end:
                self._ranges.append(item.part(end, item.end))
            position = inner.end
        if position < end:
            taken.append(self._new(position, end))
        self._ranges += taken
        self._ranges.sort(key=lambda item: item.start)
        return taken

    def _new(self, start: int, end: int) -> SvmRange:
        made = SvmRange(start, end)
        if self._process.xnack_enabled:
            made.access = {gpu_id for gpu_id in self._process.devices if self.capable(gpu_id)}
        return made

    def migrate(self, item: SvmRange) -> None:
        """Move a range to where it is to be prefetched, which stops all queues for a moment."""
        target = self._best_location(item)
        if target == SvmLocation.UNDEFINED or target == item.location:
            return
        process, old = self._process, item.location
        place = process.devices[target or old].gpu

        def move() -> None:
            item.location = target
            wanted = (item.prefetch, item.preferred)
            place.smi.migration(
                process.pid, item.start, item.end, (old, target), wanted, MigrateTrigger.PREFETCH
            )

        process.preempt(move, None if process.xnack_enabled else QueueEvictionTrigger.TRIGGER_SVM)

    def _best_location(self, item: SvmRange) -> int:
        """Return the prefetch location if all who have access reach it (svm_range_best_prefetch_location).

        A GPU whose own memory is system memory has nothing to move to.
        """
        if item.prefetch in (SvmLocation.SYSMEM, SvmLocation.UNDEFINED):
            return item.prefetch
        if self._process.devices[item.prefetch].gpu.prefers_gtt:
            return SvmLocation.SYSMEM
        hive = self._process.devices[item.prefetch].gpu.properties["hive_id"]
        users = item.in_place if self._process.xnack_enabled else item.access | item.in_place
        for gpu_id in users - {item.prefetch}:
            if not hive or self._process.devices[gpu_id].gpu.properties["hive_id"] != hive:
                return SvmLocation.SYSMEM
        return item.prefetch

    def map(self, item: SvmRange, regions: Iterable[tuple[int, int, str]]) -> None:
        """Put a range into the page table of all GPUs with access; one that lost access keeps it.

        EINVAL for a GPU without a VM, EFAULT for memory that cannot be read.
        """
        for gpu_id in sorted(item.access | item.in_place):
            device = self._process.bound_device(gpu_id, errno.EINVAL)
            wanted = []
            for start, end, rights in regions:
                first, last = max(start, item.start), min(end, item.end)
                if first < last:
                    if not rights.startswith("r"):
                        raise Refusal(errno.EFAULT, f"{first:#x} to {last:#x} is mapped {rights}")
                    wanted.append(self._object(item, first, last, writable=rights[1] == "w"))
            self._replace(device, item.start, item.end, wanted)
            item.mapped = True

    @staticmethod
    def _object(item: SvmRange, start: int, end: int, *, writable: bool) -> BufferObject:
        return BufferObject(
            borrow(start, end - start),
            Location.SVM,
            va=start,
            writable=writable and not item.flags & SvmFlag.GPU_RO,
            executable=bool(item.flags & SvmFlag.GPU_EXEC),
            uncached=bool(item.flags & (SvmFlag.COHERENT | SvmFlag.EXT_COHERENT)),
        )

    def _replace(self, device: ProcessDevice, start: int, end: int, objects: list[BufferObject]) -> None:
        """Make `objects` all that [start, end) shows of shared memory on a GPU."""
        space = device.space
        old = [mapping for mapping in space.mappings if _is_shared(mapping, start, end)]
        if [_look(mapping.bo) for mapping in old] == [_look(bo) for bo in objects]:
            return

        def change() -> None:
            for mapping in old:
                space.unmap(mapping)
                for first, last in ((mapping.start, start), (end, mapping.end)):
                    if first < last:
                        space.map(first, _part(mapping, first, last))
            for bo in objects:
                space.map(bo.va, bo)

        if old:
            self._process.preempt(change)
        else:
            change()

    def require_always_mapped(self, gpu_id: int, start: int, end: int) -> None:
        """Refuse with EINVAL what a queue cannot hold (kfd_queue_buffer_svm_get).

        Ranges must cover [start, end), be mapped, let the GPU in, and be always mapped.
        """
        position = start
        for item in self.overlapping(start, end):
            allowed = gpu_id in item.access | item.in_place and item.flags & SvmFlag.GPU_ALWAYS_MAPPED
            if item.start > position or not item.mapped or not allowed:
                break
            position = item.end
        if position < end:
            raise Refusal(errno.EINVAL, f"no buffer and no range that is always mapped covers {position:#x}")

    def hold(self, start: int, end: int) -> None:
        """Note that a queue needs [start, end)."""
        for item in self.overlapping(start, end):
            item.queue_references += 1

    def release(self, start: int, end: int) -> None:
        """Note that a queue needs [start, end) no more."""
        for item in self.overlapping(start, end):
            item.queue_references = max(item.queue_references - 1, 0)

    def forget(self, start: int, end: int) -> None:
        """Take note that the client unmaps [start, end): the ranges end there, and GPUs lose it."""
        lost = self.overlapping(start, end)
        if not lost:
            return
        process = self._process
        for item in lost:
            first, last = max(item.start, start), min(item.end, end)
            if item.mapped:
                # Also GPUs that have lost access: they keep the mapping until now.
                for device in process.devices.values():
                    if not any(_is_shared(mapping, first, last) for mapping in device.space.mappings):
                        continue
                    self._replace(device, first, last, [])
                    device.gpu.smi.unmap_from_gpu(process.pid, first, last, SvmUnmapTrigger.UNMAP_FROM_CPU)
            if item.queue_references:
                process.machine.misuse(f"{first:#x} to {last:#x} is unmapped while a queue needs it")
                process.evict_all(QueueEvictionTrigger.TRIGGER_SVM)
        gone = self.take(max(start, lost[0].start), min(end, lost[-1].end))
        self._ranges = [item for item in self._ranges if item not in gone]


def _is_shared(mapping: Mapping, start: int, end: int) -> bool:
    return mapping.bo.location is Location.SVM and mapping.start < end and start < mapping.end


def _look(bo: BufferObject) -> tuple[int, int, bool, bool, bool]:
    return bo.va, bo.size, bo.writable, bo.executable, bo.uncached


def _part(mapping: Mapping, start: int, end: int) -> BufferObject:
    data = mapping.data[start - mapping.start : end - mapping.start]
    return dataclasses.replace(mapping.bo, data=data, va=start, mappings={})
