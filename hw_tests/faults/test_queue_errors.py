"""What stops one queue only: a packet that is none, and a wave that meets an illegal instruction."""

from __future__ import annotations

import numpy as np
import pytest

from pytest_amdgpu.driver.errors import QueueError, QueueLostError, WaitTimeoutError

AQL_SLOT = 64
UNKNOWN_PACKET = b"\x3f".ljust(AQL_SLOT, b"\0")
"""An AQL packet of type 63, which there is not; its first byte is all that a queue looks at."""


def other_queue_works(kind, make_queue, suite_kernel, gtt_buffer, semaphore):
    out = gtt_buffer(4 * 64)
    make_queue(kind).dispatch(suite_kernel("fill"), 64, [out, 9, 64]).signal(semaphore, 1).submit()
    semaphore.wait(1, timeout=10)
    return bool((out.view(np.uint32) == 9).all())


def break_queue(queue, semaphore):
    """Submit the packet and a signal behind it, and wait for that."""
    # There is no command for what no queue can execute.
    queue._put(UNKNOWN_PACKET)
    queue.signal(semaphore, 1).submit()
    with pytest.raises(QueueError, match=rf"{queue.name} of GPU .* stopped: queue packet ") as caught:
        semaphore.wait(1, timeout=10)
    return caught.value


def test_an_unknown_packet_is_told_with_its_code(make_queue, make_semaphore):
    queue, never = make_queue("aql"), make_semaphore()
    error = break_queue(queue, never)
    assert (error.kind, error.queue, error.address, error.memory_lost) == ("queue", queue.name, None, False)
    assert "queue packet unsupported (code 20)" in str(error)
    assert never.value == 0
    with pytest.raises(QueueLostError, match=queue.name):
        queue.signal(never, 2).submit()


@pytest.mark.parametrize("kind", ["sdma", "pm4", "aql"])
def test_an_unknown_packet_leaves_other_queues(kind, make_queue, make_semaphore, gtt_buffer):
    broken, other = make_queue("aql"), make_queue(kind)
    go, never, done, stamp = make_semaphore(), make_semaphore(), make_semaphore(), gtt_buffer(8)
    other.wait(go, 1).timestamp(stamp).signal(done, 1).submit()
    break_queue(broken, never)
    go.signal(1)
    done.wait(1, timeout=10)
    assert stamp.view(np.uint64)[0] != 0
    other.signal(done, 2).submit()
    done.wait(2, timeout=10)


def test_after_an_unknown_packet_a_new_queue_works(make_queue, make_semaphore, suite_kernel, gtt_buffer):
    broken = make_queue("aql")
    break_queue(broken, make_semaphore())
    broken.close()
    assert other_queue_works("aql", make_queue, suite_kernel, gtt_buffer, make_semaphore())


@pytest.mark.parametrize("kind", ["pm4", "aql"])
def test_an_illegal_instruction_ends_the_wave_and_leaves_other_queues(
    kind, make_queue, make_semaphore, suite_kernel, gtt_buffer, wait_until_it_runs
):
    """Without a trap handler of its own a process is not told: the wave is halted for ever."""
    broken, never, out = make_queue(kind), make_semaphore(), gtt_buffer(8, uncached=True)
    broken.dispatch(suite_kernel("illegal"), 1, [out]).signal(never, 1).submit()
    wait_until_it_runs(never, out.view(np.uint32))
    with pytest.raises(WaitTimeoutError, match="illegal instruction"):
        never.wait(1, timeout=0.02)
    assert other_queue_works(kind, make_queue, suite_kernel, gtt_buffer, make_semaphore())
    broken.close()
    assert out.view(np.uint32).tolist() == [1, 0]
    assert never.value == 0
