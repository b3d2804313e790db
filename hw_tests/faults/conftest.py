"""What the tests of faults share."""

from __future__ import annotations

from contextlib import suppress

import pytest

from pytest_amdgpu.driver.errors import WaitTimeoutError


@pytest.fixture
def wait_until_it_runs():
    """Return a function that looks until a kernel has stored its first word; no event can tell of that.

    Meanwhile it waits for a semaphore, which the kernel's queue must not signal.
    """

    def wait(never, word):
        for _ in range(200):
            with suppress(WaitTimeoutError):
                never.wait(1, timeout=0.01)
            if word[0]:
                return
        pytest.fail("the kernel did not begin within 2 s")

    return wait
