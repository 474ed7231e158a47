"""Statements about what nodes show and hold.

What must be so::

    expect <flag> <value|absent|present> at <node>|everywhere [within <seconds>]
    expect tags <flag> <tag,…|none> everywhere
    expect killed|alive <flag> everywhere
    expect one winner of <flag> everywhere
    expect conflict of <flag> at <node>
    expect equal stamps of the last changes of <node> and <node>
    expect everybody but <node> to keep the time
    expect <kind> alarm
    expect garbage of <flag> at <node>
    expect no garbage of <flag> at <node>|everywhere [within <seconds>]
    expect nothing lost                   what checkers say at the end of a run
"""

from __future__ import annotations

from tests.sim.language.scenario import Scenario, Unmet, statement
from vexil.crdt import hlc as hlcs
from vexil.crdt.flag_state import FlagState
from vexil.crdt.schema import flag_object
from vexil.node.collector import holds_garbage


@statement(
    r"expect (?!tags |killed |alive |one |a |new |nothing |\d+ members )"
    r"(\S+) (\S+) (?:at (\S+)|everywhere)(?: within (\S+))?"
)
async def expect(scenario: Scenario, flag: str, value: str, node: str | None, seconds: str | None) -> None:
    def shown() -> dict[str, str]:
        states = {n: _flag(scenario, n, flag) for n in scenario.places(node or "everywhere")}
        return {n: "absent" if state is None else state.description for n, state in states.items()}

    def holds() -> bool:
        return all(s == value or (value == "present" and s != "absent") for s in shown().values())

    await scenario.until(float(seconds or 0), holds, shown)


@statement(r"expect tags (\S+) (\S+) everywhere")
async def expect_tags(scenario: Scenario, flag: str, tags: str) -> None:
    shown = {n: state.tags for n, state in _everywhere(scenario, flag).items()}
    wanted = () if tags == "none" else tuple(sorted(tags.split(",")))
    if not shown or any(tuple(sorted(t)) != wanted for t in shown.values()):
        raise Unmet(f"they are {shown}")


@statement(r"expect (killed|alive) (\S+) everywhere")
async def expect_killed(scenario: Scenario, what: str, flag: str) -> None:
    shown = {n: state.environments["prod"].kill for n, state in _everywhere(scenario, flag).items()}
    if not shown or any(kill is not (what == "killed") for kill in shown.values()):
        raise Unmet(f"kills are {shown}")


@statement(r"expect one winner of (\S+) everywhere")
async def expect_one_winner(scenario: Scenario, flag: str) -> None:
    states = {n: _flag(scenario, n, flag) for n in scenario.places("everywhere")}
    shown = {n: None if state is None else state.description for n, state in states.items()}
    if len(set(shown.values())) != 1:
        raise Unmet(f"winners are {shown}")


@statement(r"expect conflict of (\S+) at (\S+)")
async def expect_conflict(scenario: Scenario, flag: str, node: str) -> None:
    records = scenario.project(node).conflicts()
    if not any(record.object == flag_object(flag) for record in records):
        raise Unmet(f"conflicts are {records}")


@statement(r"expect equal stamps of the last changes of (\S+) and (\S+)")
async def expect_equal_stamps(scenario: Scenario, left: str, right: str) -> None:
    stamps = [hlcs.render(scenario.last[node].hlc) for node in (left, right)]
    if stamps[0] != stamps[1]:
        raise Unmet(f"they are {stamps}")


@statement(r"expect everybody but (\S+) to keep the time")
async def expect_time_kept(scenario: Scenario, node: str) -> None:
    for slot in scenario.cluster.live():
        ahead_ms = hlcs.milliseconds(scenario.engine(slot.name).clock.last) - slot.clock.wall_ms()
        if slot.name != node and ahead_ms > 1_000:
            raise Unmet(f"{slot.name} is {ahead_ms} ms ahead")


@statement(r"expect (\S+) alarm")
async def expect_alarm(scenario: Scenario, kind: str) -> None:
    alarms = scenario.history.alarms
    await scenario.until(15, lambda: any(k == kind for _, k, _ in alarms), lambda: alarms)


@statement(r"expect garbage of (\S+) at (\S+)")
async def expect_garbage(scenario: Scenario, flag: str, node: str) -> None:
    if not _holds_garbage(scenario, node, flag):
        raise Unmet("it has been collected")


@statement(r"expect no garbage of (\S+) (?:at (\S+)|everywhere)(?: within (\S+))?")
async def expect_no_garbage(scenario: Scenario, flag: str, node: str | None, seconds: str | None) -> None:
    def left() -> list[str]:
        names = scenario.places(node or "everywhere")
        return [name for name in names if _holds_garbage(scenario, name, flag)]

    await scenario.until(float(seconds or 0), lambda: not left(), left)


@statement(r"expect nothing lost")
async def expect_nothing_lost(scenario: Scenario) -> None:
    scenario.checkers.settled(scenario.cluster)


def _flag(scenario: Scenario, node: str, flag: str) -> FlagState | None:
    return scenario.project(node).flag(flag)


def _everywhere(scenario: Scenario, flag: str) -> dict[str, FlagState]:
    states = {n: _flag(scenario, n, flag) for n in scenario.places("everywhere")}
    return {n: state for n, state in states.items() if state is not None}


def _holds_garbage(scenario: Scenario, node: str, flag: str) -> bool:
    return holds_garbage(scenario.project(node).replica.cells(flag_object(flag)))
