"""The ioctl that makes a listener to system management events."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from pytest_amdgpu.abi.kfd import KfdIoctl, SmiEventsArgs
from pytest_amdgpu.emulator.refusal import Refusal

if TYPE_CHECKING:
    from pytest_amdgpu.emulator.process import Handler, Process


def smi_events(process: Process, args: SmiEventsArgs) -> None:
    """Open a listener to one GPU. Its descriptor is not closed on exec, as in kfd_smi_event_open."""
    device = process.device(args.gpuid)
    try:
        file = device.gpu.smi.listen()
    except OSError as error:
        raise Refusal(error.errno or errno.EIO, f"no descriptor: {error}") from None
    process.machine.files.install(file, file.fd)
    args.anon_fd = file.fd


HANDLERS: dict[KfdIoctl, Handler] = {KfdIoctl.SMI_EVENTS: smi_events}
