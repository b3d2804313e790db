"""What the kernel refuses of a GPU that an injected defect has taken away."""

from __future__ import annotations

import errno

from kfd_client import PAGE, WRITABLE_VRAM, Client

from pytest_amdgpu.abi.kfd import KfdIoctl
from pytest_amdgpu.emulator.injection.devices import DeviceGone
from pytest_amdgpu.emulator.injection.spec import make_injection


def test_calls_about_a_gpu_that_is_gone_enodev(client: Client) -> None:
    args = client.buffer()
    injections = client.kernel.injections
    defect = injections.add(make_injection(DeviceGone.name, {}), client.gpu)
    assert isinstance(defect, DeviceGone)
    defect.strike(client.kernel._machine)
    fields = {"va_addr": 1 << 40, "size": PAGE, "gpu_id": client.gpu_id, "flags": WRITABLE_VRAM}
    client.refused(errno.ENODEV, KfdIoctl.ALLOC_MEMORY_OF_GPU, **fields)
    assert client.kernel.log[-1].endswith(f"ENODEV: {client.gpu!r} is gone")
    client.unmap(args.handle)
    client.call(KfdIoctl.FREE_MEMORY_OF_GPU, handle=args.handle)
    injections.remove(defect)
    client.call(KfdIoctl.ALLOC_MEMORY_OF_GPU, **fields)
