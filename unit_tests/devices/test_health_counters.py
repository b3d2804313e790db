"""Counters of damage, read from files as amdgpu and the PCI core write them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from pytest_amdgpu.devices.health_counters import Counters, changes, read_counters
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
    f"{DIRECTORY}/aer_dev_fatal": "Undefined 0\nDLP 0\nTOTAL_ERR_FATAL 4\n",
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
def read(kernel: KernelWithCounters) -> Iterator[Callable[[], Counters]]:
    with Device.open(kernel, discover(kernel)[0]) as device:
        yield lambda: read_counters(kernel, device)


def test_each_counter_has_its_name(read: Callable[[], Counters]) -> None:
    counters = read()
    assert counters.counts == {
        "umc ue errors": 1,
        "umc ce errors": 20,
        "gfx ue errors": 0,
        "gfx ce errors": 0,
        "gfx de errors": 3,
        "PCIe errors (aer_dev_fatal)": 4,
        "PCIe errors (aer_dev_correctable)": 5,
        "resets that lost VRAM": 0,
    }
    assert counters.damage == {"umc ue errors", "gfx ue errors", "PCIe errors (aer_dev_fatal)"}


def test_what_was_before_is_nobodys_fault(read: Callable[[], Counters], kernel: KernelWithCounters) -> None:
    before = read()
    assert changes(before, read(), exclusive=True) == ([], [])
    kernel.files[f"{DIRECTORY}/ras/umc_err_count"] = "ue: 3\nce: 21\n"
    kernel.reset_gpu(0)
    found = changes(before, read(), exclusive=True)
    assert found.damage == ["2 more umc ue errors"]
    assert found.notes == ["1 more umc ce errors", "1 more resets that lost VRAM"]


def test_memory_is_not_counted_while_something_is_out(kernel: KernelWithCounters) -> None:
    with Device.open(kernel, discover(kernel)[0]) as device:
        assert read_counters(kernel, device).free_vram
        device.vram(1 << 20)
        assert read_counters(kernel, device).free_vram is None


def test_a_gpu_that_does_not_answer_is_an_error(kernel: KernelWithCounters) -> None:
    with Device.open(kernel, discover(kernel)[0]) as device:
        kernel.gpus[0].gone = True
        with pytest.raises(KernelError, match="ENOENT"):
            read_counters(kernel, device)
