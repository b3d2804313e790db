"""Every refusal and rule of amdkfd's interface that a client can meet, and the test that shows it.

The list follows `kfd_chardev.c`, `kfd_queue.c`, `kfd_events.c`, `kfd_svm.c` and `kfd_debug.c` of amdgpu-dkms
6.12 and, where it says `newest`, of mainline; its sections are those of the interface: 1.1 dispatch, 1.2
numbers, 1.5 mmap, 2.1 CREATE_QUEUE, 2.3 other calls about queues, 2.4 memory, 2.5 events, 2.6 SMI, XNACK and
SVM, 2.7 runtime and debugger, 7 what the kernel accepts although it is a bug of the driver.

Each row: section, rule, what the kernel answers, and the tests that prove it (of the function alone, all its
instances). A rule that an emulator in user space cannot have says why instead. `test_kfd_refusals.py` holds
the list to what pytest collects; `tools/count_refusals.py` prints the numbers.
"""

from __future__ import annotations

from typing import NamedTuple


class Rule(NamedTuple):
    """One rule; `tests` as `file::test` below `unit_tests/emulator`, or `impossible` with the reason."""

    section: str
    rule: str
    answer: str
    tests: tuple[str, ...] = ()
    impossible: str = ""


def _rows(section: str, file: str, *rows: tuple[str, str, str]) -> list[Rule]:
    """Make rules whose tests are in one file, written as `test` or `test other_test`.

    A test of another file is written with the file's name, and of another directory with both. `!` begins
    the reason why there is none.
    """
    made = []
    for rule, answer, tests in rows:
        if tests.startswith("!"):
            made.append(Rule(section, rule, answer, impossible=tests[1:].strip()))
        else:
            made.append(Rule(section, rule, answer, tuple(_node(file, name) for name in tests.split(", "))))
    return made


def _node(file: str, name: str) -> str:
    node = name if ".py::" in name else f"{file}::{name}"
    return node if "/" in node.split("::")[0] else f"kfd/{node}"


_NO_COPY = "! the argument is a ctypes object, so the kernel's copy of it cannot fail"
_NO_ENOMEM = "! an allocation of the kernel's own, which does not fail here"

DISPATCH = _rows(
    "1.1",
    "test_kfd_dispatch.py",
    ("size and direction of the request are not compared", "ok", "test_direction_bits_are_the_kernels_own"),
    ("a shorter argument", "ok", "test_shorter_argument_is_extended_with_zeros_and_loses_outputs"),
    ("CREATE_QUEUE of 88 bytes", "ok", "test_create_queue_of_88_bytes_works"),
    (
        "a longer argument",
        "ok",
        "test_longer_argument_is_cleared_where_the_kernel_only_writes, "
        "test_longer_argument_keeps_its_tail_where_the_kernel_reads",
    ),
    (
        "output is copied back also of a failed call",
        "ok",
        "test_output_is_copied_back_also_when_the_call_fails",
    ),
    ("write-only calls copy nothing back", "ok", "test_write_only_argument_is_not_copied_back"),
    ("unknown number", "EINVAL", "test_unknown_number_einval"),
    ("a call that is not emulated", "EINVAL", "test_ioctl_that_is_not_emulated_is_refused_and_logged"),
    ("copy of the argument", "EFAULT", _NO_COPY),
    ("argument above 128 bytes without memory", "ENOMEM", _NO_ENOMEM),
    ("descriptor of another process", "EBADF", "test_forked_child_ebadf"),
    (
        "descriptor that is not open",
        "EBADF",
        "test_descriptor_that_is_not_open_ebadf, test_closed_descriptor_ebadf",
    ),
    (
        "CRIU_OP without the capability",
        "EACCES",
        "test_kfd_device_calls.py::test_checkpoint_needs_a_capability_eacces",
    ),
    ("open by a 32-bit process", "EPERM", "! Python's processes here have 64 bits"),
    ("open of another minor", "ENODEV", "! there is one device node; others are ENOENT"),
    ("open of a node that does not exist", "ENOENT", "test_kfd_lifecycle.py::test_open_unknown_node_enoent"),
    (
        "a call that names a GPU which an injected defect has taken away (an assumption)",
        "ENODEV",
        "test_kfd_injected.py::test_calls_about_a_gpu_that_is_gone_enodev",
    ),
    (
        "open by a forked child of a process that has it open (amdkfd allows it)",
        "ENODEV",
        "test_kfd_lifecycle.py::test_open_again_in_a_forked_child_enodev",
    ),
    (
        "several opens share one process",
        "ok",
        "test_kfd_lifecycle.py::test_closing_kfd_keeps_the_process_and_a_second_open_shares_it",
    ),
)

NUMBERS = _rows(
    "1.2",
    "test_kfd_dispatch.py",
    ("DBG_REGISTER to DBG_WAVE_CONTROL", "EPERM", "test_old_debugger_interface_eperm"),
    (
        "the deprecated 0x82 and 0x83",
        "EINVAL",
        "test_unknown_number_einval[130], test_unknown_number_einval[131]",
    ),
    (
        "CREATE_PROCESS before 1.19",
        "EINVAL",
        "test_kfd_behaviour.py::test_6_12_knows_no_create_process_einval",
    ),
    (
        "CREATE_PROCESS twice on a descriptor (newest)",
        "EINVAL",
        "test_kfd_behaviour.py::test_secondary_process_twice_on_a_descriptor_einval",
    ),
    (
        "CREATE_PROCESS by a forked child (newest)",
        "EBADF",
        "test_kfd_behaviour.py::test_create_process_in_a_forked_child_ebadf",
    ),
    (
        "user pointers, SVM and debugging in a secondary process (newest)",
        "EOPNOTSUPP",
        "test_kfd_behaviour.py::test_secondary_process_user_memory_eopnotsupp, "
        "test_kfd_svm.py::TestAddresses::test_secondary_process_eopnotsupp, "
        "test_kfd_behaviour.py::test_secondary_process_debugging_eopnotsupp",
    ),
    ("GET_VERSION", "ok", "test_kfd_behaviour.py::test_version"),
)

MMAP = _rows(
    "1.5",
    "test_kfd_mmap.py",
    ("doorbells, flush page, trap pages of another size", "EINVAL", "test_kfd_size_einval"),
    ("unknown GPU", "ENODEV", "test_kfd_gpu_unknown_enodev"),
    ("a GPU that the process has not", "EINVAL", "! a process has every GPU of the machine"),
    ("no memory for them", "ENOMEM", "test_kfd_no_memory_enomem"),
    ("events page before there is one", "EINVAL", "test_events_without_a_page_einval"),
    ("events page of more than 32 KiB", "EINVAL", "test_events_larger_than_the_page_einval"),
    ("the mapped size sets the limit of slots", "ok", "test_events_mapped_size_sets_the_slot_limit"),
    ("any other type", "EFAULT", "! two bits name four types, and all four exist"),
    ("offset that is not page aligned", "EINVAL", "test_offset_not_page_aligned_einval"),
    ("low bits inside the frame are ignored", "ok", "test_low_bits_of_the_offset_are_ignored"),
    ("length 0", "EINVAL", "test_length_zero_einval"),
    ("private writable mapping", "EINVAL", "test_private_writable_mapping_of_a_device_einval"),
    ("a forked child", "EBADF", "test_forked_child_ebadf"),
    (
        "a forked child stores to its parent's doorbell (not mapped there: SIGSEGV)",
        "EFAULT",
        "test_store_to_a_doorbell_in_a_forked_child_efault",
    ),
    ("render node: unknown offset", "EINVAL", "test_render_node_unknown_offset_einval"),
    ("render node: longer than the object", "EINVAL", "test_render_node_longer_than_the_object_einval"),
    ("render node: not the acquired descriptor", "EACCES", "test_render_node_not_the_acquired_one_eacces"),
    ("render node: of another GPU", "EINVAL", "test_render_node_of_another_gpu_einval"),
    ("freed object", "EINVAL", "test_freed_object_einval"),
    ("user memory", "EPERM", "test_userptr_eperm"),
)

_Q = "test_create_queue"
CREATE_QUEUE = _rows(
    "2.1",
    "test_kfd_queue_refusals.py",
    ("1 percentage above 100", "EINVAL", f"{_Q}[percentage_above_100]"),
    ("2 priority above 15", "EINVAL", f"{_Q}[priority_above_15]"),
    ("3 ring address outside user space", "EFAULT", f"{_Q}[ring_address_outside_user_space]"),
    ("4 ring size neither 0 nor a power of two", "EINVAL", f"{_Q}[ring_size_not_a_power_of_two]"),
    (
        "ring size below 1024 is raised and written back",
        "ok",
        "test_kfd_dispatch.py::test_output_is_copied_back_also_when_the_call_fails",
    ),
    (
        "4b metadata ring size not a power of two (newest)",
        "EINVAL",
        "test_kfd_behaviour.py::test_newest_metadata_ring_size_not_a_power_of_two_einval",
    ),
    ("5 read pointer outside user space", "EFAULT", f"{_Q}[read_pointer_outside_user_space]"),
    ("5 write pointer outside user space", "EFAULT", f"{_Q}[write_pointer_outside_user_space]"),
    ("6 EOP address outside user space", "EFAULT", f"{_Q}[eop_outside_user_space]"),
    ("6 context save address outside user space", "EFAULT", f"{_Q}[ctx_outside_user_space]"),
    ("7 unknown queue type", "ENOTSUPP 524", f"{_Q}[queue_type_unknown]"),
    ("8 unknown GPU", "EINVAL", f"{_Q}[gpu_unknown]"),
    ("9 VM not acquired", "ESRCH", "test_create_queue_vm_not_acquired_esrch"),
    ("10 unknown SDMA engine", "EINVAL", "test_create_queue_sdma_engine_unknown"),
    ("10b no doorbells", "ENOMEM", "test_create_queue_no_doorbells_enomem"),
    ("11 write pointer 0", "EINVAL", f"{_Q}[write_pointer_zero]"),
    ("11 write pointer not mapped", "EINVAL", f"{_Q}[write_pointer_not_mapped]"),
    (
        "11 write pointer in a larger mapping, at its start or not",
        "EINVAL",
        "test_create_queue_pointer_inside_a_larger_buffer[write_pointer_address]",
    ),
    ("12 read pointer 0", "EINVAL", f"{_Q}[read_pointer_zero]"),
    ("12 read pointer not mapped", "EINVAL", f"{_Q}[read_pointer_not_mapped]"),
    (
        "12 read pointer in a larger mapping",
        "EINVAL",
        "test_create_queue_pointer_inside_a_larger_buffer[read_pointer_address]",
    ),
    ("11, 12 both may share a page", "ok", "test_pointers_may_share_a_page_and_lie_anywhere_in_it"),
    ("11 to 13 mapped on another GPU only", "EINVAL", "test_create_queue_memory_mapped_on_another_gpu_only"),
    ("13 ring 0", "EINVAL", f"{_Q}[ring_address_zero]"),
    ("13 ring not mapped", "EINVAL", f"{_Q}[ring_not_mapped]"),
    ("13 ring larger than its mapping", "EINVAL", f"{_Q}[ring_larger_than_its_mapping]"),
    ("13 ring smaller than its mapping", "EINVAL", f"{_Q}[ring_smaller_than_its_mapping]"),
    ("13 ring in the middle of a mapping", "EINVAL", "test_create_queue_ring_in_the_middle_of_a_mapping"),
    (
        "13 ring below a page: mapping's size not checked (6.12)",
        "ok",
        "test_create_queue_accepts_but_warns[small_ring]",
    ),
    (
        "13 ring below a page: rounded up and checked (newest)",
        "EINVAL",
        "test_kfd_behaviour.py::test_newest_checks_the_mapping_of_a_ring_smaller_than_a_page",
    ),
    (
        "13 metadata ring behind the ring (newest)",
        "EINVAL",
        "test_kfd_behaviour.py::test_newest_metadata_ring_lies_behind_the_ring",
    ),
    ("14 EOP size not the node's", "EINVAL", "test_create_compute_queue[eop_size_wrong]"),
    (
        "14 EOP size must be equal (newest, too)",
        "EINVAL",
        "test_kfd_behaviour.py::test_newest_eop_size_must_be_equal_einval",
    ),
    ("14 EOP not mapped", "EINVAL", "test_create_compute_queue[eop_not_mapped]"),
    ("14 EOP in a larger mapping", "EINVAL", "test_create_compute_queue_eop_in_a_larger_buffer_einval"),
    ("15 control stack too small", "EINVAL", "test_create_compute_queue[ctl_stack_size_too_small]"),
    ("15 control stack too large", "EINVAL", "test_create_compute_queue[ctl_stack_size_too_large]"),
    ("16 context save size too small", "EINVAL", "test_create_compute_queue[ctx_size_too_small]"),
    (
        "16 context save size too large (6.12)",
        "EINVAL",
        "test_create_compute_queue[ctx_size_too_large], "
        "test_kfd_behaviour.py::test_6_12_refuses_a_larger_context_save_area_einval",
    ),
    (
        "16 context save size too small (newest)",
        "EINVAL",
        "test_kfd_behaviour.py::test_newest_context_save_area_too_small_einval",
    ),
    (
        "16 larger context save size (newest)",
        "ok",
        "test_kfd_behaviour.py::test_newest_takes_a_larger_context_save_area",
    ),
    ("17 context save area 0", "EINVAL", "test_create_compute_queue[ctx_zero]"),
    ("17 context save area not mapped", "EINVAL", "test_create_compute_queue[ctx_not_mapped]"),
    (
        "17 context save mapping of another size",
        "EINVAL",
        "test_create_compute_queue_ctx_mapping_of_another_size_einval",
    ),
    (
        "17 mapping follows the size that the caller passed (newest)",
        "EINVAL",
        "test_kfd_behaviour.py::test_newest_context_save_area_larger_than_its_mapping_einval",
    ),
    (
        "17 total size overflows (newest)",
        "EINVAL",
        "test_kfd_behaviour.py::test_newest_context_save_area_whose_total_overflows_einval",
    ),
    (
        "17 SVM without access or not always mapped",
        "EINVAL",
        "test_kfd_svm.py::test_context_save_area_in_unfit_shared_memory_einval",
    ),
    ("17 SVM that does not cover it", "EINVAL", "test_kfd_svm.py::test_context_save_area_not_covered_einval"),
    ("17 SVM that does", "ok", "test_kfd_svm.py::test_context_save_area_in_shared_memory"),
    (
        "ring, pointers and EOP in SVM",
        "EINVAL",
        "test_kfd_svm.py::test_other_parts_of_a_queue_must_be_buffers_einval",
    ),
    ("18 127 or 255 queues on the GPU", "ENOSPC", "test_create_queue_limit_per_gpu_enospc"),
    ("19 1024 queue ids", "ENOMEM", "test_create_queue_no_free_queue_id_enomem"),
    (
        "20 MES: write pointer of another GPU",
        "EINVAL",
        "test_create_queue_mes_write_pointer_of_another_gpu, "
        "test_kfd_dmabuf.py::test_write_pointer_in_memory_imported_from_another_gpu_einval",
    ),
    (
        "20 HWS: write pointer of another GPU",
        "ok",
        "test_create_queue_hws_write_pointer_of_another_gpu_is_fine",
    ),
    ("20 MES: no room in the GART", "ENOMEM", _NO_ENOMEM),
    ("21 no oversubscription", "EPERM", "! amdgpu's default scheduling policy oversubscribes"),
    ("22 4096 queues on the device", "EPERM", "test_create_queue_device_total_eperm"),
    ("23 no free SDMA queue", "ENOMEM", "test_create_queue_no_free_sdma_queue_enomem"),
    (
        "24 no free doorbell",
        "EBUSY",
        "test_kfd_queues.py::test_compute_doorbells_leave_out_the_reserved_range_and_end_in_ebusy",
    ),
    (
        "25 firmware does not answer when the queue is mapped",
        "ETIME",
        "test_kfd_memory_errors.py::test_a_scheduler_that_hangs_leads_to_a_reset",
    ),
    ("25 firmware refuses to map the queue", "EIO", "! software engines have no firmware that refuses"),
    (
        "every error gives all references back",
        "ok",
        "test_create_queue, test_create_queue_engine_that_does_not_start_gives_everything_back",
    ),
    ("the order of the checks", "ok", "test_create_queue_checks_in_order"),
    (
        "what a queue holds can neither be unmapped nor freed",
        "EBUSY",
        "test_kfd_memory.py::test_unmap_and_free_of_what_a_queue_holds_ebusy",
    ),
)

_U = "test_update_queue"
QUEUES = _rows(
    "2.3",
    "test_kfd_queue_refusals.py",
    ("DESTROY: unknown queue", "EINVAL", "test_destroy_queue_unknown_einval"),
    ("DESTROY: suspended by a debugger", "ERESTARTSYS", "! no debugger can suspend queues here"),
    ("DESTROY: still debugged", "EBUSY", "! no debugger can suspend queues here"),
    (
        "DESTROY: waves cannot be preempted, the queue is freed anyway",
        "ETIME, EIO",
        "test_kfd_queues.py::test_queue_whose_engine_does_not_stop_is_freed_anyway",
    ),
    ("UPDATE: percentage above 100", "EINVAL", f"{_U}[percentage_above_100]"),
    ("UPDATE: priority above 15", "EINVAL", f"{_U}[priority_above_15]"),
    ("UPDATE: ring outside user space", "EFAULT", f"{_U}[ring_outside_user_space]"),
    ("UPDATE: ring size not a power of two", "EINVAL", f"{_U}[ring_size_not_a_power_of_two]"),
    ("UPDATE: unknown queue", "EFAULT", f"{_U}[queue_unknown]"),
    ("UPDATE: new ring not mapped", "EFAULT", f"{_U}[new_ring_not_mapped]"),
    ("UPDATE: new ring not exactly mapped", "EFAULT", f"{_U}[new_ring_not_exact]"),
    (
        "UPDATE: ring 0 deactivates",
        "ok",
        "test_kfd_queues.py::test_update_to_address_or_percentage_0_deactivates",
    ),
    ("SET_CU_MASK: number of bits", "EINVAL", "test_set_cu_mask_count_einval"),
    ("SET_CU_MASK: more than 1024 bits are cut", "ok", "test_set_cu_mask_beyond_1024_bits_is_cut"),
    ("SET_CU_MASK: copy", "EFAULT", "test_set_cu_mask_bad_pointer_efault"),
    ("SET_CU_MASK: unknown queue", "EFAULT", "test_set_cu_mask_queue_unknown_efault"),
    (
        "SET_CU_MASK: the debugger masks units",
        "EBUSY",
        "test_kfd_queue_state.py::test_cu_mask_with_an_active_debugger_ebusy",
    ),
    ("SET_CU_MASK: splits a pair (gfx10 and later)", "EINVAL", "test_set_cu_mask_splits_a_pair_einval"),
)
QUEUES += _rows(
    "2.3",
    "test_kfd_queue_state.py",
    ("WAVE_STATE: unknown queue", "EFAULT", "test_wave_state_queue_unknown_efault"),
    ("WAVE_STATE: not a compute queue", "EINVAL", "test_wave_state_not_a_compute_queue_einval"),
    ("WAVE_STATE: active queue", "EINVAL", "test_wave_state_of_an_active_queue_einval"),
    ("WAVE_STATE: no context save", "EINVAL", "! amdgpu's default is to save contexts on all these GPUs"),
    ("WAVE_STATE: copy", "EFAULT", "test_wave_state_bad_pointer_efault"),
    ("GWS: unknown queue", "EINVAL", "test_gws_queue_unknown_einval"),
    ("GWS: device without it", "ENODEV", "test_gws_on_a_gpu_without_it_enodev"),
    ("GWS: debugger", "EBUSY", "test_gws_with_a_debugger_ebusy"),
    ("GWS: second queue", "EBUSY", "test_gws_belongs_to_one_queue_until_it_is_given_back"),
    ("GWS: none to give back", "EINVAL", "test_gws_given_back_though_none_is_held_einval"),
    ("GWS: first_gws is written all the same", "ok", "test_gws_refused_says_where_it_would_begin"),
    (
        "GWS: another queue's given back (MES, gfx942, gfx950)",
        "ok",
        "test_gws_given_back_by_a_queue_that_has_none_is_taken_from_the_one_that_has_it",
    ),
    (
        "GWS: another queue's given back elsewhere (the kernel follows a null pointer)",
        "EINVAL",
        "test_gws_given_back_by_a_queue_that_has_none_einval_where_it_is_a_buffer",
    ),
)

MEMORY = _rows(
    "2.4",
    "test_kfd_memory_refusals.py",
    (
        "ACQUIRE_VM: bad descriptor",
        "EINVAL",
        "test_acquire_vm_bad_fd_einval, test_acquire_vm_bad_fd_einval_also_when_bound",
    ),
    ("ACQUIRE_VM: unknown GPU", "EINVAL", "test_acquire_vm_gpu_unknown_einval"),
    ("ACQUIRE_VM: again with the same file", "ok", "test_acquire_vm_again_with_the_same_file_is_fine"),
    ("ACQUIRE_VM: again with another file", "EBUSY", "test_acquire_vm_again_with_another_file_ebusy"),
    ("ACQUIRE_VM: not a file of amdgpu", "EINVAL", "test_acquire_vm_not_an_amdgpu_file_einval"),
    ("ACQUIRE_VM: a compute VM already", "EINVAL", "test_acquire_vm_file_that_another_gpu_has_einval"),
    ("ACQUIRE_VM: another GPU's node", "EINVAL", "test_acquire_vm_of_another_gpus_node"),
    ("ACQUIRE_VM: no memory", "ENOMEM", _NO_ENOMEM),
    ("ALLOC 1: size 0", "EINVAL", "test_alloc_size_zero_einval"),
    (
        "ALLOC 2: address or user pointer in a registered range",
        "EADDRINUSE",
        "test_kfd_svm.py::test_allocation_at_a_registered_address_eaddrinuse",
    ),
    ("ALLOC 3: unknown GPU", "EINVAL", "test_alloc_gpu_unknown_einval"),
    ("ALLOC 4: public VRAM behind a small BAR", "EINVAL", "test_alloc_public_vram_with_small_bar_einval"),
    ("ALLOC 5: VM not acquired", "ENODEV", "test_alloc_vm_not_acquired_enodev"),
    ("ALLOC 6: user pointer unaligned", "EINVAL", "test_alloc_userptr_unaligned_einval"),
    (
        "ALLOC 6: user pointer to doorbells (6.12)",
        "ok",
        "test_kfd_memory.py::test_userptr_of_doorbells_is_a_doorbell_object",
    ),
    (
        "ALLOC 6: user pointer to other device memory",
        "EINVAL, newest EFAULT",
        "test_alloc_userptr_of_a_buffer_einval_or_efault",
    ),
    ("ALLOC 7: doorbells of another size", "EINVAL", "test_alloc_doorbell_of_another_size_einval"),
    ("ALLOC 7: no doorbells", "ENOMEM", "test_alloc_no_memory_enomem"),
    ("ALLOC 8: flush page of another size", "EINVAL", "test_alloc_mmio_remap_of_another_size_einval"),
    ("ALLOC 8: no flush page", "ENOMEM", "test_alloc_no_memory_enomem"),
    ("ALLOC 9: no kind of memory, or user pointer 0", "EINVAL", "test_alloc_no_kind_of_memory_einval"),
    ("ALLOC 10: doorbells above 4 GiB", "EINVAL", "! checks 7 and 8 come first and want one size"),
    ("ALLOC 11: more VRAM than there is", "ENOMEM", "test_alloc_more_vram_than_there_is_enomem"),
    (
        "ALLOC 11: system memory limit",
        "ENOMEM",
        "test_alloc_beyond_the_system_memory_limit_enomem, test_alloc_beyond_the_hosts_memory_enomem",
    ),
    (
        "ALLOC 11: limit of TTM",
        "ENOMEM",
        "test_kfd_apu_memory.py::test_alloc_beyond_the_limit_of_ttm_enomem",
    ),
    (
        "ALLOC 11: VRAM of an APU beyond any of the three",
        "ENOMEM",
        "test_kfd_apu_memory.py::test_alloc_of_vram_beyond_a_limit_of_an_apu_enomem",
    ),
    (
        "ALLOC: VRAM of an APU that prefers GTT is GTT",
        "ok",
        "test_kfd_apu_memory.py::test_vram_of_an_apu_is_system_memory_and_counts_as_both, "
        "test_kfd_apu_memory.py::test_vram_of_an_apu_is_exported_as_gtt",
    ),
    (
        "ALLOC 12: user pointer not mapped, or in part",
        "EFAULT",
        "test_alloc_userptr_not_mapped_efault, test_alloc_userptr_partly_mapped_efault",
    ),
    ("ALLOC 12: user pointer read-only", "EFAULT", "test_alloc_userptr_read_only_efault"),
    ("ALLOC: VRAM wins over others", "ok", "test_alloc_several_kinds_is_a_driver_bug_and_vram_wins"),
    ("ALLOC: size rounded up", "ok", "test_kfd_memory.py::test_size_is_rounded_up_to_pages"),
    (
        "ALLOC: handle is GPU and lowest number",
        "ok",
        "test_kfd_memory.py::test_handles_are_gpu_id_and_lowest_free_number",
    ),
    ("ALLOC: rights of the mapping", "ok", "test_kfd_memory.py::test_flags_become_rights_of_the_mapping"),
    ("FREE: events page", "EPERM", "test_free_events_page_eperm"),
    ("FREE: unknown GPU", "EINVAL", "test_free_gpu_part_unknown_einval"),
    ("FREE: unknown number", "EINVAL", "test_free_number_unknown_einval"),
    ("FREE: still mapped", "EBUSY", "test_free_still_mapped_ebusy"),
    ("FREE: twice", "EINVAL", "test_free_twice_einval"),
    ("MAP, UNMAP: no devices", "EINVAL", "test_no_devices_einval[map], test_no_devices_einval[unmap]"),
    (
        "MAP, UNMAP: n_success above n_devices",
        "EINVAL",
        "test_n_success_above_n_devices_einval[map], test_n_success_above_n_devices_einval[unmap]",
    ),
    (
        "MAP, UNMAP: no memory for the array",
        "ENOMEM",
        "test_more_devices_than_the_kernel_makes_room_for_enomem",
    ),
    ("MAP, UNMAP: copy", "EFAULT", "test_device_array_efault[map], test_device_array_efault[unmap]"),
    (
        "MAP, UNMAP: unknown GPU in the handle",
        "EINVAL",
        "test_handle_of_unknown_gpu_einval[map], test_handle_of_unknown_gpu_einval[unmap]",
    ),
    ("MAP: handle's GPU not acquired", "ENODEV", "test_map_own_gpu_not_bound_enodev"),
    (
        "MAP, UNMAP: unknown number",
        "ENOMEM",
        "test_handle_number_unknown_enomem[map], test_handle_number_unknown_enomem[unmap]",
    ),
    (
        "MAP, UNMAP: a listed GPU unknown, earlier ones stay",
        "EINVAL",
        "test_listed_gpu_unknown_einval_keeps_the_earlier_ones[map], "
        "test_listed_gpu_unknown_einval_keeps_the_earlier_ones[unmap]",
    ),
    ("MAP: listed GPU not acquired", "ENODEV", "test_map_listed_gpu_not_bound_enodev"),
    ("MAP: address 0", "EINVAL", "test_map_address_einval[zero]"),
    ("MAP: unreachable memory of a peer", "EINVAL", "test_map_unreachable_peer_einval"),
    (
        "MAP: doorbells and registers of the hive, without a large BAR",
        "EINVAL",
        "test_map_doorbells_and_registers_of_the_hive_need_a_large_bar_einval",
    ),
    (
        "MAP: memory of another hive, without a large BAR",
        "EINVAL",
        "test_map_across_hives_needs_a_large_bar_einval",
    ),
    ("MAP: memory of the hive needs no large BAR", "ok", "test_map_peer_in_the_same_hive_needs_no_large_bar"),
    ("MAP: an APU needs no large BAR of others", "ok", "test_map_on_an_apu_needs_no_large_bar"),
    (
        "MAP: unaligned address",
        "EINVAL",
        "test_map_address_einval[unaligned], test_map_address_einval[half a page]",
    ),
    ("MAP: wraps", "EINVAL", "test_map_address_einval[wraps], test_map_address_einval[wraps 64 bits]"),
    ("MAP: beyond 48 bits", "EINVAL", "test_map_address_einval[beyond 48 bits]"),
    (
        "MAP: what the kernel maps at the top",
        "EINVAL",
        "test_map_address_einval[kernel's own], test_map_address_einval[reaches into the kernel's own]",
    ),
    ("MAP: overlap", "EINVAL", "test_map_overlap_einval"),
    ("MAP: twice", "ok", "test_map_twice_is_success"),
    (
        "MAP: goes on with n_success",
        "ok",
        "test_kfd_memory.py::test_partial_map_is_continued_with_n_success",
    ),
    ("UNMAP: not mapped", "EINVAL", "test_unmap_not_mapped_einval"),
    ("UNMAP: twice", "EINVAL", "test_unmap_twice_einval"),
    (
        "UNMAP: held by a queue",
        "EBUSY",
        "test_kfd_memory.py::test_unmap_and_free_of_what_a_queue_holds_ebusy",
    ),
    ("AVAILABLE_MEMORY: unknown GPU", "EINVAL", "test_available_memory_gpu_unknown_einval"),
    (
        "AVAILABLE_MEMORY: whole 2 MiB",
        "ok",
        "test_kfd_memory.py::test_available_memory_is_whole_2_mib_and_falls, "
        "test_kfd_apu_memory.py::test_available_memory_counts_each_buffer_in_whole_2_mib",
    ),
    (
        "AVAILABLE_MEMORY: whole pages on an APU, and the least of three limits",
        "ok",
        "test_kfd_apu_memory.py::test_available_memory_of_an_apu_counts_pages, "
        "test_kfd_apu_memory.py::test_available_memory_of_an_apu_is_the_least_of_three_limits",
    ),
)
MEMORY += _rows(
    "2.4",
    "test_kfd_dmabuf.py",
    ("IMPORT: unknown GPU", "EINVAL", "test_import_unknown_gpu_einval"),
    ("IMPORT: VM not acquired", "ENODEV", "test_import_vm_not_acquired_enodev"),
    (
        "IMPORT, INFO: bad descriptor",
        "EBADF",
        "TestDescriptor::test_not_open_ebadf, TestDescriptor::test_closed_ebadf",
    ),
    ("IMPORT, INFO: not a dma-buf of amdgpu", "EINVAL", "TestDescriptor::test_not_a_dma_buf_einval"),
    ("IMPORT, INFO: neither VRAM nor GTT", "EINVAL", "TestDescriptor::test_neither_vram_nor_gtt_einval"),
    ("IMPORT: no handle", "EFAULT", _NO_ENOMEM),
    ("EXPORT: unknown GPU", "EINVAL", "test_export_unknown_gpu_einval"),
    ("EXPORT: unknown handle", "EINVAL", "test_export_unknown_handle_einval"),
    ("EXPORT: user memory", "EPERM", "test_export_user_memory_eperm"),
    ("EXPORT: table of descriptors full", "EMFILE", "test_export_descriptor_table_full_emfile"),
    ("INFO: no GPU", "EINVAL", "test_info_on_a_machine_without_gpus_einval"),
    ("INFO: no memory for metadata", "ENOMEM", "test_info_with_more_room_than_the_kernel_allocates_enomem"),
    ("INFO: metadata do not fit", "EINVAL", "! nothing that KFD allocates has metadata"),
    ("INFO: GTT names the first GPU", "ok", "test_info_of_gtt_names_the_first_gpu"),
)
MEMORY += _rows(
    "2.4",
    "test_kfd_device_calls.py",
    ("SET_MEMORY_POLICY: unknown policy", "EINVAL", "test_memory_policy_unknown_einval"),
    (
        "SET_MEMORY_POLICY, SET_SCRATCH, SET_TRAP_HANDLER: unknown GPU, VM not acquired",
        "EINVAL, ESRCH or ENODEV",
        "test_gpu_unknown_einval_and_vm_not_acquired",
    ),
    ("SET_MEMORY_POLICY: alternate aperture", "EINVAL", "! no GPU since gfx9 has one (no hook to check it)"),
    ("GET_TILE_CONFIG: unknown GPU", "EINVAL", "test_tile_config_gpu_unknown_einval"),
    ("GET_TILE_CONFIG: copy", "EFAULT", "test_tile_config_bad_pointer_efault"),
    ("GET_CLOCK_COUNTERS never fails", "ok", "test_clock_counters_of_unknown_gpu_is_0_and_no_error"),
    ("GET_PROCESS_APERTURES: at most 7", "ok", "test_apertures_of_at_most_7_gpus"),
    ("GET_PROCESS_APERTURES_NEW: count, then fill", "ok", "test_apertures_new_counts_and_fills"),
    ("GET_PROCESS_APERTURES_NEW: copy", "EFAULT", "test_apertures_new_bad_pointer_efault"),
    ("GET_PROCESS_APERTURES_NEW: no memory", "ENOMEM", _NO_ENOMEM),
)

EVENTS = _rows(
    "2.5",
    "test_kfd_events.py",
    (
        "CREATE: a page where one exists",
        "EINVAL",
        "test_page_given_when_one_exists_einval, test_page_given_twice_einval",
    ),
    ("CREATE: page of an unknown GPU", "EINVAL", "test_page_handle_of_unknown_gpu_einval"),
    ("CREATE: page of a GPU not acquired", "ENODEV", "test_page_vm_not_acquired_enodev"),
    ("CREATE: page unknown", "EINVAL", "test_page_handle_number_unknown_einval"),
    ("CREATE: page of user memory", "EINVAL", "test_page_of_user_memory_einval"),
    ("CREATE: ids are slots from 1", "ok", "test_ids_start_at_1_and_are_slot_and_trigger_data"),
    ("CREATE: other types have no slot", "ok", "test_other_types_known_or_not_get_ids_without_a_slot"),
    (
        "CREATE: slots used up",
        "ENOSPC",
        "test_enospc_at_256_slots_until_the_page_is_mapped, test_enospc_at_4096_slots_with_a_page_handed_in",
    ),
    ("SET, RESET, DESTROY: unknown event", "EINVAL", "test_event_unknown_einval"),
    ("SET, RESET: not a signal event", "EINVAL", "test_event_not_a_signal_einval"),
    (
        "WAIT: no memory",
        "ENOMEM",
        "test_wait_for_more_events_than_the_kernel_makes_room_for_enomem",
    ),
    ("WAIT: copy", "EFAULT", "test_wait_bad_pointer_efault_with_result_fail"),
    ("WAIT: unknown event", "EINVAL", "test_wait_event_unknown_einval_with_result_fail"),
    (
        "WAIT: signal",
        "EINTR",
        "test_signal_handler_that_raises_ends_the_wait_and_gives_the_event_back, "
        "test_kfd_hostile.py::test_wait_is_interrupted_eintr_with_result_fail",
    ),
    ("WAIT: restarted by the kernel", "ERESTARTSYS", "! never leaves a kernel as such"),
    ("WAIT: event destroyed meanwhile", "EIO", "test_event_destroyed_while_waiting_eio_with_result_fail"),
    ("WAIT: for no events", "ok", "test_wait_for_no_events_completes"),
    ("WAIT: time-out is a result", "ok", "test_timeout_is_a_result_and_not_an_errno"),
    ("age differs", "ok", "test_age_that_differs_completes_at_once_and_comes_back"),
    ("age 0", "ok", "test_age_0_asks_for_the_old_behaviour"),
    ("bits of the id by source", "ok", "test_interrupt_carries_only_the_low_bits_of_the_id"),
    ("interrupt without a written slot", "lost", "test_interrupt_without_a_written_slot_is_lost"),
    (
        "interrupt with a bad id scans all slots",
        "ok",
        "test_interrupt_with_a_bad_id_signals_all_events_with_written_slots",
    ),
)

SMI_XNACK = _rows(
    "2.6",
    "test_kfd_smi_events.py",
    ("SMI: unknown GPU", "EINVAL", "test_gpu_unknown_einval"),
    ("SMI: table of descriptors full", "EMFILE", "test_descriptor_table_full_emfile"),
    ("SMI: no memory", "ENOMEM", _NO_ENOMEM),
    ("SMI: mask shorter than 8 bytes", "EFAULT", "test_mask_shorter_than_8_bytes_efault"),
    ("SMI: read of nothing", "EAGAIN", "test_read_of_nothing_eagain"),
    ("SMI: read to a null pointer", "EFAULT", "! the boundary's read returns bytes and takes no pointer"),
    ("SMI: records that do not fit", "dropped", "test_records_that_do_not_fit_are_dropped_whole"),
)
SMI_XNACK += _rows(
    "2.6",
    "test_kfd_device_calls.py",
    ("XNACK: change with queues", "EBUSY", "test_xnack_change_with_queues_ebusy"),
    ("XNACK: a GPU has none", "EPERM", "test_xnack_where_a_gpu_has_none_eperm"),
    ("XNACK: query", "ok", "test_xnack_query"),
    ("XNACK: a kernel without SVM", "EPERM", "! both kernels have it"),
)

_A = "TestAddresses::"
SVM = _rows(
    "2.6",
    "test_kfd_svm.py",
    ("start or size 0 or unaligned", "EINVAL", "test_address_or_size_0_or_unaligned_einval"),
    ("SET: unknown attribute", "EINVAL", "test_set_unknown_attribute_einval"),
    ("SET: unknown GPU", "EINVAL", "test_set_unknown_gpu_einval"),
    ("SET: GPU without SVM", "EINVAL", "test_set_gpu_that_cannot_share_einval"),
    ("not mapped by the client", "EFAULT", f"{_A}test_not_mapped_by_the_client_efault"),
    ("device memory", "EFAULT", f"{_A}test_device_memory_efault"),
    ("address of a mapped buffer", "EADDRINUSE", f"{_A}test_address_of_a_mapped_buffer_eaddrinuse"),
    (
        "SET: failure of mapping, with partial effect",
        "EINVAL, EFAULT",
        "test_access_of_a_gpu_without_vm_einval_and_registered, "
        "test_memory_that_cannot_be_read_efault_and_registered",
    ),
    (
        "GET: attribute that cannot be asked for",
        "EINVAL",
        "test_get_attribute_that_cannot_be_asked_for_einval",
    ),
    ("GET: unknown GPU", "EINVAL", "test_get_access_of_unknown_gpu_einval"),
    ("unknown operation", "returns 22", "test_unknown_operation_succeeds_with_22"),
    ("defaults", "ok", "test_defaults_of_memory_that_was_never_registered"),
    ("defaults with XNACK", "ok", "test_with_xnack_every_gpu_has_access_by_default"),
)

DEBUGGER = _rows(
    "2.7",
    "test_kfd_device_calls.py",
    ("RUNTIME_ENABLE: twice", "EBUSY", "test_runtime_enable_twice_ebusy"),
    ("RUNTIME_ENABLE: after a queue", "EEXIST", "test_runtime_enable_after_a_queue_eexist"),
    ("CRIU_OP: with the capability", "EINVAL", "test_checkpoint_needs_a_capability_eacces[0-22]"),
)
DEBUGGER += _rows(
    "2.7",
    "test_kfd_debug_trap.py",
    ("no hardware scheduler", "EINVAL", "! every GPU has HWS or MES"),
    ("unknown process", "ESRCH", "test_process_that_has_no_software_gpu_esrch"),
    ("process that is not traced", "EPERM", "! another process has no software GPU: ESRCH"),
    ("PC sampling", "EBUSY", "! PC sampling is refused as unknown"),
    ("operation without ENABLE", "EINVAL", "test_operation_without_debugger_einval"),
    ("ENABLE twice", "EALREADY", "test_enable_twice_ealready"),
    ("ENABLE: descriptor not open", "EBADF", "test_enable_descriptor_not_open_ebadf"),
    ("ENABLE: global wave sync in use", "EBUSY", "test_enable_with_global_wave_sync_ebusy"),
    ("ENABLE: copy of the runtime's state", "EFAULT", "test_enable_bad_pointer_efault_but_attached"),
    ("operation before RUNTIME_ENABLE", "EPERM", "test_operation_before_runtime_enable_eperm"),
    ("watch point on an unknown GPU", "ENODEV", "test_watch_point_on_unknown_gpu_enodev"),
    ("unknown operation", "EINVAL", "test_unknown_operation_einval"),
    ("SEND_RUNTIME_EVENT", "EINVAL, ENODEV, ENODATA", "test_send_runtime_event_refusals"),
    ("QUERY_DEBUG_EVENT: none", "EAGAIN", "test_query_debug_event_finds_gpu_and_process"),
    ("QUERY_EXCEPTION_INFO: codes and sources", "EINVAL, ENODATA", "test_query_exception_info_refusals"),
    ("QUERY_EXCEPTION_INFO: no room", "EINVAL", "test_query_exception_info_without_room_einval"),
    ("QUERY_EXCEPTION_INFO: copy", "EFAULT", "test_query_exception_info_bad_pointer_efault"),
    ("QUEUE_SNAPSHOT: entry size 0", "EINVAL", "test_queue_snapshot_entries_of_0_bytes_einval"),
    ("QUEUE_SNAPSHOT: copy", "EFAULT", "test_queue_snapshot_bad_pointer_efault"),
    ("DEVICE_SNAPSHOT: no buffer", "EINVAL", "test_device_snapshot_without_room_einval"),
    ("DEVICE_SNAPSHOT: copy", "EFAULT", "test_device_snapshot_bad_pointer_efault"),
    (
        "snapshots count all",
        "ok",
        "test_queue_snapshot_counts_all_and_fills_what_fits, "
        "test_device_snapshot_counts_all_and_fills_what_fits",
    ),
    ("SUSPEND_QUEUES marks what fails", "bits 31, 30", "! no debugger can suspend queues here"),
)

_WARNS = "KfdMisuse"
_STOPS = "the queue stops"
_FAULTS = "page fault with its cause"
MISUSES = _rows(
    "7",
    "test_kfd_queue_refusals.py",
    (
        "events page below 32 KiB",
        _WARNS,
        "test_kfd_events.py::test_page_smaller_than_32_kib_is_a_driver_bug",
    ),
    (
        "SVM: more attributes than the request has room for",
        _WARNS,
        "test_kfd_svm.py::TestAddresses::test_more_attributes_than_the_request_holds",
    ),
    (
        "address below 64 KiB, outside the aperture, not canonical",
        _WARNS,
        "test_kfd_memory_refusals.py::test_map_outside_the_aperture_is_a_driver_bug",
    ),
    (
        "user memory unmapped by the CPU while a GPU has it",
        _WARNS,
        "test_kfd_memory.py::test_userptr_that_the_cpu_unmaps_is_a_driver_bug_and_stops_the_queues",
    ),
    (
        "compute queue without EOP buffer",
        _WARNS,
        "test_create_queue_accepts_but_warns[no_eop]",
    ),
    (
        "what the GPU writes of a queue is not writable",
        _WARNS,
        "test_create_queue_read_pointer_not_writable_warns",
    ),
    (
        "code that is not executable, targets that are not writable",
        _FAULTS,
        "test_kfd_queues.py::test_vm_fault_evicts_all_queues_there_and_signals_memory_events",
    ),
    (
        "doorbell before the write pointer is stored",
        _WARNS,
        "engine/test_engine_queue.py::test_doorbell_before_the_write_pointer_is_misuse",
    ),
    (
        "doorbell in a wrong unit",
        _WARNS,
        "engine/test_engine_queue.py::test_doorbell_in_the_unit_of_the_other_engine_is_misuse",
    ),
    (
        "doorbell that cannot be, or goes back",
        _STOPS,
        "engine/test_engine_queue.py::test_impossible_doorbells, "
        "engine/test_engine_queue.py::test_doorbell_that_goes_back",
    ),
    (
        "ring of 0 bytes or less than a page",
        _WARNS,
        "test_create_queue_accepts_but_warns[ring_of_0], test_create_queue_accepts_but_warns[small_ring]",
    ),
    (
        "UPDATE_QUEUE to a size that the mapping has not",
        _WARNS,
        "test_kfd_queues.py::test_update_to_a_size_that_the_mapping_does_not_have_is_a_driver_bug",
    ),
    (
        "PM4 queue of a die that the GPU has not",
        _WARNS,
        "test_create_queue_accepts_but_warns[xcc]",
    ),
    (
        "CPU mapping of VRAM that is not PUBLIC",
        _WARNS,
        "test_kfd_mmap.py::test_cpu_access_to_vram_that_is_not_public_is_a_driver_bug",
    ),
    (
        "CPU access to evicted or freed memory",
        _WARNS,
        "! loads and stores of the client do not pass the emulator; an evicted buffer stays where it is",
    ),
    (
        "copy above the family's limit",
        _STOPS,
        "engine/test_engine_sdma.py::test_copy_count_above_the_limit",
    ),
    (
        "copy of SDMA 7 with 7 dwords",
        _STOPS,
        "engine/test_engine_sdma.py::test_copy_of_version_7_in_seven_dwords",
    ),
    (
        "interrupt whose slot still holds -1, or that names no slot",
        _WARNS,
        "test_kfd_queues.py::test_interrupt_that_finds_no_event_is_a_driver_bug_seen_at_the_next_call",
    ),
    (
        "interrupt with an id that finds other events",
        _WARNS,
        "test_kfd_queues.py::test_interrupt_with_a_wrong_id_finds_written_slots_but_is_a_driver_bug",
    ),
    (
        "doorbell slot that no queue of the process on this GPU has",
        _WARNS,
        "test_kfd_mmap.py::test_store_to_a_doorbell_that_no_queue_has_is_a_driver_bug",
    ),
    (
        "unaligned doorbell",
        _WARNS,
        "test_kfd_mmap.py::test_store_to_an_unaligned_doorbell_is_a_driver_bug",
    ),
    (
        "doorbell of another process",
        "SIGSEGV as EFAULT",
        "test_kfd_mmap.py::test_store_where_no_doorbell_is_mapped_efault",
    ),
    ("pad that is not zero", _WARNS, "test_kfd_dispatch.py::test_pad_that_is_not_zero_is_a_driver_bug"),
    (
        "several kinds of memory",
        _WARNS,
        "test_kfd_memory_refusals.py::test_alloc_several_kinds_is_a_driver_bug_and_vram_wins",
    ),
    (
        "unknown allocation flags",
        _WARNS,
        "test_kfd_memory_refusals.py::test_alloc_unknown_flags_are_a_driver_bug",
    ),
    (
        "AQL_QUEUE_MEM since gfx9",
        _WARNS,
        "test_kfd_memory_refusals.py::test_alloc_aql_queue_memory_is_a_driver_bug",
    ),
    (
        "another GPU's render node in ACQUIRE_VM",
        _WARNS,
        "test_kfd_memory_refusals.py::test_acquire_vm_of_another_gpus_node",
    ),
    (
        "SVM before any ACQUIRE_VM",
        _WARNS,
        "test_kfd_svm.py::test_set_before_acquire_vm_is_a_driver_bug",
    ),
    (
        "context save area in SVM unmapped under its queue",
        _WARNS,
        "test_kfd_svm.py::test_context_save_area_in_shared_memory",
    ),
    (
        "too small LDS or scratch for a kernel",
        _WARNS,
        "engine/test_engine_aql.py::test_too_little_for_the_kernel_is_misuse",
    ),
    (
        "HDP not flushed after writes over the BAR",
        _WARNS,
        "! stores of the client do not pass the emulator, and software GPUs have no HDP cache",
    ),
)
"""What the kernel accepts although it is a bug of the driver: a warning, or what the GPU does about it."""

RULES = (
    DISPATCH + NUMBERS + MMAP + CREATE_QUEUE + QUEUES + MEMORY + EVENTS + SMI_XNACK + SVM + DEBUGGER + MISUSES
)
