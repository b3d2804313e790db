"""How `/dev/kfd` takes an ioctl: which handler, how much is copied in and out, who may call.

Rules of kfd_ioctl in amdkfd's kfd_chardev.c. Only the number of a request chooses the handler. The size in
the request says how much the caller gave: what is missing reads as zero, and no more than that is
copied back, which happens also when the handler fails. The direction is the kernel's own.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import os
from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_amdgpu.abi import ioctl
from pytest_amdgpu.abi.kfd import KFD_IOCTLS, SvmArgs
from pytest_amdgpu.emulator.refusal import Refusal

if TYPE_CHECKING:
    from pytest_amdgpu.emulator.process import Handler, Process
    from pytest_amdgpu.kernel.protocol import Argument


class _Call(NamedTuple):
    name: str
    struct: type[Any]
    size: int
    reads: bool
    writes: bool
    locked: bool
    pads: tuple[str, ...]
    handler: Handler


@functools.cache
def _calls() -> dict[int, _Call]:
    """Return the table of emulated ioctls by number; its modules load with the first call."""
    from pytest_amdgpu.emulator.kfd import (
        debug_calls,
        device_calls,
        dmabuf_calls,
        event_calls,
        memory_calls,
        queue_calls,
        queue_state_calls,
        smi_calls,
        svm_calls,
    )

    locked: dict[Any, Handler] = {
        **device_calls.HANDLERS,
        **memory_calls.HANDLERS,
        **dmabuf_calls.HANDLERS,
        **queue_calls.HANDLERS,
        **queue_state_calls.HANDLERS,
        **smi_calls.HANDLERS,
        **debug_calls.HANDLERS,
        **svm_calls.HANDLERS,
        **event_calls.HANDLERS,
    }
    handlers = {**locked, **event_calls.HANDLERS_WITHOUT_LOCK}
    calls = {}
    for request, handler in handlers.items():
        parts = ioctl.decode(request)
        spec = KFD_IOCTLS[parts.nr]
        assert spec.struct is not None
        pads = tuple(field[0] for field in spec.struct._fields_ if field[0] == "pad")
        calls[parts.nr] = _Call(
            spec.name,
            spec.struct,
            parts.size,
            bool(parts.direction & ioctl.WRITE),
            bool(parts.direction & ioctl.READ),
            request in locked,
            pads,
            handler,
        )
    return calls


def _sized(struct: type[Any], size: int) -> type[Any]:
    """Return the structure of an argument whose request says `size` bytes: SVM's has attributes behind it."""
    if struct is not SvmArgs:
        return struct
    from pytest_amdgpu.emulator.kfd.svm_calls import sized_args

    return sized_args(size)


def require_owner(process: Process) -> None:
    """Refuse calls of a forked child with EBADF."""
    if os.getpid() != process.pid:
        raise Refusal(
            errno.EBADF, f"opened by process {process.pid}, called by {os.getpid()}: open it again after fork"
        )


def kfd_ioctl(process: Process, request: int, argument: Argument) -> int | None:
    """Do an ioctl of `/dev/kfd` and return what ioctl(2) does, None for 0; raises Refusal.

    `argument` is what the request says it is, or larger: ValueError if it is smaller.
    """
    nr, size = request & 0xFF, request >> 16 & 0x3FFF
    call = _calls().get(nr)
    if nr not in KFD_IOCTLS:
        raise Refusal(errno.EINVAL, f"amdkfd knows no ioctl {nr:#x}")
    require_owner(process)
    if call is None:
        spec = KFD_IOCTLS[nr]
        process.machine.log(f"kfd: {spec.name} is not emulated, refused like an unknown ioctl")
        raise Refusal(errno.EINVAL, f"{spec.name} is not emulated")
    if ctypes.sizeof(argument) < size:
        raise ValueError(
            f"{call.name}: the request says {size} bytes, the argument has {ctypes.sizeof(argument)}"
        )
    struct = _sized(call.struct, size)
    args = struct()
    common = min(size, ctypes.sizeof(struct))
    if call.reads:
        ctypes.memmove(ctypes.byref(args), ctypes.byref(argument), common)
        for pad in call.pads:
            if getattr(args, pad) and call.name not in process.machine.behaviour.used_pads:
                process.machine.misuse(f"{call.name} with {pad} {getattr(args, pad):#x}, which must be 0")
    try:
        if process.machine.injections is not None:
            process.machine.injections.at_call(process, call.name, args)
        if call.locked:
            with process.lock:
                return call.handler(process, args)
        return call.handler(process, args)
    finally:
        if call.writes:
            ctypes.memmove(ctypes.byref(argument), ctypes.byref(args), common)
            if size > call.size and not call.reads:
                ctypes.memset(ctypes.addressof(argument) + call.size, 0, size - call.size)
