"""Operations between lanes, on LDS and on shared memory, as compiled from C, against a model in Python."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt
import pytest
from isa_machine import CORPUS, TARGETS, WAVE_SIZE, Loaded, Machine, levels

from pytest_amdgpu.driver.compiler import compile_source

M32, M64 = 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF
ROW = 64
WAVES = 3

pytestmark = pytest.mark.usefixtures("require_ziglang")
targets = pytest.mark.parametrize("target", TARGETS)


def programs(target: str, kernel: str) -> Iterator[tuple[str, Machine, Loaded]]:
    """The corpus file at the optimization levels to test, each on a machine of its own."""
    source = (CORPUS / "wave.c").read_text()
    for level in levels(target, kernel):
        machine = Machine(target)
        code = compile_source(source, target, options=(level, "-ffp-contract=off"), include=[CORPUS])
        yield level, machine, Loaded(machine, code)


def signed(x: int, bits: int = 32) -> int:
    x &= (1 << bits) - 1
    return x - (1 << bits) if x >> (bits - 1) else x


def dpp(values: list[int], control: int, old: int, rows: int, banks: int, bound: bool) -> list[int]:
    """update_dpp: what each lane gets; one that is masked or has no source keeps `old` (0 if `bound`)."""
    size = len(values)

    def source(lane: int) -> int | None:
        row, column, n = lane & ~15, lane & 15, control & 15
        if control < 0x100:
            return lane & ~3 | control >> 2 * (lane & 3) & 3
        inside: dict[int, int] = {
            0x100: column + n,
            0x110: column - n,
            0x120: (column - n) % 16,
            0x150: n,
            0x160: column ^ n,
        }
        match control:
            case 0x130:
                return lane + 1 if lane + 1 < size else None
            case 0x134:
                return (lane + 1) % size
            case 0x138:
                return lane - 1 if lane else None
            case 0x140:
                return row | 15 - column
            case 0x141:
                return lane ^ 7
            case 0x142:
                return row - 1 if row else None
            case 0x143:
                return 31 if lane >= 32 else None
        place = inside[control & 0x1F0]
        return row | place if 0 <= place < 16 else None

    result = []
    for lane in range(size):
        at = source(lane)
        if not rows >> (lane >> 4) & 1 or not banks >> (lane >> 2 & 3) & 1:
            result.append(old)
        elif at is None:
            result.append(0 if bound else old)
        else:
            result.append(values[at])
    return result


def octets(x: int) -> list[int]:
    return list(x.to_bytes(4, "little"))


def perm(high: int, low: int, control: int) -> int:
    """v_perm_b32 without the constants that the kernel does not use, apart from 12 (zero)."""
    data = octets(low) + octets(high)
    return int.from_bytes(bytes(0 if s == 12 else data[s] for s in octets(control)), "little")


def dot(a: int, b: int, bits: int, is_signed: bool, start: int) -> int:
    for i in range(32 // bits):
        x, y = a >> bits * i & (1 << bits) - 1, b >> bits * i & (1 << bits) - 1
        start += signed(x, bits) * signed(y, bits) if is_signed else x * y
    return start & M32


def lanes_model(values: list[int], first_item: int) -> list[list[int]]:
    """What the kernel `lanes` writes for one wave: columns of results."""
    size = len(values)
    items = [first_item + lane for lane in range(size)]
    odd = sum((value & 1) << lane for lane, value in enumerate(values))
    first = values[0]
    target = [(item * 5 + 3) % size for item in items]
    sent = [0] * size
    for lane, at in enumerate(target):
        sent[at] = values[lane]
    quad = [values[lane ^ 3] for lane in range(size)]
    columns = [
        [odd & M32] * size,
        [odd >> 32] * size,
        [(odd & (1 << lane) - 1).bit_count() for lane in range(size)],
        [first] * size,
        [values[7]] * size,
        [values[at] for at in target],
        sent,
        [values[lane ^ 1] for lane in range(size)],
        quad,
        quad,
        dpp(values, 0x111, 77, 15, 15, False),
        dpp(values, 0x101, 77, 15, 15, True),
        dpp(values, 0x121, 77, 15, 15, False),
        dpp(values, 0x140, 77, 15, 15, False),
        dpp(values, 0x141, 77, 15, 15, False),
        dpp(values, 0x112, 77, 0xA, 0x5, False),
        [values[lane] + values[lane ^ 1] & M32 for lane in range(size)],
        [signed(first >> 3, 9) & M32] * size,
        [value >> 5 & 0x7F for value in values],
        [perm(value, item * 0x01020304 & M32, 0x07020C01) for value, item in zip(values, items, strict=True)],
        [(value << 32 | item) >> (item & 31) & M32 for value, item in zip(values, items, strict=True)],
        [(value << 32 | item) >> 8 * (item & 3) & M32 for value, item in zip(values, items, strict=True)],
        [11 + sum(abs(x - y) for x, y in zip(octets(v), octets(first), strict=True)) for v in values],
        [12 + sum(abs(x - y) for x, y in zip(octets(v), octets(first), strict=True) if y) for v in values],
        [13 + abs((v & 0xFFFF) - (first & 0xFFFF)) + abs((v >> 16) - (first >> 16)) for v in values],
        [
            int.from_bytes(
                bytes((x + y + 1) >> 1 for x, y in zip(octets(v), octets(first), strict=True)), "little"
            )
            for v in values
        ],
        [dot(v, first, 8, True, 5) for v in values],
        [dot(v, first, 4, True, 6) for v in values],
        [dot(v, first, 8, False, 5) for v in values],
        [dot(v, first, 4, False, 6) for v in values],
        leaving_loop(values),
    ]
    if size == 32:
        select = 0xFEDCBA9876543210
        crossing = 0x0123456789ABCDEF
        columns += [
            [values[lane & 16 | select >> 4 * (lane & 15) & 15] for lane in range(size)],
            [values[lane & 16 ^ 16 | crossing >> 4 * (lane & 15) & 15] for lane in range(size)],
            [values[lane & ~7 | 0xFAC688 >> 3 * (lane & 7) & 7] for lane in range(size)],
            dpp(values, 0x155, 77, 15, 15, False),
            dpp(values, 0x163, 77, 15, 15, False),
        ]
    else:
        columns += [dpp(values, control, 77, 15, 15, False) for control in (0x130, 0x138, 0x134, 0x142)]
        columns.append(dpp(values, 0x143, 77, 0xC, 15, False))
    return columns


def leaving_loop(values: list[int]) -> list[int]:
    """The loop in which each round adds 1 or 2 as the first lane that is left has it."""
    loops = [0] * len(values)
    while active := [lane for lane, value in enumerate(values) if loops[lane] < value & 7]:
        step = 1 + (values[active[0]] & 1)
        for lane in active:
            loops[lane] += step
    return loops


@targets
def test_lanes_exchange_values(target: str) -> None:
    size = WAVE_SIZE[target]
    values = np.random.default_rng(41).integers(0, 1 << 32, WAVES * size, dtype=np.uint32)
    for level, machine, loaded in programs(target, "lanes"):
        given, result = machine.upload(values), machine.allocate(values.size * ROW * 4)
        loaded.launch("lanes", (given.address, result.address, values.size), groups=WAVES, block=size)
        got = result.data.view(np.uint32).reshape(WAVES, size, ROW)
        for wave in range(WAVES):
            columns = lanes_model(values[wave * size : (wave + 1) * size].tolist(), wave * size)
            for n, column in enumerate(columns):
                assert got[wave, :, n].tolist() == column, f"{level}: result {n} of wave {wave}"


def lds_model(values: list[int]) -> tuple[list[list[int]], list[int]]:
    """What the kernel `lds` writes for one wave: columns, and the multiset of tickets."""
    size = len(values)
    other = [(lane * 7 + 1) % size for lane in range(size)]
    octet = [0] * 1024
    for j in range(16):
        for lane, value in enumerate(values):
            octet[j * size + lane] = value >> j & 0xFF
    word = [octet[2 * o] | octet[2 * o + 1] << 8 for o in other]
    short = [signed(octet[2 * o + 64] | octet[2 * o + 65] << 8, 16) for o in other]
    columns = [
        [(values[o] ^ (values[o] + 1 & M32) ^ (values[o] + 3 & M32)) for o in other],
        [values[o] ^ o for o in other],
        [values[o] & 0xFFFF for o in other],
        [octet[3 * o] + (signed(octet[5 * o + 1], 8) << 8) & M32 for o in other],
        [(w + s) & M32 for w, s in zip(word, short, strict=True)],
    ]
    shared = [M32 if j == 5 else 0 for j in range(16) for _ in range(8)]
    for lane, value in enumerate(values):
        key = lane & 7
        shared[key] = shared[key] + value & M32
        shared[8 + key] = shared[8 + key] - value & M32
        shared[16 + key] = max(shared[16 + key], value)
        shared[24 + key] ^= value
        shared[32 + key] |= value
        shared[40 + key] &= value | 0xFF0000FF
        if not shared[56 + key]:
            shared[56 + key] = value | 1
    columns += [[shared[8 * j + (lane & 7)] for lane in range(size)] for j in range(6)]
    tickets = list(range(size))
    columns += [tickets, [size] * size, [shared[56 + (lane & 7)] for lane in range(size)]]
    return columns, tickets


@targets
def test_lds_loads_stores_and_atomics(target: str) -> None:
    size = WAVE_SIZE[target]
    values = np.random.default_rng(42).integers(0, 1 << 32, WAVES * size, dtype=np.uint32)
    for level, machine, loaded in programs(target, "lds"):
        given, result = machine.upload(values), machine.allocate(values.size * ROW * 4)
        loaded.launch("lds", (given.address, result.address, values.size), groups=WAVES, block=size)
        got = result.data.view(np.uint32).reshape(WAVES, size, ROW)
        for wave in range(WAVES):
            columns, tickets = lds_model(values[wave * size : (wave + 1) * size].tolist())
            for n, column in enumerate(columns):
                seen = got[wave, :, n].tolist()
                if column is tickets:
                    assert sorted(seen) == tickets, level
                elif n == len(columns) - 1:
                    # Whoever came first has stored its value; any lane of the same key may have.
                    allowed = [
                        {int(v) | 1 for v in values[wave * size + key : (wave + 1) * size : 8]}
                        for key in range(8)
                    ]
                    assert all(value in allowed[lane & 7] for lane, value in enumerate(seen)), level
                else:
                    assert seen == column, f"{level}: result {n} of wave {wave}"


@targets
def test_memory_atomics_lose_no_update(target: str) -> None:
    size = WAVE_SIZE[target]
    count = WAVES * size
    rng = np.random.default_rng(43)
    words = rng.integers(0, 1 << 32, 128, dtype=np.uint32)
    longs = rng.integers(0, 1 << 64, 128, dtype=np.uint64)
    words[80] = longs[80] = 0
    words[88:96] = 0
    for level, machine, loaded in programs(target, "memory_atomics"):
        areas = [machine.upload(area) for area in (words, longs, np.zeros(8, np.float32), np.zeros(8))]
        tickets = machine.allocate(count * 16)
        loaded.launch(
            "memory_atomics", [area.address for area in (*areas, tickets)], groups=WAVES, block=size
        )
        expected_words, expected_longs = [int(x) for x in words], [int(x) for x in longs]
        for item in range(count):
            key, a = item & 7, item * 2654435761 + 12345 & M32
            b = a * 0x123456789 & M64
            for cells, value, bits in ((expected_words, a, 32), (expected_longs, b, 64)):
                mask = (1 << bits) - 1
                operations: list[Callable[[int, int], int]] = [
                    lambda old, new: old + new,
                    lambda old, new: old - new,
                    min,
                    max,
                    lambda old, new: old & (new | 0xFF),
                    lambda old, new: old | new & 0xFF,
                    lambda old, new: old ^ new,
                    lambda old, new, bits=bits: min(signed(old, bits), signed(new, bits)),
                    lambda old, new, bits=bits: max(signed(old, bits), signed(new, bits)),
                ]
                for base, operation in enumerate(operations):
                    cells[8 * base + key] = operation(cells[8 * base + key], value) & mask
            expected_words[80] += 1
            expected_longs[80] += 1
            expected_words[96 + key] = expected_words[96 + key] * 3 + 1 & M32
            expected_longs[96 + key] = expected_longs[96 + key] + item & M64
        got_words, got_longs = areas[0].data.view(np.uint32), areas[1].data.view(np.uint64)
        assert got_words[:81].tolist() == expected_words[:81], level
        assert got_words[96:].tolist() == expected_words[96:], level
        assert got_longs.tolist() == expected_longs, level
        sums = np.zeros(8)
        np.add.at(sums, np.arange(count) & 7, np.arange(count) & 15)
        assert areas[2].data.view(np.float32)[:8].tolist() == sums.tolist(), level
        assert areas[3].data.view(np.float64)[:8].tolist() == sums.tolist(), level
        given = tickets.data.view(np.uint32).reshape(count, 4)
        assert sorted(given[:, 0].tolist()) == list(range(count)), level
        assert sorted(given[:, 1].tolist()) == list(range(count)), level
        check_exchanges(given[:, 2], got_words[88:96], count, level)


def check_exchanges(
    seen: npt.NDArray[np.uint32], last: npt.NDArray[np.uint32], count: int, level: str
) -> None:
    """Exchanged values form a chain: each value put in comes out once, or is the last."""
    for key in range(8):
        put = {item + 1 for item in range(key, count, 8)}
        out = [int(value) for value in seen[key::8]] + [int(last[key])]
        assert sorted(out) == sorted(put | {0}), level


@targets
def test_flat_addresses_reach_memory_lds_and_private_arrays(target: str) -> None:
    size = WAVE_SIZE[target]
    values = np.random.default_rng(44).integers(0, 1 << 32, WAVES * size, dtype=np.uint32)
    for level, machine, loaded in programs(target, "flat"):
        given, result = machine.upload(values), machine.allocate(values.size * 8)
        loaded.launch("flat", (given.address, result.address, values.size), groups=WAVES, block=size)
        got = result.data.view(np.uint32).reshape(-1, 2)
        after = given.data.view(np.uint32)
        for item, a in enumerate(values.tolist()):
            private = [a + i & M32 for i in range(4)]
            if a % 3 == 0:
                cell = a + 5
            elif a % 3 == 1:
                cell = (a ^ 0x5555) + 5
            else:
                private[a & 3] = private[a & 3] + 5 & M32
                cell = private[a & 3]
            first = cell + cell + (2 if a % 3 != 2 else 0)
            assert got[item].tolist() == [first & M32, private[a >> 4 & 3]], f"{level}: item {item}"
            assert after[item] == ((cell + 2) & M32 if a % 3 == 0 else a), f"{level}: item {item}"
