"""After a GPU fault: how a run goes on with GPUs that work.

The kernel stops a process's queues on a GPU that faulted, and all that the process makes there later
(`evicted` in amdkfd/kfd_device_queue_manager.c); only another process can use the GPU again. So a run
goes on in a child, which has all of the run's state, and the parent waits to end as the child does.
"""

from __future__ import annotations

import os
import signal
import sys


def continue_in_child() -> None:
    """Return in a new child of this process; the process itself only waits, and ends with its exit code.

    Threads other than the caller do not exist in the child.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    # Ctrl-C reaches both; the child reports it, and this process must live to pass on how it ended.
    on_interrupt = signal.signal(signal.SIGINT, signal.SIG_IGN)
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGINT, on_interrupt)
        return
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    # A shell shows the end by a signal as 128 and its number.
    os._exit(code if code >= 0 else 128 - code)
