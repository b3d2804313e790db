"""Which kernel is emulated: what differs between amdgpu-dkms 6.12 and the newest mainline amdkfd.

Sources of the newest: torvalds/linux kfd_queue.c at 1a2f09ae11b4 and the fix of its overflow
(check_mul_overflow), the patch "Align the expected queue size to PAGE_SIZE", patches 13 to 18 of
"amdkfd: introduce multiple contexts" (V6, October 2025).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Behaviour:
    """One kernel. `abi_version` is what GET_VERSION tells."""

    name: str
    abi_version: tuple[int, int]
    save_area_may_be_larger: bool
    """CREATE_QUEUE takes a larger context save area than it needs; what is mapped must fit what it says."""
    queue_sizes_in_sysfs: bool
    """Nodes have the properties `cwsr_size` and `ctl_stack_size` (commit 71776e0965f9)."""
    secondary_processes: bool
    """CREATE_PROCESS gives a descriptor of `/dev/kfd` a process object of its own (since 1.19)."""
    metadata_ring: bool
    """The last member of CREATE_QUEUE is the size of a ring of metadata behind an AQL ring (since 1.22)."""
    user_pointers_to_doorbells: bool
    """A user pointer to mapped doorbells becomes a doorbell object (amdgpu-dkms only)."""
    used_pads: frozenset[str]
    """Ioctls whose member `pad` has a meaning by now."""


_BEHAVIOURS = (
    Behaviour(
        name="6.12",
        abi_version=(1, 17),
        save_area_may_be_larger=False,
        queue_sizes_in_sysfs=False,
        secondary_processes=False,
        metadata_ring=False,
        user_pointers_to_doorbells=True,
        used_pads=frozenset(),
    ),
    Behaviour(
        name="newest",
        abi_version=(1, 22),
        save_area_may_be_larger=True,
        queue_sizes_in_sysfs=True,
        secondary_processes=True,
        metadata_ring=True,
        user_pointers_to_doorbells=False,
        used_pads=frozenset({"AMDKFD_IOC_CREATE_QUEUE", "AMDKFD_IOC_SET_MEMORY_POLICY"}),
    ),
)


DEFAULT_BEHAVIOUR = _BEHAVIOURS[0].name
BEHAVIOUR_NAMES = tuple(known.name for known in _BEHAVIOURS)


def behaviour(name: str) -> Behaviour:
    """Return a kernel by its name; ValueError for an unknown one says which are known."""
    for known in _BEHAVIOURS:
        if known.name == name:
            return known
    names = ", ".join(repr(known.name) for known in _BEHAVIOURS)
    raise ValueError(f"unknown kernel behaviour {name!r}; known: {names}")
