"""SET_CU_MASK: which bits of the engines' masks in the queue's descriptor a bit of the mask becomes.

Expected values follow the comments and the loop of mqd_symmetrically_map_cu_mask (kfd_mqd_manager.c), worked
out by hand for the topology of each product.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable

import pytest
from kfd_client import Client, StubEngine

from pytest_amdgpu.abi.kfd import KfdIoctl, QueueType
from pytest_amdgpu.emulator.refusal import KfdMisuse


def masks(client: Client, engines: list[StubEngine], bits: int, words: int) -> tuple[tuple[int, ...], ...]:
    """Set a mask and return what reaches the engine, by XCC and shader engine."""
    queue = client.create_queue(QueueType.COMPUTE_AQL)
    mask = (ctypes.c_uint32 * words)(*(bits >> 32 * word & 0xFFFFFFFF for word in range(words)))
    client.call(
        KfdIoctl.SET_CU_MASK,
        queue_id=queue.queue_id,
        num_cu_mask=32 * words,
        cu_mask_ptr=ctypes.addressof(mask),
    )
    name, found = engines[-1].calls[-1]
    assert name == "masks"
    return found  # type: ignore[no-any-return]


hanging = pytest.mark.filterwarnings("ignore:SET_CU_MASK leaves queue 0 no compute unit")
"""For tests of one bit, which is in one XCC."""


@hanging
@pytest.mark.parametrize(
    ("bit", "xcc", "engine", "expected"),
    [
        (0, 0, 0, 1 << 0),
        (1, 1, 0, 1 << 0),
        (7, 7, 0, 1 << 0),
        (8, 0, 1, 1 << 0),
        (24, 0, 3, 1 << 0),
        (32, 0, 0, 1 << 1),
        # Engines 0 and 2 have 9 units, 1 and 3 have 10: behind 8 * 36 bits only those two go on.
        (8 * 36, 0, 1, 1 << 9),
        (8 * 37 + 5, 5, 3, 1 << 9),
    ],
)
def test_a_bit_on_eight_xccs(
    make_client: Callable[..., Client],
    engines: list[StubEngine],
    bit: int,
    xcc: int,
    engine: int,
    expected: int,
) -> None:
    found = masks(make_client("mi300x"), engines, 1 << bit, 10)
    assert len(found) == 8
    assert {(x, e): mask for x, row in enumerate(found) for e, mask in enumerate(row) if mask} == {
        (xcc, engine): expected
    }


@pytest.mark.parametrize(
    ("pair", "engine", "expected"),
    [
        # Six engines of two arrays with four pairs each: engines first, then arrays, then pairs.
        (0, 0, 0b11),
        (5, 5, 0b11),
        (6, 0, 0b11 << 16),
        (12, 0, 0b11 << 2),
        (47, 5, 0b11 << 22),
    ],
)
def test_a_pair_on_rdna(
    make_client: Callable[..., Client], engines: list[StubEngine], pair: int, engine: int, expected: int
) -> None:
    ((*found,),) = masks(make_client("rx7900xtx"), engines, 3 << 2 * pair, 3)
    assert {index: mask for index, mask in enumerate(found) if mask} == {engine: expected}


def test_a_short_mask_leaves_the_rest_off(
    make_client: Callable[..., Client], engines: list[StubEngine]
) -> None:
    # MI210: eight engines of one array. 32 bits are four units of each.
    (found,) = masks(make_client("mi210"), engines, 0xFFFFFFFF, 1)
    assert found == (0xF,) * 8


def test_bits_beyond_the_units_do_nothing(
    make_client: Callable[..., Client], engines: list[StubEngine]
) -> None:
    # 104 units; 1024 bits.
    (found,) = masks(make_client("mi210"), engines, (1 << 1024) - 1, 32)
    assert found == (0x1FFF,) * 8


def test_a_mask_without_units_is_accepted(
    make_client: Callable[..., Client], engines: list[StubEngine]
) -> None:
    """The kernel does not mind; the queue's waves hang, which is warned about."""
    with pytest.warns(KfdMisuse, match="leaves queue 0 no compute unit of XCC 0: waves there will hang"):
        (found,) = masks(make_client("mi210"), engines, 0, 4)
    assert found == (0,) * 8


def test_xccs_without_units_are_named(make_client: Callable[..., Client], engines: list[StubEngine]) -> None:
    with pytest.warns(KfdMisuse, match="no compute unit of XCC 0, 3: waves"):
        masks(make_client("mi300x"), engines, 0b11110110, 10)
