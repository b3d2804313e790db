"""Instructions that decode and have no semantics here stop the wave, and only when it reaches them."""

from __future__ import annotations

import numpy as np
import pytest

from pytest_amdgpu.emulator.isa.dispatch import Dispatch, DispatchState
from pytest_amdgpu.emulator.isa.errors import IllegalInstruction
from pytest_amdgpu.emulator.memory import AddressSpace, BufferObject
from pytest_amdgpu.families.registry import family

CODE = 0x7000_0000_0000
# LLVM: s_mov_b32 s0, 1; s_and_b32 s3, s3, src_pops_exiting_wave_id (239); s_endpgm; s_branch over one dword
S_MOV, S_AND_POPS, S_ENDPGM, S_BRANCH = 0xBE800081, 0x8603EF03, 0xBF810000, 0xBF820001


def run(*words: int) -> bool:
    code = np.zeros(1024, np.uint32)
    code[: len(words)] = words
    space = AddressSpace()
    space.map(CODE, BufferObject(code.view(np.uint8)))
    state = DispatchState(
        family=family("gfx90a"),
        memory=space,
        entry=CODE,
        rsrc1=0xF0 << 12,
        rsrc2=0,
        rsrc3=0,
        user_data=(0,) * 16,
        initiator=5,
        workgroups=(1, 1, 1),
        start=(0, 0, 0),
        block=(64, 1, 1),
        grid=(64, 1, 1),
        wave_size=64,
        scratch_base=0,
        scratch_wave_bytes=0,
        lds_bytes=0,
    )
    return Dispatch(state).run(100)


@pytest.mark.parametrize("before", [(), (S_MOV,), (S_MOV,) * 3], ids=len)
def test_the_wave_stops_at_the_instruction(before):
    with pytest.raises(IllegalInstruction) as caught:
        run(*before, S_AND_POPS, S_ENDPGM)
    assert caught.value.address == CODE + 4 * len(before)
    assert caught.value.words == (S_AND_POPS,)
    assert caught.value.text == "s_and_b32: the emulator does not know special operand 239"


def test_a_load_to_lds_is_named():
    # LLVM: global_load_dword v[2:3], off lds
    words = 0xDC50A000, 0x007F0002
    with pytest.raises(IllegalInstruction) as caught:
        run(*words, S_ENDPGM)
    assert caught.value.words == words
    assert caught.value.text == "global_load_dword: the emulator does not know loads from memory to LDS"


def test_code_that_is_not_reached_does_no_harm():
    assert run(S_MOV, S_BRANCH, S_AND_POPS, S_ENDPGM)
