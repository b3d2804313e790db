"""A compute queue: dispatches and semaphores, over PM4 or AQL behind the same chain of commands."""

from __future__ import annotations

import struct
from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

from pytest_amdgpu.abi.kfd import ContextSaveWaveState
from pytest_amdgpu.driver import launch
from pytest_amdgpu.driver.backend import NORMAL_PRIORITY
from pytest_amdgpu.driver.commands import Commands, check_semaphore, encode, timestamp_address
from pytest_amdgpu.driver.dispatch_template import DispatchTemplate
from pytest_amdgpu.driver.errors import CommandError
from pytest_amdgpu.driver.queue import Queue
from pytest_amdgpu.driver.scheduling import CuMask, SavedWaves, mask_words
from pytest_amdgpu.driver.scratch import Scratch
from pytest_amdgpu.packets.pm4 import DATA_GPU_CLOCK, Pm4Packets, pm4_packets

if TYPE_CHECKING:
    from pytest_amdgpu.driver.backend import QueueKind
    from pytest_amdgpu.driver.buffer import Buffer, BufferSlice
    from pytest_amdgpu.driver.device import Device
    from pytest_amdgpu.driver.kernarg import Argument
    from pytest_amdgpu.driver.launch import Launch, Shape
    from pytest_amdgpu.driver.program import ProgramKernel
    from pytest_amdgpu.driver.semaphore import TimelineSemaphore

DEFAULT_RING_SIZE = 1 << 18

_REMEMBERED_TEMPLATES = 256
_NUMBER = struct.Struct("<Q")


class ComputeCommands(Commands):
    """A chain of commands for a compute queue. Each begins when all before it is done."""

    queue: ComputeQueue
    _acquired = False
    """Whether the chain sees what other engines and the host wrote before it was submitted."""

    def dispatch(
        self,
        kernel: ProgramKernel,
        grid: Shape,
        args: Sequence[Argument] = (),
        *,
        block: Shape | None = None,
        dynamic_lds: int = 0,
    ) -> Self:
        """Run a kernel over `grid` work-items per axis, in workgroups of `block`.

        The last workgroup of an axis may be partial. Without `block` it is what the kernel requires,
        else 64 work-items in a row. `dynamic_lds` bytes of LDS are added to what the kernel declares.
        Raises `LaunchError` for a shape that cannot be run, and what `kernel.pack` raises for arguments.
        """
        template = self.queue.template(kernel, grid, block, dynamic_lds)
        self.queue.last_kernel = kernel.name
        payload, code = self.payload, self.code
        start = self._add_payload(template.payload) if template.payload else len(payload)
        if template.kernarg_size or args:
            with memoryview(payload)[start : start + template.kernarg_size] as view:
                kernel.pack(view, args, template.grid, template.block, dynamic_lds, self.queue.address)
        if not self._acquired:
            code += self.queue.first_acquire
            self._acquired = True
        at = len(code)
        code += template.code
        for in_payload, position, target in template.links:
            if in_payload:
                self.links.append((payload, start + position, start + target))
            else:
                self.links.append((code, at + position, start + target))
        if template.preload is not None:
            position, begin, end = template.preload
            code[at + position : at + position + end - begin] = payload[start + begin : start + end]
        if template.dispatch_id is not None:
            _NUMBER.pack_into(code, at + template.dispatch_id, self.queue.next_dispatch_id())
        if len(code) - self._last_split >= 1024:
            self._note_split()
        return self

    def wait(self, semaphore: TimelineSemaphore, value: int) -> Self:
        """Do nothing of what follows before the semaphore is at least `value`, then see what it guards."""
        check_semaphore(semaphore)
        value = semaphore.check_value(value)
        semaphore.check_reach(self.queue.device)
        self._command(self.queue.wait_code(semaphore, value))
        self._acquired = True
        return self

    def signal(self, semaphore: TimelineSemaphore, value: int) -> Self:
        """When all that precedes is done and visible, set the semaphore and wake the host's waiters."""
        check_semaphore(semaphore)
        value = semaphore.check_signal(value)
        semaphore.check_reach(self.queue.device)
        packets = self.queue.packets
        self._command_once(
            encode(packets.release(semaphore.address, value))
            + encode(packets.release_event(semaphore.slot_address, semaphore.event_id))
        )
        self.signals.append((semaphore, value))
        return self

    def timestamp(self, buffer: Buffer | BufferSlice, offset: int = 0) -> Self:
        """When all that precedes is done, store the GPU's constant counter (64 bits) in a buffer."""
        address = timestamp_address(buffer, offset)
        self._command_once(encode(self.queue.packets.release_mem(address, 0, data_sel=DATA_GPU_CLOCK)))
        return self

    @abstractmethod
    def _command(self, pm4: bytes) -> None:
        """Append PM4 packets that every XCC may execute."""

    @abstractmethod
    def _command_once(self, pm4: bytes) -> None:
        """Append PM4 packets that only one XCC may execute."""


class ComputeQueue(Queue[ComputeCommands]):
    """What PM4 and AQL queues share."""

    first_acquire = b""
    """What must precede the first dispatch of a chain, so that it sees what others wrote."""

    def __init__(self, device: Device, ring_size: int, *, priority: int | str = NORMAL_PRIORITY) -> None:
        self.packets: Pm4Packets = pm4_packets(device.family.pm4)
        self.scratch = Scratch(self)
        self._templates: dict[tuple[Any, ...], DispatchTemplate] = {}
        self._acquire = encode(self.packets.acquire_all())
        self._wide_wait = hasattr(self.packets, "wait_reg_mem64")
        self._dispatches = 0
        self.last_kernel = ""
        """Name of the kernel that was given to the queue last."""
        super().__init__(device, ring_size, priority=priority)

    def state(self) -> str:
        """Say where the queue is, as all queues do, and which kernel it was given last."""
        last = f"; the kernel dispatched last is {self.last_kernel}" if self.last_kernel else ""
        return super().state() + last

    @property
    @abstractmethod
    def xccs(self) -> range:
        """The XCCs that the queue's waves run on."""

    def set_cu_mask(self, mask: CuMask | None) -> None:
        """Let waves run on these compute units only: the bits of an integer, or numbers; None means all.

        Waves that run are moved. How units are numbered, and what is refused with `CommandError`, says
        `scheduling.mask_words`.
        """
        self.check_open()
        words = mask_words(self.device.node, mask, self.xccs)
        self.device.backend.set_cu_mask(self._memory.hardware, words)

    def saved_waves(self) -> list[SavedWaves]:
        """Return what pausing the queue saved to its context save area, by XCC; 0 bytes where nothing ran.

        Raises `CommandError` for a queue that is not paused.
        """
        self.check_open()
        area, request = self._memory.context_save, self._memory.request
        if not self._paused or area is None:
            raise CommandError(
                f"{self.describe()} is not paused: the hardware has its waves; pause() it first"
            )
        self.device.backend.save_wave_state(self._memory.hardware, area.address)
        headers = (
            ContextSaveWaveState.from_buffer_copy(area.memory, xcc * request.context_save_size)
            for xcc in range(self.device.node.num_xcc)
        )
        return [SavedWaves(header.control_stack_size, header.wave_state_size) for header in headers]

    def template(
        self, kernel: ProgramKernel, grid: Shape, block: Shape | None, dynamic_lds: int
    ) -> DispatchTemplate:
        """Return the prepared dispatch of a kernel in a shape, made when it is first needed."""
        key = (kernel, grid, block, dynamic_lds)
        try:
            template = self._templates.get(key)
        except TypeError:
            # A shape given as a list cannot be looked up.
            return self._make_template(kernel, grid, block, dynamic_lds)
        if template is None:
            if len(self._templates) >= _REMEMBERED_TEMPLATES:
                self._templates.clear()
            template = self._templates[key] = self._make_template(kernel, grid, block, dynamic_lds)
        return template

    def wait_code(self, semaphore: TimelineSemaphore, value: int) -> bytes:
        """PM4 that waits for a semaphore; before gfx10 in two steps, because it compares 32 bits."""
        packets = self.packets
        if self._wide_wait:
            return encode(packets.wait_reg_mem64(semaphore.address, value)) + self._acquire
        if semaphore.value >= value:
            return self._acquire
        semaphore.note_narrow_wait(value)
        code = encode(packets.wait_reg_mem(semaphore.address, value & 0xFFFFFFFF))
        if value >> 32:
            code = encode(packets.wait_reg_mem(semaphore.address + 4, value >> 32)) + code
        return code + self._acquire

    def held_memory(self) -> list[Buffer]:
        """All memory that lives as long as the queue."""
        return [*super().held_memory(), *self.scratch.buffers]

    def next_dispatch_id(self) -> int:
        """Number dispatches for kernels that ask for it."""
        self._dispatches += 1
        return self._dispatches - 1

    def dispatch(
        self,
        kernel: ProgramKernel,
        grid: Shape,
        args: Sequence[Argument] = (),
        *,
        block: Shape | None = None,
        dynamic_lds: int = 0,
    ) -> ComputeCommands:
        """Go on with the open chain: `ComputeCommands.dispatch`."""
        return self._chain().dispatch(kernel, grid, args, block=block, dynamic_lds=dynamic_lds)

    def _make_template(
        self, kernel: ProgramKernel, grid: Shape, block: Shape | None, dynamic_lds: int
    ) -> DispatchTemplate:
        planned = launch.plan(kernel, self.device.family, grid, block, dynamic_lds)
        if planned.private_segment and self.scratch.require(planned.private_segment, kernel.name):
            self._scratch_changed()
        return self._dispatch_template(kernel, planned)

    @abstractmethod
    def _dispatch_template(self, kernel: ProgramKernel, planned: Launch) -> DispatchTemplate:
        """Prepare a dispatch for this kind of queue."""

    def _scratch_changed(self) -> None:
        """The queue's scratch is another buffer."""


def compute_queue(
    device: Device,
    kind: QueueKind | str | None,
    ring_size: int | None,
    *,
    priority: int | str = NORMAL_PRIORITY,
    cu_mask: CuMask | None = None,
) -> ComputeQueue:
    """Create a compute queue: AQL where there are several XCCs, because PM4 runs on one, else PM4."""
    from pytest_amdgpu.driver.aql_queue import AqlQueue
    from pytest_amdgpu.driver.backend import QueueKind
    from pytest_amdgpu.driver.pm4_queue import Pm4Queue

    if kind is None:
        kind = QueueKind.AQL if device.node.num_xcc > 1 else QueueKind.PM4
    makers = {QueueKind.AQL.value: AqlQueue, QueueKind.PM4.value: Pm4Queue}
    name = kind.value if isinstance(kind, QueueKind) else kind
    if not isinstance(name, str) or name not in makers:
        raise CommandError(f"unknown kind of compute queue {name!r}; there are {', '.join(makers)}")
    queue: ComputeQueue = makers[name](
        device, DEFAULT_RING_SIZE if ring_size is None else ring_size, priority=priority
    )
    if cu_mask is not None:
        try:
            queue.set_cu_mask(cu_mask)
        except BaseException:
            queue.close()
            raise
    return queue
