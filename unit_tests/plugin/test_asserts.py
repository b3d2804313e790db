"""assert_equal finds every difference and says where it is."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from pytest_amdgpu.asserts import assert_equal


def _buffer(array: np.ndarray) -> SimpleNamespace:
    return SimpleNamespace(array=array.view(np.uint8))


def test_equal_things_pass() -> None:
    data = np.arange(1000, dtype=np.uint32)
    assert_equal(data, data.copy())
    assert_equal(_buffer(data), _buffer(data.copy()))
    assert_equal(_buffer(data), data)
    assert_equal(np.zeros(0), np.zeros(0))
    assert_equal(np.array([np.nan, -0.0]), np.array([np.nan, -0.0]))
    assert_equal(data[::2], data[::2].copy())


def test_differences_are_counted_and_shown_with_their_offsets() -> None:
    expected = np.zeros(4096, np.uint8)
    actual = expected.copy()
    actual[[16, 17, 4000]] = 0xEE
    with pytest.raises(AssertionError) as caught:
        assert_equal(_buffer(actual), _buffer(expected))
    assert str(caught.value).splitlines() == [
        "3 of 4096 bytes differ, from offset 0x10 to 0xfa0",
        "  at 0x10: 0xee, expected 0x00",
        "  at 0x11: 0xee, expected 0x00",
        "  at 0xfa0: 0xee, expected 0x00",
    ]


def test_elements_are_shown_as_such() -> None:
    with pytest.raises(AssertionError, match=r"1 of 3 elements of float32 differ, from offset 0x4 to 0x7"):
        assert_equal(np.array([1, 2.5, 3], np.float32), np.array([1, 2, 3], np.float32))


def test_zeros_of_different_sign_differ() -> None:
    with pytest.raises(AssertionError, match=r"at 0x0: -0.0, expected 0.0"):
        assert_equal(np.array([-0.0]), np.array([0.0]))


def test_many_differences_are_cut_short() -> None:
    with pytest.raises(AssertionError) as caught:
        assert_equal(np.zeros(100, np.uint16), np.ones(100, np.uint16))
    assert len(str(caught.value).splitlines()) == 10


@pytest.mark.parametrize(
    ("actual", "expected"),
    [
        (np.zeros(3), np.zeros(4)),
        (np.zeros(4, np.uint32), np.zeros(4, np.int32)),
        (np.zeros((2, 2)), np.zeros(4)),
    ],
)
def test_other_shapes_and_types_never_are_equal(actual: np.ndarray, expected: np.ndarray) -> None:
    with pytest.raises(AssertionError, match="cannot equal"):
        assert_equal(actual, expected)
