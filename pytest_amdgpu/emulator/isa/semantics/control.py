"""Program flow, waits and messages, and the state of the wave outside its registers (SOPP, SOP1, SOPK)."""

from __future__ import annotations

from collections.abc import Callable

from pytest_amdgpu.emulator.isa.build import Builder
from pytest_amdgpu.emulator.isa.decode.instruction import OperandKind
from pytest_amdgpu.emulator.isa.ir import I32, I64, Value
from pytest_amdgpu.emulator.isa.semantics.rows import Semantic, Table, nothing

_MESSAGE_REALTIME = 0x83
"""MSG_RTN_GET_REALTIME of s_sendmsg_rtn (RDNA3 ISA 4.4, table of messages)."""
_WORKGROUP_BARRIER = -1
_HWREG_MODE = 1
"""Number of the MODE register (RDNA3 ISA, table of hardware registers)."""


def branch(b: Builder) -> None:
    """Go on at the target."""
    b.branch(b.inst.branch_target)


def branch_if(condition: Callable[[Builder], Value]) -> Semantic:
    """Go on at the target if the scalar condition holds."""

    def build(b: Builder) -> None:
        b.branch(b.inst.branch_target, condition(b))

    return build


def get_pc(b: Builder) -> None:
    """The address of the next instruction."""
    b.dst(b.pc_after())


def set_pc(b: Builder) -> None:
    """Go on at an address in registers."""
    b.jump(b.src(0, I64))


def swap_pc(b: Builder) -> None:
    """Go on at an address in registers and keep the address of the next instruction."""
    target = b.src(0, I64)
    b.dst(b.pc_after())
    b.jump(target)


def call(b: Builder) -> None:
    """Go on at the target and keep the address of the next instruction."""
    b.dst(b.pc_after())
    b.branch(b.inst.branch_target)


def end(b: Builder) -> None:
    """End the wave."""
    b.end_program()


def barrier(b: Builder) -> None:
    """Wait for the workgroup's other waves."""
    b.barrier()


def signal_barrier(b: Builder) -> None:
    """Arrive at the workgroup's barrier (-1), which is emulated as a whole where the wave waits for it."""
    operand = b.inst.sources[0]
    if operand.kind is not OperandKind.INLINE_INT or operand.value != _WORKGROUP_BARRIER:
        b.illegal(f"{b.inst.name}: only the workgroup's barrier is emulated")


def wait_for_barrier(b: Builder) -> None:
    """Wait for the workgroup's other waves."""
    number = b.imm()
    if number & 0xFFFF != _WORKGROUP_BARRIER & 0xFFFF:
        b.illegal(f"{b.inst.name} {number:#x}: only the workgroup's barrier is emulated")
        return
    b.barrier()


def sleep(b: Builder) -> None:
    """Let other waves run."""
    b.sleep()


def send_message(b: Builder) -> None:
    """Send a message; M0 is its data."""
    b.message(b.imm())


def send_message_and_receive(b: Builder) -> None:
    """Ask for a value: the constant-frequency counter is the one question that is answered."""
    message = b.imm()
    if message != _MESSAGE_REALTIME:
        b.illegal(f"nobody answers message {message:#x} of {b.inst.name}")
        return
    now = b.clock("realtime")
    b.dst(now if b.inst.destinations[0].count == 2 else b.lo32(now))


def halt(b: Builder) -> None:
    """Stop the wave until a debugger resumes it, which nobody would: an error unless it clears the state."""
    if b.imm() & 1:
        b.illegal("s_sethalt stops the wave and nothing would resume it")


def trap(b: Builder) -> None:
    """Enter the trap handler."""
    b.trap(b.imm() & 0xFF)


def get_register(b: Builder) -> None:
    """Read a field of a hardware register."""
    b.dst(b.hwreg(b.inst.words[0] & 0xFFFF))


def set_register(b: Builder) -> None:
    """Write a field of a hardware register with the one operand that is not the field's place."""
    source = next(i for i, operand in enumerate(b.inst.sources) if operand.kind is not OperandKind.IMM)
    b.set_hwreg(b.inst.words[0] & 0xFFFF, b.src(source, I32))


def set_register_literal(b: Builder) -> None:
    """Write a field of a hardware register with the literal that follows."""
    b.set_hwreg(b.inst.words[0] & 0xFFFF, b.const(I32, b.inst.words[1]))


def set_mode(offset: int) -> Semantic:
    """Write four bits of MODE, from bit `offset` on, with the immediate."""
    field = _HWREG_MODE | offset << 6 | (4 - 1) << 11

    def build(b: Builder) -> None:
        b.set_hwreg(field, b.const(I32, b.imm() & 15))

    return build


def clock(kind: str) -> Semantic:
    """A 64-bit counter."""

    def build(b: Builder) -> None:
        b.dst(b.clock(kind))

    return build


TABLE: Table = {
    "s_branch": branch,
    "s_cbranch_scc0": branch_if(lambda b: b.not_(b.scc())),
    "s_cbranch_scc1": branch_if(lambda b: b.scc()),
    "s_cbranch_vccz": branch_if(lambda b: b.eq(b.vcc(), 0)),
    "s_cbranch_vccnz": branch_if(lambda b: b.ne(b.vcc(), 0)),
    "s_cbranch_execz": branch_if(lambda b: b.eq(b.exec(), 0)),
    "s_cbranch_execnz": branch_if(lambda b: b.ne(b.exec(), 0)),
    # No debugger is attached.
    **dict.fromkeys(
        (
            "s_cbranch_cdbgsys",
            "s_cbranch_cdbguser",
            "s_cbranch_cdbgsys_or_user",
            "s_cbranch_cdbgsys_and_user",
        ),
        nothing,
    ),
    "s_getpc_b64": get_pc,
    "s_setpc_b64": set_pc,
    "s_swappc_b64": swap_pc,
    "s_call_b64": call,
    "s_endpgm": end,
    "s_endpgm_saved": end,
    "s_barrier": barrier,
    "s_barrier_signal": signal_barrier,
    "s_barrier_wait": wait_for_barrier,
    "s_sleep": sleep,
    "s_sethalt": halt,
    "s_trap": trap,
    "s_sendmsg": send_message,
    "s_sendmsg_rtn_b32": send_message_and_receive,
    "s_sendmsg_rtn_b64": send_message_and_receive,
    "s_getreg_b32": get_register,
    "s_setreg_b32": set_register,
    "s_setreg_imm32_b32": set_register_literal,
    "s_round_mode": set_mode(0),
    "s_denorm_mode": set_mode(4),
    "s_memtime": clock("cycles"),
    "s_memrealtime": clock("realtime"),
    # Values do not depend on these: memory operations complete in order, caches are the engines' affair.
    **dict.fromkeys(
        (
            "s_nop",
            "s_waitcnt",
            "s_waitcnt_vmcnt",
            "s_waitcnt_vscnt",
            "s_waitcnt_expcnt",
            "s_waitcnt_lgkmcnt",
            "s_waitcnt_depctr",
            "s_wait_idle",
            "s_wait_alu",
            "s_wait_loadcnt",
            "s_wait_storecnt",
            "s_wait_samplecnt",
            "s_wait_bvhcnt",
            "s_wait_expcnt",
            "s_wait_dscnt",
            "s_wait_kmcnt",
            "s_wait_loadcnt_dscnt",
            "s_wait_storecnt_dscnt",
            "s_prefetch_inst",
            "s_prefetch_inst_pc_rel",
            "s_prefetch_data",
            "s_prefetch_data_pc_rel",
            "s_buffer_prefetch_data",
            "global_inv",
            "global_wb",
            "global_wbinv",
            "s_delay_alu",
            "s_clause",
            "s_set_inst_prefetch_distance",
            "s_setprio",
            "s_wakeup",
            "s_wait_event",
            "v_pipeflush",
            "v_clrexcp",
            "s_icache_inv",
            "s_incperflevel",
            "s_decperflevel",
            "s_ttracedata",
            "s_ttracedata_imm",
            "s_version",
            "s_code_end",
            "s_dcache_inv",
            "s_dcache_wb",
            "s_dcache_inv_vol",
            "s_dcache_wb_vol",
            "s_gl1_inv",
            "buffer_inv",
            "buffer_invl2",
            "buffer_wbinvl1",
            "buffer_wbinvl1_vol",
            "buffer_wbl2",
            "buffer_gl0_inv",
            "buffer_gl1_inv",
        ),
        nothing,
    ),
}
