"""The rules of replication (section 12 of the design): what holds with a rule breaks when it is switched off.

Each has a history that a person can read: a scenario of a whole cluster, or one told to the parts of a node.
"""

from __future__ import annotations

from typing import Final

import pytest
import trio

from tests.sim.directed_histories import OF_RULES, SCENARIOS_OF_RULES, History, play_scenario
from tests.sim.language import Unmet
from vexil.chaos.planted.catalogue import ELSEWHERE, RULES, SWITCHES
from vexil.chaos.planted.switched_off import SwitchedOff

MODEL: Final = frozenset(
    (
        *("ctx", "causal", "snapjoin", "cut", "jremote", "anndur", "gcby", "gchead", "joinfirst", "evstable"),
        *("fence", "stfence", "snapdur", "seal", "jretry", "sponsor", "rowfirst", "intent", "floor", "wipe"),
        *("retire", "rowdel", "needboot"),
    )
)
"""What the executable model of the design can switch off."""
BY_NAME: Final = {switch.name: switch for switch in SWITCHES}
TOLD: Final = [(BY_NAME[name], history) for name, histories in OF_RULES.items() for history in histories]
PLAYED: Final = [(BY_NAME[name], stem) for name, stem in SCENARIOS_OF_RULES.items()]


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
    # A node that does not get ready is as bad as one that shows what is wrong.
    with switch.apply(), pytest.raises((Unmet, trio.TooSlowError)):
        play_scenario(scenario)


def test_every_rule_can_be_switched_off_and_every_switch_is_noticed() -> None:
    assert {switch.rule for switch in SWITCHES} == set(RULES)
    assert BY_NAME.keys() == OF_RULES.keys() | SCENARIOS_OF_RULES.keys()


def test_no_switch_of_the_model_is_forgotten() -> None:
    assert BY_NAME.keys() | ELSEWHERE.keys() >= MODEL
    assert not BY_NAME.keys() & ELSEWHERE.keys()


def test_a_rule_holds_again_afterwards() -> None:
    for switch in SWITCHES:
        with switch.apply():
            pass
    for _, history in TOLD:
        history()
