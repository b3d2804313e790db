"""Counters of damage, read from files as amdgpu and the PCI core write them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from pytest_amdgpu.devices import health_counters
from pytest_amdgpu.devices.health_counters import Reading, changes
from pytest_amdgpu.driver.device import Device
from pytest_amdgpu.driver.topology import discover
from pytest_amdgpu.emulator.kernel import EmulatedKernel
from pytest_amdgpu.families.models import model
from pytest_amdgpu.kernel.protocol import KernelError

DIRECTORY = "/sys/class/drm/renderD128/device"
FILES = {
    f"{DIRECTORY}/ras/umc_err_count": "ue: 1\nce: 20\n",
    f"{DIRECTORY}/ras/features": "feature mask: 0x1fff\n",
    f"{DIRECTORY}/ras/gfx_err_count": "ue: 0\nce: 0\nde: 3\n",
    f"{DIRECTORY}/aer_dev_fatal": "Undefined 0\nDLP 0\nTOTAL_ERR_FATAL 0\n",
    f"{DIRECTORY}/aer_dev_correctable": "RxErr 5\nBadTLP 0\nTOTAL_ERR_COR 5\n",
}


class KernelWithCounters(EmulatedKernel):
    """Has the files that software GPUs lack."""

    files: dict[str, str]

    def listdir(self, path: str) -> list[str]:
        below = [file.removeprefix(f"{path}/") for file in self.files if file.startswith(f"{path}/")]
        own = super().listdir(path) if not path.endswith("/ras") else []
        return [*own, *dict.fromkeys(name.partition("/")[0] for name in below)]

    def read_text(self, path: str) -> str:
        return self.files[path] if path in self.files else super().read_text(path)


@pytest.fixture
def kernel() -> Iterator[KernelWithCounters]:
    made = KernelWithCounters([model("mi300x")])
    made.files = dict(FILES)
    yield made
    made.shutdown()


@pytest.fixture
def read(kernel: KernelWithCounters) -> Iterator[Callable[[], Reading]]:
    with Device.open(kernel, discover(kernel)[0]) as device:
        yield lambda: health_counters.read(kernel, device)


def test_what_was_before_is_nobodys_fault(read: Callable[[], Reading], kernel: KernelWithCounters) -> None:
    before = read()
    assert changes(before, read(), exclusive=True) == ([], [])
    kernel.files[f"{DIRECTORY}/ras/umc_err_count"] = "ue: 3\nce: 21\n"
    kernel.files[f"{DIRECTORY}/aer_dev_fatal"] = "Undefined 0\nDLP 4\nTOTAL_ERR_FATAL 4\n"
    kernel.reset_gpu(0)
    found = changes(before, read(), exclusive=True)
    assert found.damage == ["umc uncorrectable: 1 -> 3", "PCIe fatal DLP: 0 -> 4"]
    assert found.notes == ["umc correctable: 20 -> 21", "resets that lost VRAM: 0 -> 1"]


def test_memory_is_not_counted_while_something_is_out(kernel: KernelWithCounters) -> None:
    with Device.open(kernel, discover(kernel)[0]) as device:
        assert health_counters.read(kernel, device).free_vram
        device.vram(1 << 20)
        assert health_counters.read(kernel, device).free_vram is None


def test_a_gpu_that_does_not_answer_is_an_error(kernel: KernelWithCounters) -> None:
    with Device.open(kernel, discover(kernel)[0]) as device:
        kernel.gpus[0].gone = True
        with pytest.raises(KernelError, match="ENOENT"):
            health_counters.read(kernel, device)
