"""The rules of replication (section 12 of the design): what holds with a rule breaks when it is switched off.

Each has a history that a person can read: a scenario of a whole cluster, or one told to the parts of a node.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import pytest
import trio

from tests.sim import rule_histories as told
from tests.sim.scenario_language import Unmet
from tests.sim.test_scenarios import SCENARIOS, play
from vexil.chaos.planted.rules.catalogue import ELSEWHERE, RULES, SWITCHES
from vexil.chaos.planted.rules.switched_off import SwitchedOff

History = Callable[[], None]
MODEL: Final = frozenset(
    (
        *("ctx", "causal", "snapjoin", "cut", "jremote", "anndur", "gcby", "gchead", "joinfirst", "evstable"),
        *("fence", "stfence", "snapdur", "seal", "jretry", "sponsor", "rowfirst", "intent", "floor", "wipe"),
        *("retire", "rowdel", "needboot"),
    )
)
"""What the executable model of the design can switch off."""

HISTORIES: Final[dict[str, tuple[History, ...]]] = {
    "ctx-state": (told.a_change_replaces_what_its_node_has,),
    "generations": (told.an_edit_does_not_flip_two_creates,),
    "columns": (told.lanes_of_copies_are_one_of_them,),
    "chain": (told.two_histories_of_one_incarnation_never_mix,),
    "cut": (told.a_snapshot_is_of_one_instant,),
    "snapjoin": (told.a_snapshot_is_joined,),
    "floor": (
        told.a_state_from_a_backup_is_not_joined,
        told.a_state_that_has_not_seen_the_removal_is_not_joined,
    ),
    "gcby": (told.what_replaced_it_must_be_everywhere_too,),
    "floorfirst": (told.a_floor_is_stored_before_what_it_tells_of_goes,),
    "gchead": (told.a_promise_of_more_than_is_known_here,),
    "members": (told.a_member_that_only_another_one_knows,),
    "evstable": (told.an_evicted_member_of_which_another_has_not_heard,),
    "quarantine": (told.a_change_from_below_the_floor,),
}
IN_SCENARIOS: Final[dict[str, tuple[str, ...]]] = {
    "ctx": ("author-with-an-old-view",),
    "causal": ("effect-before-cause",),
    "order": ("page-order",),
    "snapjoin": ("away-for-longer-than-the-log",),
    "snapdur": ("snapshot-of-what-is-not-stored",),
    "floor": ("put-back-from-a-copy",),
    "rowfirst": ("cells-of-the-dead",),
    "seal": ("late-row-of-the-dead",),
    "anndur": ("heard-and-not-stored",),
    "jremote": ("heard-and-restarted",),
    "jretry": ("record-without-its-cause",),
    "jhold": ("promise-held-back",),
    "rowdel": ("collected-and-restarted",),
    "joinfirst": ("garbage-waits-for-the-joiner",),
    "needboot": ("nobody-in-reach",),
    "sponsor": ("evicted-sponsor",),
    "evstable": ("evicted-by-one-heard-by-another",),
    "fence": ("evicted-alive",),
    "wipe": ("put-back-from-a-copy",),
    "reissue": ("returned-with-its-writes",),
    "retire": ("end-of-an-incarnation",),
    "key": ("retry-elsewhere",),
    "key-snapshot": ("retry-behind-a-snapshot",),
}
BY_NAME: Final = {switch.name: switch for switch in SWITCHES}
TOLD: Final = [(BY_NAME[name], history) for name, histories in HISTORIES.items() for history in histories]
PLAYED: Final = [(BY_NAME[name], stem) for name, stems in IN_SCENARIOS.items() for stem in stems]


def name_of(value: object) -> str:
    return value.__name__ if callable(value) and hasattr(value, "__name__") else str(value)


@pytest.mark.parametrize("history", [history for _, history in TOLD], ids=name_of)
def test_with_its_rule_a_history_holds(history: History) -> None:
    history()


@pytest.mark.parametrize(("switch", "history"), TOLD, ids=name_of)
def test_without_its_rule_a_history_fails(switch: SwitchedOff, history: History) -> None:
    with switch.apply(), pytest.raises(AssertionError):
        history()


@pytest.mark.parametrize(("switch", "scenario"), PLAYED, ids=name_of)
def test_without_its_rule_a_scenario_fails(switch: SwitchedOff, scenario: str) -> None:
    path = next(path for path in SCENARIOS if path.stem == scenario)
    # A node that does not get ready is as bad as one that shows what is wrong.
    with switch.apply(), pytest.raises((Unmet, trio.TooSlowError)):
        play(path.read_text(encoding="utf-8"))


def test_every_rule_can_be_switched_off_and_every_switch_is_noticed() -> None:
    assert {switch.rule for switch in SWITCHES} == set(RULES)
    assert len(BY_NAME) == len(SWITCHES)
    assert BY_NAME.keys() == HISTORIES.keys() | IN_SCENARIOS.keys()


def test_no_switch_of_the_model_is_forgotten() -> None:
    assert BY_NAME.keys() | ELSEWHERE.keys() >= MODEL
    assert not BY_NAME.keys() & ELSEWHERE.keys()


def test_a_rule_holds_again_afterwards() -> None:
    for switch in SWITCHES:
        with switch.apply():
            pass
    for _, history in TOLD:
        history()
