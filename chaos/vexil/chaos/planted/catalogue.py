"""All planted bugs, by number: those that seeds find, and those for which a scenario was written."""

from __future__ import annotations

from typing import Final

from vexil.chaos.planted import (
    back_off_without_bound,
    canonical_in_dict_order,
    copy_keeps_its_name,
    evicted_not_fenced,
    far_clock_believed,
    gap_skipped,
    garbage_before_all,
    garbage_without_the_partitioned,
    gossip_one_way,
    half_a_change_set,
    kill_as_last_writer,
    merge_counts_twice,
    old_name_after_crash,
    one_bad_flag_stops_all,
    page_tail_dropped,
    removals_not_in_digest,
    remove_clears_unseen,
    replay_counts_twice,
    retry_writes_again,
    stamps_not_received,
    tie_resolved_by_arrival,
    tie_without_incarnation,
    timeout_as_failure,
    unsynced_acknowledgement,
    vector_before_cells,
    vector_before_page,
    view_from_change,
    wall_clock_for_stamps,
)
from vexil.chaos.planted.planted_bug import PlantedBug

PLANTED: Final[tuple[PlantedBug, ...]] = tuple(
    sorted(
        (
            module.BUG
            for module in (
                back_off_without_bound,
                canonical_in_dict_order,
                far_clock_believed,
                gap_skipped,
                half_a_change_set,
                kill_as_last_writer,
                merge_counts_twice,
                old_name_after_crash,
                one_bad_flag_stops_all,
                remove_clears_unseen,
                retry_writes_again,
                stamps_not_received,
                tie_resolved_by_arrival,
                tie_without_incarnation,
                timeout_as_failure,
                unsynced_acknowledgement,
                vector_before_cells,
                vector_before_page,
                view_from_change,
                wall_clock_for_stamps,
            )
        ),
        key=lambda bug: bug.number,
    )
)
DIRECTED: Final[tuple[tuple[PlantedBug, str], ...]] = (
    (copy_keeps_its_name.BUG, "clone"),
    (garbage_before_all.BUG, "garbage-waits-for-the-cut-off"),
    (garbage_without_the_partitioned.BUG, "garbage-waits-for-the-cut-off"),
    (removals_not_in_digest.BUG, "delete-by-digest"),
    (gossip_one_way.BUG, "one-way-link"),
    (page_tail_dropped.BUG, "page-limit"),
    (replay_counts_twice.BUG, "replayed-once"),
    (evicted_not_fenced.BUG, "evicted-alive"),
)
"""Bugs that random faults find too rarely, each with the scenario that fails on it."""
