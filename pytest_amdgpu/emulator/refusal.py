"""How a handler of the emulated kernel refuses a call, and how it reports what a kernel would let pass."""

from __future__ import annotations

ENOTSUPP = 524
"""Internal to the kernel and not in `errno`, but amdkfd lets it reach user space (CREATE_QUEUE)."""


class Refusal(Exception):
    """The call fails with `errno`; `why` is for the log and the reader of a traceback, and never empty."""

    def __init__(self, errno: int, why: str) -> None:
        if not why.strip():
            raise ValueError(f"a refusal with errno {errno} must say why")
        super().__init__(why)
        self.errno = errno
        self.why = why


class KfdMisuse(UserWarning):
    """What the real kernel or GPU accepts without a word although it is a bug of the driver."""
