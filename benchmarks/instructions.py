"""Speed of the emulated instruction set (numpy back end), through the driver and the command processor.

One thread does all the work, so CPU time is what a machine with nothing else to do needs.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import measure
import numpy as np
import numpy.typing as npt

from pytest_amdgpu.driver.code_object import parse
from pytest_amdgpu.driver.device import Device
from pytest_amdgpu.driver.kernarg import Argument
from pytest_amdgpu.driver.program import ProgramKernel
from pytest_amdgpu.driver.topology import discover
from pytest_amdgpu.emulator.isa.decode.decoder import decoder
from pytest_amdgpu.emulator.isa.decode.instruction import Instruction
from pytest_amdgpu.emulator.isa.dispatch import LANES
from pytest_amdgpu.emulator.kernel import EmulatedKernel
from pytest_amdgpu.families.models import model
from pytest_amdgpu.families.registry import family

MANY_WAVES = 4096
MANY_TARGET, ONE_TARGET = 1e9, 20e6
"""Lane-instructions per second of a uniform arithmetic kernel, with many waves and with one."""

Words = npt.NDArray[np.uint32]


@dataclass(frozen=True)
class Sizes:
    """How long the kernels run: rounds of the arithmetic loop, and work-items of the divergent one."""

    many_rounds: int
    one_rounds: int
    collatz_items: int
    repeats: int


FULL = Sizes(many_rounds=200, one_rounds=10_000, collatz_items=1 << 16, repeats=5)
QUICK = Sizes(many_rounds=2, one_rounds=20, collatz_items=256, repeats=1)


def loop_instructions(target: str) -> int:
    """Count the vector instructions in the loop of the kernel `mix`; scalar ones and branches do not count.

    A vector instruction is one lane-instruction in every lane, whatever it computes.
    """
    code_object = parse((measure.KERNELS / target / "arithmetic.co").read_bytes())
    info = code_object.kernels["mix"]
    segment = next(part for part in code_object.segments if part.executable)
    code = memoryview(segment.data)[info.entry_address - segment.address :]
    decode = decoder(family(target), info.wave_size).decode
    instructions: list[Instruction] = []
    offset = 0
    while not instructions or instructions[-1].name != "s_endpgm":
        instructions.append(decode(code, offset))
        offset += instructions[-1].size
    for branch in instructions:
        begin = branch.branch_target if branch.name.startswith("s_cbranch") else branch.offset
        if begin < branch.offset:
            loop = [inst for inst in instructions if begin <= inst.offset < branch.offset]
            return sum(inst.name.startswith("v_") for inst in loop)
    raise AssertionError(f"the kernel mix of {target} has no loop")


def mix(count: int, rounds: int) -> Words:
    """Compute on the host what the kernel `mix` does."""
    index = np.arange(count, dtype=np.uint32)
    a, b = index * np.uint32(2654435761), index ^ np.uint32(0x9E3779B9)
    for _ in range(rounds):
        a = a * np.uint32(1664525) + np.uint32(1013904223)
        b = (b ^ a) + (b << np.uint32(5))
        a ^= b >> np.uint32(7)
    return a ^ b


def collatz_steps(start: Words) -> Words:
    """Compute on the host what the kernel `collatz` does."""
    n, steps = start.copy(), np.zeros_like(start)
    while (n > 1).any():
        steps += n > 1
        n = np.where(n > 1, np.where(n & 1, 3 * n + 1, n // 2), n)
    return steps


class Runner:
    """Runs kernels on a device and waits for their end."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self.wave_size = max(device.family.wave_sizes)
        self._queue = device.compute_queue()
        self._semaphore = device.timeline_semaphore()
        self._values = itertools.count(1)

    def kernel(self, source: str, name: str) -> ProgramKernel:
        """Load a kernel of `hw_tests`."""
        return self.device.load(measure.KERNELS / self.device.family.name / f"{source}.co")[name]

    def run(self, kernel: ProgramKernel, items: int, args: Sequence[Argument]) -> None:
        """Run a kernel over a row of work-items."""
        value = next(self._values)
        self._queue.dispatch(kernel, items, args).signal(self._semaphore, value).submit()
        self._semaphore.wait(value, 600)


def numpy_samples(lanes: int, calls: int) -> tuple[measure.Samples, Callable[[], None]]:
    """Return what adds a round of multiplying and adding `lanes` numbers, two operations of numpy."""
    samples = measure.Samples()
    a, b = np.arange(lanes, dtype=np.uint32), np.arange(lanes, dtype=np.uint32)
    c = np.empty_like(a)

    def multiply_and_add() -> None:
        np.multiply(a, b, out=c)
        np.add(c, a, out=c)

    return samples, lambda: samples.process_cpu(multiply_and_add, calls, 3)


def report_mix(runner: Runner, waves: int, rounds: int, repeats: int, target: float) -> None:
    """Print the speed of the uniform kernel."""
    name, lanes = runner.device.family.name, waves * runner.wave_size
    kernel, out = runner.kernel("arithmetic", "mix"), runner.device.vram(4 * lanes)
    taken = measure.Samples()
    # As many lanes as the emulator runs together, which stay in the cache.
    numpy, add_numpy = numpy_samples(min(lanes, LANES), 1000 if waves == 1 else 100)
    runner.run(kernel, lanes, [out, 2, lanes])
    if not np.array_equal(out.view(np.uint32), mix(lanes, 2)):
        raise AssertionError(f"{name}: the kernel mix computed wrongly")
    for _ in range(repeats):
        add_numpy()
        taken.process_cpu(lambda: runner.run(kernel, lanes, [out, rounds, lanes]))
    speed = loop_instructions(name) * rounds * lanes / taken.best
    numpy_speed = 2 * min(lanes, LANES) / numpy.best
    measure.row(
        f"{name} mix, {waves} wave{'s' if waves > 1 else ''}",
        f"{speed / 1e6:.1f} M/s",
        f">= {target / 1e6:g} M/s",
        speed >= target,
        f"{speed / numpy_speed:.3f} x numpy, {numpy_speed / 1e6:.0f} M/s",
    )


def report_collatz(runner: Runner, items: int, repeats: int) -> None:
    """Print the speed of the divergent kernel, in steps of the sequence over all work-items."""
    name = runner.device.family.name
    kernel, out, start = runner.kernel("collatz", "collatz"), runner.device.vram(4 * items), np.arange(items)
    source = runner.device.gtt(4 * items)
    source.view(np.uint32)[:] = start + 1
    taken, numpy = measure.Samples(), measure.Samples()
    expected: list[Words] = []
    for _ in range(repeats):
        numpy.process_cpu(lambda: expected.append(collatz_steps(source.view(np.uint32))), batches=1)
        taken.process_cpu(lambda: runner.run(kernel, items, [out, source, items]), batches=1)
    if not np.array_equal(out.view(np.uint32), expected[0]):
        raise AssertionError(f"{name}: the kernel collatz computed wrongly")
    steps = int(expected[0].sum())
    measure.row(
        f"{name} Collatz, {items} work-items",
        f"{steps / taken.best / 1e6:.1f} M/s",
        "(steps)",
        None,
        f"{numpy.best / taken.best:.3f} x numpy, {steps / numpy.best / 1e6:.1f} M/s",
    )


def main() -> None:
    """Print rows for both targets."""
    sizes = QUICK if measure.is_quick(__doc__) else FULL
    print("lane-instructions (vector instructions times lanes; scalar ones do not count) per second of")
    print("CPU time of the process, against multiplications and additions of 32-bit numbers by numpy")
    for name in measure.MODELS.values():
        kernel = EmulatedKernel([model(name)])
        with Device.open(kernel, discover(kernel)[0]) as device:
            runner = Runner(device)
            report_mix(runner, MANY_WAVES, sizes.many_rounds, sizes.repeats, MANY_TARGET)
            report_mix(runner, 1, sizes.one_rounds, sizes.repeats, ONE_TARGET)
            report_collatz(runner, sizes.collatz_items, sizes.repeats)
        kernel.shutdown()


if __name__ == "__main__":
    main()
