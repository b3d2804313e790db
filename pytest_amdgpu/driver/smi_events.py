"""A descriptor of a GPU's system management events, which whoever has it can read, also another process."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable

from pytest_amdgpu.abi.kfd import KfdIoctl, SmiEvent, SmiEventsArgs
from pytest_amdgpu.driver.kfd_process import connect
from pytest_amdgpu.driver.topology import GpuNode
from pytest_amdgpu.kernel.protocol import Kernel

DEVICE_EVENTS = (
    SmiEvent.VMFAULT,
    SmiEvent.THERMAL_THROTTLE,
    SmiEvent.GPU_PRE_RESET,
    SmiEvent.GPU_POST_RESET,
)
"""Those that concern the GPU, whoever was the cause: every process may hear them, with no privilege.

kfd_smi_events.c adds them without the pid of a process, so that no listener is passed over.
"""


def listen(kernel: Kernel, node: GpuNode, events: Iterable[SmiEvent] = DEVICE_EVENTS) -> int:
    """Return a descriptor of the events of a GPU from now on, for `kernel.close`; reading it never blocks.

    Raises `DeviceOpenError`, `KernelError`.
    """
    arguments = SmiEventsArgs(gpuid=node.gpu_id)
    connect(kernel).ioctl(KfdIoctl.SMI_EVENTS, arguments)
    fd = int(arguments.anon_fd)
    try:
        # kfd_smi_event_open asks for no O_CLOEXEC.
        os.set_inheritable(fd, False)
        kernel.write(fd, sum(1 << (event - 1) for event in events).to_bytes(8, sys.byteorder))
    except BaseException:
        kernel.close(fd)
        raise
    return fd
