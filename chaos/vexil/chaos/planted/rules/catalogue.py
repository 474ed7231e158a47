"""All rules that can be switched off, by number, and those of the model that this code has nothing of yet."""

from __future__ import annotations

from types import ModuleType
from typing import Final

from vexil.chaos.planted.rules import (
    rule_01_context_of_an_earlier_state,
    rule_01_old_view_accepted,
    rule_01_shown_by_last_touch,
    rule_02_cause_not_awaited,
    rule_02_lane_by_columns,
    rule_02_page_in_order_of_dots,
    rule_02_past_not_compared,
    rule_03_floor_not_compared,
    rule_03_snapshot_ahead_of_its_store,
    rule_03_snapshot_not_of_one_instant,
    rule_03_snapshot_replaces,
    rule_04_cells_before_rows,
    rule_04_late_row_of_the_dead,
    rule_05_promise_of_memory,
    rule_06_pending_forgotten,
    rule_06_promise_despite_pending,
    rule_06_received_not_journalled,
    rule_07_half_a_row,
    rule_07_promise_of_the_unknown,
    rule_07_removed_before_the_floor,
    rule_07_remover_not_asked,
    rule_08_evicted_sponsor,
    rule_08_member_from_nothing,
    rule_08_members_unknown_here,
    rule_08_served_before_registered,
    rule_09_evicted_counts_no_more,
    rule_09_evicted_is_heard,
    rule_09_old_writes_forgotten,
    rule_09_stays_below_the_floor,
    rule_10_end_guessed,
    rule_11_below_the_floor_taken,
    rule_12_key_not_in_snapshots,
    rule_12_key_stays_at_home,
)
from vexil.chaos.planted.rules.switched_off import SwitchedOff

_MODULES: Final[tuple[ModuleType, ...]] = (
    rule_01_context_of_an_earlier_state,
    rule_01_old_view_accepted,
    rule_01_shown_by_last_touch,
    rule_02_cause_not_awaited,
    rule_02_lane_by_columns,
    rule_02_page_in_order_of_dots,
    rule_02_past_not_compared,
    rule_03_floor_not_compared,
    rule_03_snapshot_ahead_of_its_store,
    rule_03_snapshot_not_of_one_instant,
    rule_03_snapshot_replaces,
    rule_04_cells_before_rows,
    rule_04_late_row_of_the_dead,
    rule_05_promise_of_memory,
    rule_06_pending_forgotten,
    rule_06_promise_despite_pending,
    rule_06_received_not_journalled,
    rule_07_half_a_row,
    rule_07_promise_of_the_unknown,
    rule_07_removed_before_the_floor,
    rule_07_remover_not_asked,
    rule_08_evicted_sponsor,
    rule_08_member_from_nothing,
    rule_08_members_unknown_here,
    rule_08_served_before_registered,
    rule_09_evicted_counts_no_more,
    rule_09_evicted_is_heard,
    rule_09_old_writes_forgotten,
    rule_09_stays_below_the_floor,
    rule_10_end_guessed,
    rule_11_below_the_floor_taken,
    rule_12_key_not_in_snapshots,
    rule_12_key_stays_at_home,
)
SWITCHES: Final[tuple[SwitchedOff, ...]] = tuple(module.SWITCH for module in _MODULES)
RULES: Final = range(1, 13)
ELSEWHERE: Final = {
    "stfence": "an evicted node is cut off from a store that it shares with its region: every node has its own here",
    "intent": "a snapshot on its way into a shared store: here it is staged beside the node's own, and switched to",
}
"""Switches of the model that are about a store that several nodes share. They come with the Cassandra store."""
