"""For what is planted: the histories that were written for it, by its name. Each fails under it, and holds without it.

A history is a scenario of a whole cluster (`test_scenarios`), or one told to the parts of a node (`rule_histories`) or
to engines (`planted_histories`). `vexil chaos check --planted` falls back on them where no seed catches.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Final

from tests.sim import planted_histories, rule_histories
from tests.sim.test_scenarios import SCENARIOS, play
from vexil.chaos.planted.catalogue import PLANTED, SWITCHES

History = Callable[[], None]

OF_BUGS: Final[dict[int, tuple[History, ...]]] = {
    2: (planted_histories.a_tie_goes_to_the_higher_incarnation,),
    28: (planted_histories.a_reader_sees_all_of_a_change_set,),
    30: (planted_histories.what_a_node_cannot_read_is_there_after_a_start,),
    31: (planted_histories.who_fails_over_reads_what_he_has_seen,),
}
"""By the number of a planted bug: what is told."""
OF_RULES: Final[dict[str, tuple[History, ...]]] = {
    "ctx-state": (rule_histories.a_change_replaces_what_its_node_has,),
    "generations": (rule_histories.an_edit_does_not_flip_two_creates,),
    "columns": (rule_histories.lanes_of_copies_are_one_of_them,),
    "chain": (rule_histories.two_histories_of_one_incarnation_never_mix,),
    "cut": (rule_histories.a_snapshot_is_of_one_instant,),
    "snapjoin": (rule_histories.a_snapshot_is_joined,),
    "floor": (
        rule_histories.a_state_from_a_backup_is_not_joined,
        rule_histories.a_state_that_has_not_seen_the_removal_is_not_joined,
    ),
    "gcby": (rule_histories.what_replaced_it_must_be_everywhere_too,),
    "floorfirst": (rule_histories.a_floor_is_stored_before_what_it_tells_of_goes,),
    "gchead": (rule_histories.a_promise_of_more_than_is_known_here,),
    "members": (rule_histories.a_member_that_only_another_one_knows,),
    "evstable": (rule_histories.an_evicted_member_of_which_another_has_not_heard,),
    "quarantine": (rule_histories.a_change_from_below_the_floor,),
}
"""By the name of a rule that is switched off: what is told."""
SCENARIOS_OF_RULES: Final[dict[str, str]] = {
    "ctx": "author-with-an-old-view",
    "causal": "effect-before-cause",
    "order": "page-order",
    "snapjoin": "away-for-longer-than-the-log",
    "snapdur": "snapshot-of-what-is-not-stored",
    "floor": "put-back-from-a-copy",
    "rowfirst": "cells-of-the-dead",
    "seal": "late-row-of-the-dead",
    "anndur": "heard-and-not-stored",
    "jremote": "heard-and-restarted",
    "jretry": "record-without-its-cause",
    "jhold": "promise-held-back",
    "rowdel": "collected-and-restarted",
    "joinfirst": "garbage-waits-for-the-joiner",
    "needboot": "nobody-in-reach",
    "sponsor": "evicted-sponsor",
    "evstable": "evicted-by-one-heard-by-another",
    "fence": "evicted-alive",
    "wipe": "put-back-from-a-copy",
    "reissue": "returned-with-its-writes",
    "retire": "end-of-an-incarnation",
    "key": "retry-elsewhere",
    "key-snapshot": "retry-behind-a-snapshot",
}
"""By the name of a rule that is switched off: the scenario that is played."""


def play_scenario(stem: str) -> None:
    """Play the scenario of that file. Raises Unmet, or TooSlowError for a node that does not get ready."""
    path = next(path for path in SCENARIOS if path.stem == stem)
    play(path.read_text(encoding="utf-8"))


def _one_after_another(histories: Iterable[History]) -> None:
    for history in histories:
        history()


def _all() -> dict[str, History]:
    found: dict[str, list[History]] = {}
    for bug in PLANTED:
        found[str(bug)] = [*OF_BUGS.get(bug.number, ())]
        found[str(bug)] += [partial(play_scenario, bug.history)] if bug.history else []
    for switch in SWITCHES:
        stem = SCENARIOS_OF_RULES.get(switch.name)
        found[str(switch)] = [*OF_RULES.get(switch.name, ())]
        found[str(switch)] += [partial(play_scenario, stem)] if stem else []
    return {name: partial(_one_after_another, histories) for name, histories in found.items() if histories}


HISTORIES: Final = _all()
"""By what a planted bug or a switched-off rule is called."""
