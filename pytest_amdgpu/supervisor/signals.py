"""The signals that a process of pytest takes from the supervisor.

Real-time signals, because tests and what they load use the others: 32 and 33 are the C library's, and these
are far from both ends of the rest.
"""

from __future__ import annotations

import signal

INTERRUPT = signal.SIGRTMIN + 11
"""Python's handler raises an exception in the test."""
STACKS = signal.SIGRTMIN + 12
"""faulthandler writes the stack of the main thread, without the interpreter."""
