"""Scratch: how much memory, how many waves, and what registers and descriptors say of it.

Expected numbers are worked out by hand from the products' topologies (38 of 304 units per XCC with 32
slots each on MI300X; 96 units in 6 shader engines on RX 7900 XTX).
"""

from __future__ import annotations

import pytest
from fake_kernel import FakeKernel
from made_kernels import MadeKernel

from pytest_amdgpu.abi.kfd import AllocFlag
from pytest_amdgpu.driver.device import Device
from pytest_amdgpu.driver.errors import LaunchError
from pytest_amdgpu.driver.scratch import ScratchSetup
from pytest_amdgpu.driver.topology import discover
from pytest_amdgpu.families.registry import family


@pytest.mark.parametrize(
    ("model", "lane", "wave_units", "waves", "size"),
    [
        # Units of 1 KiB; 36 bytes become 64 per lane, 4096 per wave.
        ("mi300x", 36, 4, 38 * 32, 38 * 32 * 4096 * 8),
        ("mi300x", 1024, 64, 38 * 32, 38 * 32 * 65536 * 8),
        # One XCC; on gfx10 the register counts the waves of the whole GPU, too, with at most 12 bits.
        ("mi210", 36, 4, 104 * 32, 104 * 32 * 4096),
        ("rx6900xt", 36, 4, 80 * 32, 80 * 32 * 4096),
        ("mi350x", 36, 4, 32 * 32, 32 * 32 * 4096 * 8),
        # Units of 256 bytes; the register counts waves of one of 6 shader engines.
        ("strixhalo", 36, 16, 40 * 32 // 2, 40 * 32 * 4096),
        ("r9700", 36, 16, 64 * 32 // 4, 64 * 32 * 4096),
        ("rx7900xtx", 36, 16, 96 * 32 // 6, 96 * 32 * 4096),
    ],
)
def test_sizes(model: str, lane: int, wave_units: int, waves: int, size: int) -> None:
    fake = FakeKernel(model)
    with Device.open(fake, discover(fake)[0]) as device, device.compute_queue() as queue:
        assert queue.scratch.require(lane, "made")
        setup = queue.scratch.setup
        assert setup.tmpring_size == waves | wave_units << 12
        assert setup.size == size
        (buffer,) = queue.scratch.buffers
        assert buffer.address == setup.address
        held = next(o for o in fake.objects.values() if o.address == setup.address)
        assert held.flags & (AllocFlag.VRAM | AllocFlag.PUBLIC) == AllocFlag.VRAM


def test_it_grows_by_doubling_and_keeps_the_old_until_the_queue_closes(device: Device) -> None:
    with device.compute_queue("pm4", 4096) as queue:
        assert queue.scratch.require(100, "made")
        assert queue.scratch.setup.lane_size == 128
        assert not queue.scratch.require(128, "made")
        assert queue.scratch.require(129, "made")
        assert queue.scratch.setup.lane_size == 256
        assert len(queue.scratch.buffers) == 2
        old = queue.scratch.buffers[0]
        assert not old.freed
    assert old.freed


def test_fewer_waves_run_where_memory_is_short() -> None:
    fake = FakeKernel("rx7900xtx")
    with Device.open(fake, discover(fake)[0]) as device, device.compute_queue() as queue:
        queue.scratch.require(1 << 16, "made")
        setup = queue.scratch.setup
        # 4 MiB per wave: an eighth of 25753026560 bytes holds 767 of them, 127 per engine.
        assert setup.tmpring_size & 0xFFF == 127
        assert setup.size == 127 * 6 * (4 << 20)


def test_more_than_a_wave_can_have_is_refused(device: Device) -> None:
    with device.compute_queue("pm4", 4096) as queue:
        with pytest.raises(LaunchError, match=r"hungry: .* bytes of private memory per work-item"):
            queue.scratch.require(1 << 26, "hungry")
        with pytest.raises(LaunchError, match="hungry"):
            queue.record().dispatch(MadeKernel("hungry", private_segment_size=1 << 26), 64)


def test_not_even_one_wave_fits() -> None:
    fake = FakeKernel("rx7900xtx")
    path = next(path for path in fake.files if path.endswith("mem_banks/0/properties"))
    fake.files[path] = fake.files[path].replace("25753026560", str(1 << 20))
    refused = pytest.raises(LaunchError, match=r"small: 65536 .* share of 1/8 of the 1048576 bytes of VRAM")
    with Device.open(fake, discover(fake)[0]) as device, device.compute_queue() as queue, refused:
        queue.scratch.require(1 << 16, "small")


def test_a_dispatch_takes_what_it_needs(device: Device) -> None:
    with device.compute_queue("pm4", 4096) as queue:
        queue.record().dispatch(MadeKernel(), 64)
        assert not queue.scratch.buffers
        queue.record().dispatch(MadeKernel(private_segment_size=20), 64)
        assert queue.scratch.setup.lane_size == 32


def test_buffer_resource_of_generations_without_architected_flat_scratch() -> None:
    """Fields of the last dword, from the ISA documents: DST_SEL X, Y, Z, W in bits 11:0 and ADD_TID in 23."""
    setup = ScratchSetup(0x7F12_3456_7000, 0x20000, 64, 0)
    for name in ("gfx90a", "gfx1030"):
        base, high, records, word3 = setup.resource(family(name))
        assert (base, high & 0xFFFF, records) == (0x34567000, 0x7F12, 0x20000)
        assert high >> 31 == 1
        assert word3 & 0xFFF == 4 | 5 << 3 | 6 << 6 | 7 << 9
        assert word3 >> 23 & 1
    # gfx9: UINT of DATA_FORMAT_32, elements of 4 bytes, index stride 64.
    word3 = setup.resource(family("gfx90a"))[3]
    assert (word3 >> 12 & 7, word3 >> 15 & 15, word3 >> 19 & 3, word3 >> 21 & 3) == (4, 4, 1, 3)
    assert setup.resource(family("gfx90a"), 64)[3] == word3
    # gfx10: FORMAT 32_UINT, RESOURCE_LEVEL 1, no check of bounds; the index stride is left to who dispatches.
    word3 = setup.resource(family("gfx1030"))[3]
    assert (word3 >> 12 & 127, word3 >> 24 & 1, word3 >> 28 & 3, word3 >> 21 & 3) == (20, 1, 2, 0)
    assert setup.resource(family("gfx1030"), 32)[3] == word3 | 2 << 21
    assert setup.resource(family("gfx1030"), 64)[3] == word3 | 3 << 21
