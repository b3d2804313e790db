"""SIGBUS, which amdkfd sends to a process that has read poisoned memory, beside the events that say so.

It goes to the first thread of the process (`send_sig` in kfd_signal_poison_consumed_event), whose default is
to die of it, and with it the whole run. Blocked there it stays pending and does no harm. A SIGBUS that a
wrong access of the CPU raises is not held back by that: the process then dies of it at once.
"""

from __future__ import annotations

import signal

_SIGBUS = {signal.SIGBUS}


def hold_back() -> None:
    """Block SIGBUS in the calling thread, which must be the first one of the process."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGBUS)


def discard() -> None:
    """Take back what was sent meanwhile."""
    while signal.SIGBUS in signal.sigpending() and signal.sigtimedwait(_SIGBUS, 0) is not None:
        pass
