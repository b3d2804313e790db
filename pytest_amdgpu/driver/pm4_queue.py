"""A compute queue whose ring holds PM4 packets. On parts with several XCCs it runs on the first."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from pytest_amdgpu.driver import pm4_dispatch
from pytest_amdgpu.driver.backend import NORMAL_PRIORITY, QueueKind
from pytest_amdgpu.driver.commands import PAYLOAD_ALIGNMENT, Commands, encode, nops, resolve
from pytest_amdgpu.driver.compute_queue import ComputeCommands, ComputeQueue
from pytest_amdgpu.driver.recording import Recording
from pytest_amdgpu.packets.layout import Packet

if TYPE_CHECKING:
    from pytest_amdgpu.driver.device import Device
    from pytest_amdgpu.driver.dispatch_template import DispatchTemplate
    from pytest_amdgpu.driver.launch import Launch
    from pytest_amdgpu.driver.program import ProgramKernel


class Pm4Commands(ComputeCommands):
    """A chain of commands for a PM4 queue."""

    def _command(self, pm4: bytes) -> None:
        self.code += pm4
        self._note_split()

    _command_once = _command


class Pm4Queue(ComputeQueue):
    """A compute queue of PM4 packets. Its pointers count dwords."""

    kind = QueueKind.PM4
    UNIT = 4
    # Of a dispatch there are many, and the kernel's name says more.
    NOT_SHOWN = frozenset({"SET_SH_REG"})

    def __init__(self, device: Device, ring_size: int, *, priority: int | str = NORMAL_PRIORITY) -> None:
        super().__init__(device, ring_size, priority=priority)
        # An AQL dispatch acquires from the whole system by its header. SDMA and the host write past the
        # shaders' caches, so PM4 must do the same; dispatches of one chain see each other with less.
        self.first_acquire = encode(self.packets.acquire_all())

    @property
    def xccs(self) -> range:
        """One XCC reads the ring."""
        xcc = self._memory.request.xcc
        return range(xcc, xcc + 1)

    def record_commands(self, commands: Commands) -> Recording:
        """Put a finished chain into memory, to be run by an INDIRECT_BUFFER packet."""
        code_size = len(commands.code)
        payload_offset = code_size + -code_size % PAYLOAD_ALIGNMENT
        memory = self.system_memory(payload_offset + len(commands.payload))
        resolve(commands.links, memory.address + payload_offset)
        memory.write(commands.code)
        memory.write(commands.payload, payload_offset)
        call = encode(self.packets.indirect_buffer(memory.address, code_size // 4))
        return Recording(self, memory, call, commands.signals)

    def decode_all(self, words: memoryview) -> Iterable[Packet]:
        """Decode the packets in `words`."""
        return self.packets.decode_stream(words)

    def decode(self, words: memoryview) -> str:
        """Return the text of the packet at the beginning of `words`."""
        return str(self.packets.decode(words))

    def padding(self, size: int) -> bytes:
        """Return NOP packets of `size` bytes."""
        return nops(self.packets.nop, size)

    def _commands(self) -> Pm4Commands:
        return Pm4Commands(self)

    def _dispatch_template(self, kernel: ProgramKernel, planned: Launch) -> DispatchTemplate:
        return pm4_dispatch.template(self.device.family, kernel, planned, self.address, self.scratch.setup)
