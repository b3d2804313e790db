"""Target for instructions: compiled kernels with changed words, and words that are none, on every family."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
from fuzz_rings import END_OF_PROGRAM, END_OF_PROGRAM_GFX11
from fuzz_runner import Done, outcome

from pytest_amdgpu.driver.code_object import CodeObject, parse
from pytest_amdgpu.emulator.isa import program
from pytest_amdgpu.emulator.isa.dispatch import Dispatch, DispatchState
from pytest_amdgpu.emulator.isa.errors import IllegalInstruction
from pytest_amdgpu.emulator.memory import PAGE_SIZE, AddressSpace, BufferObject, VmFault

OBJECTS = Path(__file__).parents[2] / "hw_tests" / "kernels" / "objects"
CODE, DATA, SCRATCH = 0x7000_0000_0000, 0x7100_0000_0000, 0x7200_0000_0000
BLOCKS_KEPT_FOR = 200
"""Cases after which translated blocks are forgotten."""
BUDGET = 40
"""Basic blocks that a case may run."""


class CodeTarget:
    """Kernels whose code is damaged: they end, go on for ever, fault, or meet what is no instruction."""

    name = "code"
    limit = 60.0
    unit = "inputs"

    def __init__(self) -> None:
        self._until_cleared = BLOCKS_KEPT_FOR
        self._objects = [parse(path.read_bytes(), path.name) for path in sorted(OBJECTS.glob("*/*.co"))]

    def case(self, rng: random.Random) -> Done:
        self._until_cleared -= 1
        if not self._until_cleared:
            # The translated blocks are kept, thousands of them: their coming would look like a leak.
            program._blocks.clear()
            self._until_cleared = BLOCKS_KEPT_FOR
        code = rng.choice(self._objects)
        kernel = rng.choice(list(code.kernels.values()))
        image = np.zeros(-(-code.image_size // PAGE_SIZE) * PAGE_SIZE, np.uint8)
        for segment in code.segments:
            image[segment.address : segment.address + len(segment.data)] = np.frombuffer(
                segment.data, np.uint8
            )
        self._damage(rng, code, image.view(np.uint32), kernel.entry_address // 4)
        space = AddressSpace()
        space.map(CODE, BufferObject(image))
        data = np.zeros(64 * PAGE_SIZE, np.uint8)
        space.map(DATA, BufferObject(data))
        space.map(SCRATCH, BufferObject(np.zeros(16 * PAGE_SIZE, np.uint8)))
        # The arguments are at the start of the data: pointers into it, and small numbers.
        pointer = DATA + 16 * PAGE_SIZE
        data[:512].view(np.uint64)[:] = [rng.choice((pointer, pointer, 16, 3)) for _ in range(64)]
        descriptor = kernel.descriptor
        block = (min(kernel.max_block_size, 64), 1, 1)
        state = DispatchState(
            family=code.family,
            memory=space,
            entry=CODE + kernel.entry_address,
            rsrc1=descriptor.rsrc1 if rng.random() < 0.8 else rng.getrandbits(32),
            rsrc2=descriptor.rsrc2 if rng.random() < 0.8 else rng.getrandbits(32),
            rsrc3=descriptor.rsrc3,
            # Wherever the kernel expects its arguments, a pointer is.
            user_data=(DATA & 0xFFFFFFFF, DATA >> 32) * 8,
            initiator=5,
            workgroups=(2, 1, 1),
            start=(0, 0, 0),
            block=block,
            grid=(2 * block[0], 1, 1),
            wave_size=kernel.wave_size,
            scratch_base=SCRATCH,
            scratch_wave_bytes=4096,
            scratch_waves=16,
            lds_bytes=rng.choice((0, 1024, 65536)),
        )
        dispatch = Dispatch(state)
        ended: list[bool] = []
        kind = outcome(lambda: ended.append(dispatch.run(BUDGET)), IllegalInstruction, VmFault)
        assert dispatch.describe() is not None
        return Done([kind if kind != "accepted" else "ended" if ended[0] else "still running"])

    def _damage(self, rng: random.Random, code: CodeObject, words: np.ndarray, entry: int) -> None:  # type: ignore[type-arg]
        """Change words of the kernel, near its beginning most of all."""
        end = END_OF_PROGRAM_GFX11 if code.family.gfx_version[0] >= 11 else END_OF_PROGRAM
        length = min(max(words.size - entry, 1), 200)
        for _ in range(rng.choice((1, 1, 2, 4))):
            at = entry + min(int(rng.expovariate(1 / 12)), length - 1)
            change = rng.random()
            if change < 0.5:
                words[at] = int(words[at]) ^ 1 << rng.randrange(32)
            elif change < 0.7:
                words[at] = rng.getrandbits(32)
            elif change < 0.9:
                words[at] = int(words[entry + rng.randrange(length)])
            else:
                words[at] = end

    def close(self) -> None:
        """Nothing is shared that must be given back."""
