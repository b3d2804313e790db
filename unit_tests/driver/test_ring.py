"""The ring: wrap, free space, order of stores, and what happens when it is full."""

from __future__ import annotations

import pytest

from pytest_amdgpu.driver.errors import CommandError, WaitTimeoutError
from pytest_amdgpu.driver.ring import Ring, SpaceWait

SIZE = 4096


class Setup:
    """A ring in plain memory, and what was stored to its doorbell."""

    name = "plain"

    def __init__(self, unit: int = 1, bias: int = 0) -> None:
        self.memory = bytearray(SIZE)
        self.read = memoryview(bytearray(8)).cast("Q")
        self.write = memoryview(bytearray(8)).cast("Q")
        self.stores: list[tuple[int, int, int]] = []
        self.waits = 0
        self.ring = Ring(
            self,  # type: ignore[arg-type]
            memoryview(self.memory),
            self.read,
            self.write,
            0xD00,
            unit=unit,
            doorbell_bias=bias,
            padding=lambda size: b"\xee" * size,
        )

    def store_doorbell(self, address: int, value: int) -> None:
        self.stores.append((address, value, self.write[0]))

    def put(self, code: bytes) -> int:
        start = self.ring.place(code, self.wait)
        self.ring.publish()
        return start

    def wait(self) -> SpaceWait:
        self.waits += 1
        return SpaceWait(0.0, lambda: None, lambda: "the state")


def test_the_write_pointer_is_stored_before_the_doorbell() -> None:
    setup = Setup()
    setup.put(b"abcd")
    assert setup.stores == [(0xD00, 4, 4)]
    assert setup.memory[:5] == b"abcd\0"


@pytest.mark.parametrize(
    ("unit", "bias", "pointer", "doorbell"), [(1, 0, 128, 128), (4, 0, 32, 32), (64, 1, 2, 1)]
)
def test_pointers_count_units_of_the_queue(unit: int, bias: int, pointer: int, doorbell: int) -> None:
    setup = Setup(unit, bias)
    setup.put(bytes(128))
    assert setup.stores == [(0xD00, doorbell, pointer)]
    assert setup.ring.write_pointer == pointer


def test_nothing_is_visible_before_publish() -> None:
    setup = Setup()
    setup.ring.place(b"abcd", setup.wait)
    assert setup.ring.write_pointer == 0
    assert setup.stores == []


def test_code_that_does_not_fit_the_end_begins_anew_behind_padding() -> None:
    setup = Setup()
    setup.put(b"a" * 2000)
    setup.put(b"b" * 1996)
    setup.read[0] = 3996
    assert setup.put(b"c" * 200) == 0
    assert setup.memory[3996:] == b"\xee" * 100
    assert setup.memory[:200] == b"c" * 200
    assert setup.write[0] == SIZE + 200
    assert not setup.waits


def test_code_that_fits_the_end_exactly_needs_no_padding() -> None:
    setup = Setup()
    setup.put(b"a" * 2048)
    setup.read[0] = 2048
    assert setup.put(b"b" * 2048) == 2048
    setup.read[0] = 4096
    assert setup.put(b"c") == 0
    assert b"\xee" not in setup.memory


def test_pointers_never_wrap() -> None:
    setup = Setup()
    for _ in range(100):
        setup.put(bytes(1000))
        setup.read[0] = setup.write[0]
    assert setup.write[0] > 24 * SIZE


@pytest.mark.parametrize("wrapping", [False, True])
def test_a_read_pointer_may_be_reported_modulo_the_ring(wrapping: bool) -> None:
    setup = Setup(unit=4)
    for _ in range(40):
        setup.put(bytes(400))
        read = setup.write[0]
        setup.read[0] = read % (SIZE // 4) if wrapping else read
        assert setup.ring.drained


def test_a_full_ring_keeps_its_reserve_and_times_out_with_the_state() -> None:
    setup = Setup()
    setup.put(bytes(2048))
    setup.put(bytes(SIZE - 2048 - 64))
    assert not setup.ring.drained
    with pytest.raises(WaitTimeoutError, match=r"stayed full for 0 s\nthe state"):
        setup.put(b"x")
    assert setup.write[0] == SIZE - 64


def test_a_full_ring_goes_on_when_it_drains() -> None:
    setup = Setup()
    setup.put(bytes(2048))
    setup.put(bytes(SIZE - 2048 - 64))

    class Draining(SpaceWait):
        def __call__(self) -> None:
            setup.read[0] += 16

    setup.ring.place(b"x" * 40, lambda: Draining(1.0, lambda: None, str))
    assert setup.read[0] == 48
    assert setup.memory[SIZE - 64 : SIZE - 24] == b"x" * 40


def test_a_fault_ends_the_wait_for_space() -> None:
    def check() -> None:
        raise RuntimeError("fault")

    with pytest.raises(RuntimeError, match="fault"):
        SpaceWait(1.0, check, str)()


def test_code_longer_than_the_ring_is_refused() -> None:
    setup = Setup()
    with pytest.raises(CommandError, match="bytes of commands and padding cannot fit a ring of 4096 bytes"):
        setup.put(bytes(4097))


def test_the_longest_code_fits_wherever_the_ring_ends() -> None:
    for start in range(0, SIZE, 64):
        setup = Setup()
        for piece in (start // 2, start - start // 2):
            setup.put(bytes(piece))
        setup.read[0] = setup.write[0]
        setup.put(bytes(setup.ring.longest))
        assert not setup.waits


def test_pending_words_are_what_the_engine_has_not_read() -> None:
    setup = Setup(unit=4)
    setup.put(bytes(range(32)))
    setup.read[0] = 2
    assert bytes(setup.ring.pending_words()) == bytes(range(8, 32))


def words(setup: Setup) -> list[bytes]:
    return [bytes(view) for view in setup.ring.read_words()]


def test_what_the_engine_has_read_of_the_last_submissions() -> None:
    setup = Setup()
    for letter in (b"a", b"b", b"c"):
        setup.put(letter * 8)
    assert words(setup) == []
    setup.read[0] = 12
    assert words(setup) == [b"a" * 8, b"b" * 4]
    setup.read[0] = 24
    assert words(setup) == [b"a" * 8, b"b" * 8, b"c" * 8]


def test_of_what_was_overwritten_nothing_is_shown() -> None:
    setup = Setup()
    setup.put(b"a" * 2000)
    setup.put(b"b" * 1000)
    setup.read[0] = 3000
    # Does not fit before the end, and begins anew.
    assert setup.put(b"c" * 1800) == 0
    setup.read[0] = SIZE + 1800
    assert words(setup) == [b"b" * 1000, b"c" * 1800]


def test_only_the_last_submissions_are_remembered() -> None:
    setup = Setup()
    for number in range(20):
        setup.put(bytes([number]) * 4)
    setup.read[0] = 80
    assert words(setup) == [bytes([number]) * 4 for number in range(4, 20)]
