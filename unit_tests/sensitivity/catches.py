"""Which defect each hardware test must catch.

Every test function of `hw_tests` has at least one line: an instance of it, and a defect that makes this
instance fail. Instances are chosen to be quick.
"""

from __future__ import annotations

CATCHES: dict[str, dict[str, str]] = {
    "compute/test_arguments.py": {
        "test_a_wrong_count_shows_the_signature[sw-gfx1100-0]": "missing_arguments_are_zero",
        "test_a_wrong_size_names_the_argument[sw-gfx1100-0]": "arguments_of_any_size_are_taken",
        "test_an_impossible_launch_is_refused[sw-gfx1100-0-0-64]": "any_shape_is_launched",
        "test_a_kernel_that_is_not_there_is_refused_with_those_that_are[sw-gfx1100-0]": (
            "a_missing_kernel_is_another_one"
        ),
        "test_a_code_object_of_another_family_is_refused[sw-gfx1100-0]": "code_of_any_family_is_loaded",
        "test_a_kernel_compiled_on_the_fly_runs[sw-gfx1100-0]": "work_item_ids_begin_at_one",
    },
    "compute/test_coherence.py": {
        "test_a_kernel_sees_what_the_host_wrote_since[pm4-vram-sw-gfx1100-0]": "caches_are_not_invalidated",
        "test_a_kernel_sees_what_sdma_wrote_since[aql-vram-sw-gfx942-0]": "caches_are_not_invalidated",
        "test_sdma_takes_what_a_kernel_wrote[aql-vram-sw-gfx942-0]": "caches_are_not_written_back",
    },
    "compute/test_kernels.py": {
        "test_fill[pm4-sw-gfx1100-0-65]": "stores_go_one_lane_too_far",
        "test_fill[aql-sw-gfx942-0-65]": "a_dispatch_leaves_out_its_last_workgroup",
        "test_vector_add[pm4-sw-gfx1100-0-1000]": "an_integer_sum_loses_its_top_bit",
        "test_vector_add[pm4-sw-gfx1100-0-65]": "lanes_that_are_off_store_too",
        "test_vector_add[aql-sw-gfx942-0-1000]": "caches_are_not_written_back",
        "test_saxpy_f32[pm4-sw-gfx1100-0]": "f32_multiplies_and_adds_are_not_fused",
        "test_saxpy_f64[pm4-sw-gfx1100-0]": "f64_multiplies_and_adds_are_not_fused",
        "test_saxpy_f64[aql-sw-gfx942-0]": "f64_is_computed_as_f32",
        "test_transpose_through_lds[pm4-sw-gfx1100-0-50-77]": "lds_is_not_written",
        "test_transpose_through_lds[aql-sw-gfx942-0-64-48]": "workgroups_share_their_lds",
        "test_reduce_with_barriers[pm4-sw-gfx1100-0-257]": "barriers_hold_nobody_up",
        "test_private_array_in_scratch[pm4-sw-gfx1100-0-1000]": "waves_read_the_scratch_of_the_first",
        "test_divergent_loop[pm4-sw-gfx1100-0]": "all_lanes_leave_a_loop_with_the_first",
        "test_atomics_without_return[pm4-sw-gfx1100-0]": "atomics_lose_updates",
        "test_atomics_with_return[pm4-sw-gfx1100-0]": "atomics_return_the_new_value",
        "test_atomics_on_64_bits[pm4-sw-gfx1100-0]": "atomics_of_64_bits_look_at_the_low_half",
        "test_compare_and_exchange_has_one_winner[pm4-sw-gfx1100-0]": "compare_and_swap_always_swaps",
        "test_compute_bound_loop[pm4-sw-gfx1100-0]": "an_integer_product_loses_its_top_bit",
        "test_launch_geometry_and_hidden_arguments[pm4-sw-gfx1100-0-grid1-block1]": (
            "workgroups_are_always_whole"
        ),
        "test_launch_geometry_and_hidden_arguments[aql-sw-gfx942-0-grid2-block2]": (
            "workgroup_ids_y_and_z_are_swapped"
        ),
        "test_copy_dispatch_copy[pm4-sw-gfx1100-0]": "caches_are_not_written_back",
    },
    "device/test_device.py": {
        "test_the_gpus_clock_has_the_frequency_that_it_tells[sw-gfx1100-0]": (
            "the_clock_is_twice_as_fast_as_it_says"
        ),
        "test_apertures_lie_apart[sw-gfx1100-0]": "scratch_lies_where_memory_is",
        "test_messages_call_it_as_its_tests_are_called[sw-gfx1100-0]": "a_device_has_a_name_of_its_own",
        "test_the_identity_is_that_of_the_render_node[sw-gfx1100-0]": "every_gpu_is_said_to_be_in_one_slot",
        "test_identities_tell_gpus_apart[sw-gfx1100-0]": "every_gpu_is_said_to_be_in_one_slot",
        "test_properties_agree_with_the_family[sw-gfx1100-0]": "the_size_of_lds_is_reported_in_half",
        "test_vram_is_reported_and_available[sw-gfx1100-0]": "more_vram_is_available_than_there_is",
        "test_the_gpus_clock_advances[sw-gfx1100-0]": "the_clock_stands_still",
        "test_timestamps_follow_the_order_of_work[sw-gfx1100-0-sdma]": "the_clock_stands_still",
        "test_timestamps_follow_the_order_of_work[sw-gfx1100-0-pm4]": (
            "timestamps_of_queues_have_another_origin"
        ),
        "test_a_second_handle_works_beside_the_first[sw-gfx1100-0]": (
            "buffers_of_one_size_are_the_same_memory"
        ),
        "test_closing_takes_everything_back[sw-gfx1100-0]": "freed_vram_stays_taken",
        "test_a_closed_device_makes_no_memory[sw-gfx1100-0-gtt]": "a_closed_device_still_gives",
    },
    "events/test_events.py": {
        "test_an_event_that_was_signalled_before_ends_the_wait[sw-gfx1100-0]": "an_events_age_stands_still",
        "test_a_wait_that_nothing_ends_keeps_its_age[sw-gfx1100-0]": "a_wait_counts_as_a_signal",
        "test_another_thread_ends_the_wait[sw-gfx1100-0]": "a_signal_wakes_nobody",
        "test_a_wait_is_not_ended_by_another_event[sw-gfx1100-0]": "a_signal_goes_to_every_event",
        "test_the_age_tells_signals_apart[sw-gfx1100-0]": "an_events_age_stands_still",
        "test_events_have_slots_of_their_own[sw-gfx1100-0]": "events_beyond_200_share_a_slot",
        "test_an_engines_interrupt_ends_the_wait[sw-gfx1100-0-sdma]": "an_sdma_trap_is_lost",
        "test_an_engines_interrupt_ends_the_wait[sw-gfx1100-0-pm4]": "an_end_of_pipe_interrupt_is_lost",
        "test_every_interrupt_ends_a_wait[sw-gfx1100-0-sdma]": "every_tenth_sdma_trap_is_lost",
        "test_every_interrupt_ends_a_wait[sw-gfx942-0-sdma]": "event_slots_are_not_fenced",
    },
    "faults/test_endless_kernel.py": {
        "test_a_kernel_ends_when_the_host_tells_it[sw-gfx1100-0-pm4]": "uncached_memory_is_cached",
        "test_a_kernel_ends_when_the_host_tells_it[sw-gfx942-0-aql]": "uncached_memory_is_cached",
        "test_the_queue_of_an_endless_kernel_can_be_destroyed[sw-gfx1100-0-pm4]": (
            "running_waves_cannot_be_preempted"
        ),
    },
    "faults/test_queue_errors.py": {
        "test_an_unknown_packet_is_told_with_its_code[sw-gfx1100-0]": (
            "every_bad_packet_has_the_code_of_another"
        ),
        "test_an_unknown_packet_leaves_other_queues[sw-gfx1100-0-sdma]": "a_bad_packet_stops_all_queues",
        "test_an_unknown_packet_leaves_other_queues[sw-gfx942-0-pm4]": "a_bad_packet_stops_all_queues",
        "test_after_an_unknown_packet_a_new_queue_works[sw-gfx1100-0]": (
            "queues_made_after_a_bad_packet_do_not_run"
        ),
        "test_an_illegal_instruction_ends_the_wave_and_leaves_other_queues[sw-gfx1100-0-pm4]": (
            "an_illegal_instruction_stops_all_queues"
        ),
    },
    "faults/test_vm_fault.py": {
        "test_a_kernel_cannot_write_code[sw-gfx1100-0-pm4]": "everything_may_be_written",
        "test_data_cannot_be_executed[sw-gfx1100-0-pm4]": "everything_may_be_executed",
        "test_use_after_free_names_the_buffer[sw-gfx1100-0]": "what_was_freed_is_forgotten",
        "test_a_memory_fault_stops_all_queues[sw-gfx1100-0]": "a_memory_fault_stops_its_queue_only",
        "test_a_memory_fault_stops_all_queues[sw-gfx942-0]": "a_lost_queue_takes_work",
        "test_a_kernel_out_of_bounds_faults_with_its_address[sw-gfx1100-0-read_at-pm4]": (
            "reads_of_what_is_not_mapped_give_zero"
        ),
        "test_a_kernel_out_of_bounds_faults_with_its_address[sw-gfx1100-0-write_at-pm4]": (
            "writes_to_what_is_not_mapped_are_dropped"
        ),
        "test_a_kernel_out_of_bounds_faults_with_its_address[sw-gfx942-0-read_at-aql]": (
            "a_fault_is_reported_at_the_next_page"
        ),
        "test_sdma_out_of_bounds_faults_with_its_address[sw-gfx1100-0-source]": (
            "sdma_ignores_what_is_not_mapped"
        ),
        "test_code_cannot_be_written[sw-gfx1100-0]": "everything_may_be_written",
        "test_after_a_fault_the_device_works[sw-gfx1100-0]": "a_gpu_that_faulted_stays_evicted",
    },
    "memory/test_allocation.py": {
        "test_the_cpu_reads_what_it_wrote[vram-sw-gfx1100-0-4097]": (
            "the_cpu_sees_the_first_page_again_as_the_last"
        ),
        "test_the_gpu_writes_what_the_cpu_reads[gtt-sw-gfx1100-0-4097]": "a_fill_leaves_out_its_last_item",
        "test_the_gpu_reads_what_the_cpu_wrote[userptr-sw-gfx1100-0-65536]": (
            "user_memory_is_read_a_page_too_far"
        ),
        "test_the_gpu_reaches_a_part_of_an_array[sw-gfx1100-0-1]": "a_fill_writes_one_item_too_many",
        "test_buffers_lie_apart[sw-gfx1100-0]": "addresses_are_given_twice",
        "test_buffers_are_not_each_others_memory[sw-gfx1100-0]": "buffers_of_one_size_are_the_same_memory",
        "test_memory_the_cpu_cannot_see_is_reached_by_copies[sw-gfx1100-0-4097]": (
            "vram_that_the_cpu_cannot_see_is_not_written"
        ),
        "test_a_view_is_the_buffers_own_memory[sw-gfx1100-0]": "views_are_copies",
        "test_freed_memory_is_available_again[sw-gfx1100-0-False]": "freed_vram_stays_taken",
    },
    "memory/test_misuse.py": {
        "test_a_size_below_one_is_refused[sw-gfx1100-0-0-gtt]": "sizes_below_one_are_rounded_up",
        "test_more_than_all_vram_is_refused[sw-gfx1100-0]": "more_vram_can_be_had_than_there_is",
        "test_writes_past_the_end_are_refused[sw-gfx1100-0]": "buffers_have_no_bounds_for_the_cpu",
        "test_commands_past_the_end_are_refused[sw-gfx1100-0]": "commands_have_no_bounds",
        "test_the_cpu_is_refused_memory_that_it_cannot_see[sw-gfx1100-0]": (
            "memory_that_the_cpu_cannot_see_reads_as_zero"
        ),
        "test_use_after_free_is_refused[sw-gfx1100-0]": "freed_buffers_are_kept",
    },
    "memory/test_svm.py": {
        "test_the_gpu_reads_what_the_process_wrote[sw-gfx1100-0]": "a_gpu_has_a_copy_of_shared_memory",
        "test_the_process_reads_what_the_gpu_wrote[sw-gfx1100-0]": "a_gpu_has_a_copy_of_shared_memory",
        "test_an_array_of_the_process_is_shared[sw-gfx1100-0]": "pages_of_shared_memory_are_swapped",
        "test_migration_keeps_the_contents[sw-gfx942-0]": "a_migration_loses_the_contents",
        "test_attributes_are_as_they_were_set[sw-gfx1100-0]": "granularity_of_migration_stays_as_it_was",
        "test_memory_of_a_buffer_cannot_be_shared_too[sw-gfx1100-0]": "buffers_can_be_shared_too",
    },
    "queues/test_compute_units.py": {
        "test_waves_spread_over_the_compute_units[pm4-sw-gfx1100-0]": (
            "every_wave_says_it_is_on_the_first_unit"
        ),
        "test_a_place_is_one_that_the_gpu_has[aql-sw-gfx942-0]": "every_wave_says_it_is_on_the_first_unit",
        "test_a_mask_confines_waves[pm4-sw-gfx1100-0]": "a_mask_of_units_is_ignored",
        "test_disjoint_masks_have_nothing_in_common[sw-gfx942-0]": "a_mask_of_units_is_ignored",
        "test_a_mask_can_be_taken_back[pm4-sw-gfx1100-0]": "the_first_mask_of_units_stays",
        "test_a_mask_without_units_is_refused[pm4-sw-gfx1100-0]": "any_mask_of_units_is_taken",
    },
    "queues/test_preemption.py": {
        "test_a_paused_queue_keeps_its_waves[pm4-sw-gfx1100-0]": "a_paused_queue_goes_on",
        "test_a_queue_can_be_paused_again_and_again[pm4-sw-gfx1100-0]": (
            "lds_is_lost_when_waves_are_preempted"
        ),
        "test_pausing_saves_the_waves[pm4-sw-gfx1100-0]": "preempted_waves_are_not_saved",
        "test_an_idle_queue_saves_nothing[pm4-sw-gfx1100-0]": "an_idle_queue_has_saved_waves",
        "test_what_is_submitted_to_a_paused_queue_waits[sw-gfx1100-0]": "a_paused_queue_goes_on",
        "test_a_mask_moves_waves_that_run[pm4-sw-gfx1100-0]": "lds_is_lost_when_waves_are_preempted",
        "test_waves_of_more_queues_than_the_hardware_has_keep_what_they_hold[sw-gfx1100-0]": (
            "lds_is_lost_when_waves_are_preempted"
        ),
        "test_more_queues_than_the_hardware_has_all_go_on[sw-gfx1100-0]": "queues_never_give_up_their_slot",
    },
    "queues/test_priority.py": {
        "test_the_higher_priority_is_served_first[sw-gfx1100-0]": "the_lowest_priority_goes_first",
        "test_the_lowest_priority_works_beside_the_highest[sw-gfx1100-0]": (
            "the_highest_priority_keeps_all_others_out"
        ),
        "test_a_queue_works_at_every_priority[sw-gfx1100-0-pm4]": (
            "a_queue_of_the_highest_priority_stands_still"
        ),
        "test_a_priority_that_does_not_exist_is_refused[sw-gfx1100-0]": "any_priority_is_taken",
    },
    "multi_gpu/test_handover.py": {
        "test_a_kernel_sees_what_a_peers_engine_wrote_since[first-sw-gfx942-0+sw-gfx1100-0]": (
            "caches_are_not_invalidated"
        ),
        "test_a_peers_engine_takes_what_a_kernel_wrote[second-sw-gfx942-0+sw-gfx1100-0]": (
            "caches_are_not_written_back"
        ),
        "test_a_peer_waits_for_the_signal[first-sw-gfx942-0+sw-gfx1100-0]": "sdma_does_not_wait",
        "test_a_ring_of_gpus_passes_data_on[sw-gfx942-0+sw-gfx1100-0+sw-gfx1201-0]": "sdma_does_not_wait",
    },
    "multi_gpu/test_peer_copy.py": {
        "test_a_copy_between_two_gpus[first-sw-gfx942-0+sw-gfx1100-0-12293-to_peer]": (
            "a_peers_memory_is_a_copy"
        ),
        "test_a_copy_between_two_gpus[second-sw-gfx942-0+sw-gfx1100-0-12293-from_peer]": (
            "a_peers_memory_is_a_copy"
        ),
        "test_every_engine_reaches_the_peer[first-sw-gfx942-0+sw-gfx1100-0]": (
            "engines_by_number_cannot_be_had"
        ),
        "test_both_gpus_copy_at_once[sw-gfx942-0+sw-gfx1100-0]": "a_peers_memory_is_a_copy",
        "test_access_is_given_by_mapping[sw-gfx942-0+sw-gfx1100-0]": (
            "peers_are_forgotten_when_memory_is_freed"
        ),
        "test_the_link_says_what_it_is[first-sw-gfx942-0+sw-gfx1100-0]": "the_way_back_weighs_more",
    },
    "multi_gpu/test_peer_kernels.py": {
        "test_a_kernel_reads_a_peers_memory[first-sw-gfx942-0+sw-gfx1100-0]": "a_peers_memory_is_a_copy",
        "test_a_kernel_writes_a_peers_memory[second-sw-gfx942-0+sw-gfx1100-0]": "a_peers_memory_is_a_copy",
        "test_two_gpus_count_together[sw-gfx942-0+sw-gfx1100-0-vram]": "a_peers_memory_is_a_copy",
        "test_two_gpus_count_together[sw-gfx942-0+sw-gfx1100-0-gtt]": "atomics_return_the_new_value",
    },
    "multi_gpu/test_sharing.py": {
        "test_a_child_process_has_the_same_memory[sw-gfx942-0+sw-gfx1100-0-vram-same]": (
            "another_process_gets_a_copy"
        ),
        "test_a_child_process_has_the_same_memory[sw-gfx942-0+sw-gfx1100-0-gtt-peer]": (
            "another_process_gets_a_copy"
        ),
        "test_a_peer_imports_in_the_same_process[first-sw-gfx942-0+sw-gfx1100-0]": (
            "imported_memory_is_a_copy"
        ),
    },
    "queues/test_recording.py": {
        "test_a_recorded_copy_takes_what_is_there_when_it_runs[sw-gfx1100-0]": (
            "an_indirect_buffer_of_sdma_runs_once"
        ),
        "test_a_recorded_dispatch_runs_each_time[sw-gfx1100-0-pm4]": "an_indirect_buffer_of_pm4_runs_once",
        "test_a_recorded_dispatch_runs_each_time[sw-gfx942-0-aql]": "an_aql_dispatch_runs_once_only",
        "test_a_recorded_chain_keeps_its_order[sw-gfx1100-0-pm4]": "a_partial_flush_does_not_wait",
        "test_a_recorded_chain_keeps_its_order[sw-gfx942-0-aql]": "the_barrier_bit_is_ignored",
    },
    "queues/test_ring.py": {
        "test_an_sdma_ring_wraps[sw-gfx1100-0]": "a_ring_keeps_what_it_held_first",
        "test_a_full_ring_waits_for_space[sw-gfx1100-0-sdma]": "the_read_pointer_of_sdma_runs_ahead",
        "test_a_full_ring_waits_for_space[sw-gfx1100-0-pm4]": "the_read_pointer_of_pm4_runs_ahead",
        "test_a_full_ring_waits_for_space[sw-gfx942-0-aql]": "the_read_index_of_aql_runs_ahead",
        "test_a_compute_ring_wraps[sw-gfx1100-0-pm4]": "a_ring_keeps_what_it_held_first",
        "test_a_compute_ring_wraps[sw-gfx1100-0-aql]": "an_aql_slot_keeps_its_first_packet",
        "test_queues_come_and_go[sw-gfx1100-0-sdma]": "a_destroyed_queue_keeps_its_engine_slot",
        "test_queues_come_and_go[sw-gfx942-0-aql]": "freed_vram_stays_taken",
        "test_the_default_compute_queue_uses_the_whole_gpu[sw-gfx942-0]": (
            "compute_queues_are_pm4_if_nothing_else_is_said"
        ),
        "test_a_closed_queue_refuses_work[sw-gfx1100-0-sdma]": "a_closed_queue_takes_work",
        "test_two_queues_work_at_once[sw-gfx1100-0]": "only_one_queue_runs_at_a_time",
    },
    "queues/test_semaphore.py": {
        "test_an_engine_signals_the_host[sw-gfx1100-0-sdma]": "a_fence_writes_the_upper_half",
        "test_an_engine_signals_the_host[sw-gfx942-0-sdma]": "a_fence_is_lost",
        "test_an_engine_signals_the_host[sw-gfx1100-0-pm4]": "a_release_writes_one_too_many",
        "test_an_engine_signals_the_host[sw-gfx942-0-aql]": "every_third_doorbell_is_lost",
        "test_an_engine_waits_for_the_host[sw-gfx1100-0-sdma]": "a_wait_compares_for_equality",
        "test_an_engine_waits_for_the_host[sw-gfx1100-0-pm4]": "a_command_processor_does_not_wait",
        "test_engines_hand_over_to_each_other[sw-gfx1100-0-sdma-pm4]": "sdma_does_not_wait",
        "test_engines_hand_over_to_each_other[sw-gfx942-0-aql-sdma]": "a_command_processor_does_not_wait",
        "test_values_beyond_32_bits[sw-gfx1100-0-sdma]": "an_upper_half_is_never_fenced",
        "test_values_beyond_32_bits[sw-gfx1100-0-pm4]": "a_release_writes_32_bits_only",
        "test_both_halves_of_a_value_are_awaited[sw-gfx1100-0-sdma]": "sdma_does_not_wait_for_upper_halves",
        "test_both_halves_of_a_value_are_awaited[sw-gfx1100-0-pm4]": (
            "a_command_processor_waits_for_low_halves_only"
        ),
        "test_both_halves_of_a_value_are_awaited[sw-gfx942-0-aql]": (
            "a_command_processor_waits_for_low_halves_only"
        ),
        "test_several_semaphores_are_all_awaited[sw-gfx1100-0-sdma]": "sdma_does_not_wait",
        "test_copied_data_are_there_when_the_signal_is[sw-gfx1100-0]": (
            "a_copy_is_done_after_the_signal_behind_it"
        ),
        "test_a_wait_that_nothing_will_end_says_so[sw-gfx1100-0]": "a_wait_that_took_too_long_says_nothing",
        "test_a_wait_for_the_past_returns_at_once[sw-gfx1100-0]": "a_wait_wants_a_signal_for_the_past",
        "test_a_value_never_goes_back[sw-gfx1100-0]": "a_semaphore_goes_back",
    },
    "sdma/test_copy.py": {
        "test_size[sw-gfx1100-0-4097]": "a_copy_leaves_out_its_last_byte",
        "test_large_size[sw-gfx942-0-16777219]": "a_packet_that_continues_another_is_not_executed",
        "test_the_limit_of_one_packet[sw-gfx942-0-1]": "a_packet_that_continues_another_is_not_executed",
        "test_locations[sw-gfx1100-0-gtt-userptr]": "user_memory_is_read_a_page_too_far",
        "test_alignment[sw-gfx1100-0-1-0]": "a_copy_reads_from_whole_dwords",
        "test_alignment[sw-gfx1100-0-0-1]": "a_copy_writes_to_whole_dwords",
        "test_alignment[sw-gfx1100-0-63-15]": "a_copy_slips_by_a_byte_at_a_page",
        "test_small_copies_at_any_alignment[sw-gfx1100-0-0-1-5]": "a_copy_rounds_its_size_up_to_dwords",
        "test_neighbouring_copies_meet[sw-gfx1100-0]": "a_copy_writes_one_byte_too_many",
        "test_a_copy_takes_the_size_that_it_is_given[sw-gfx1100-0]": "a_copy_takes_the_size_of_its_source",
        "test_many_random_ranges[sw-gfx1100-0]": "a_copy_slips_by_a_byte_at_a_page",
        "test_a_chain_of_copies_is_ordered[sw-gfx1100-0]": "a_copy_overtakes_the_one_before",
    },
    "sdma/test_fill.py": {
        "test_a_byte_fills_any_size[sw-gfx1100-0-165-4097]": "a_fill_leaves_out_its_last_item",
        "test_a_byte_fills_at_any_alignment[sw-gfx1100-0-1-gtt]": "a_fill_begins_at_a_whole_dword",
        "test_a_word_fills_words[sw-gfx1100-0-1024]": "a_fill_stores_only_the_low_byte",
        "test_a_half_word_fills_half_words[sw-gfx1100-0-2-3]": "a_fill_takes_all_widths_for_dwords",
        "test_the_limit_of_one_packet[sw-gfx942-0-1-4]": "a_packet_that_continues_another_is_not_executed",
    },
}
"""By file of `hw_tests`: an instance of a test, and the name of a defect that makes it fail."""

FIRST = {
    "faults/test_vm_fault.py::test_after_a_fault_the_device_works[sw-gfx1100-0]": (
        "faults/test_vm_fault.py::test_sdma_out_of_bounds_faults_with_its_address[sw-gfx1100-0-source]"
    ),
}
"""Tests that mean something only behind another one, which passes nevertheless."""
