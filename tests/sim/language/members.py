"""Statements about membership: who belongs to the cluster, who has to go, and what becomes of its writes.

What happens::

    evict <node> at <node>
    return <node>                         as `vexil member return` at it; it is ready and a member again
    return <node> and crash it after <n> old changes  and start it again

What must be so::

    expect standing <joining|member|unknown|evicted|restored> of <node> [within <seconds>]
    expect new registration of <node>
    expect old registration of <node>     as it was when it first became ready
    expect <n> members at <node> [within <seconds>]
    expect refusal of a write at <node>
    expect everything of <node> back within <seconds>   each change that it had alone: once, issued again or parked
    expect parked <flag> <value> at <node>
    expect no promise of <node> about its last change   which was made by the process before this one
"""

from __future__ import annotations

from typing import Any

import trio

from tests.sim.language.processes import life
from tests.sim.language.scenario import PATIENCE_S, SETUP_LIMIT_S, Scenario, Unmet, statement
from vexil.chaos.clients.operations import PROJECT
from vexil.crdt.conflicts import RETURNED
from vexil.crdt.schema import SYSTEM_PROJECT, flag_object
from vexil.node.announcements import Place
from vexil.node.errors import NodeNotReady
from vexil.node.membership import eviction

STEPS_MAX = 5_000
"""Steps of the loop in which a node's work that takes no time must have come somewhere."""


@statement(r"evict (\S+) at (\S+)")
async def evict(scenario: Scenario, node: str, at: str) -> None:
    engine = scenario.engine(at)
    await engine.write(
        SYSTEM_PROJECT,
        lambda _: eviction(engine.directory, node, own=at, by="operator"),
        author="operator",
    )


@statement(r"return (\S+)")
async def come_back(scenario: Scenario, node: str) -> None:
    old = scenario.registrations[node] = scenario.engine(node).registration
    scenario.engine(node).enrolment.return_now()
    await expect_standing(scenario, "member", node, str(SETUP_LIMIT_S), unlike=old)


@statement(r"return (\S+) and crash it after (\d+) old changes")
async def come_back_and_crash(scenario: Scenario, node: str, count: str) -> None:
    scenario.registrations[node] = scenario.engine(node).registration
    scenario.engine(node).enrolment.return_now()
    with trio.fail_after(SETUP_LIMIT_S):
        while (  # noqa: ASYNC110 - it looks at a node from outside
            engine := scenario.slot(node).engine
        ) is None or engine.coming_back is None:
            await trio.sleep(PATIENCE_S)
        await engine.until_ready()
    # Nothing need take any time in a sound world: it is looked at between the steps of other tasks.
    for _ in range(STEPS_MAX):
        if _progress(scenario, node)["done"] >= int(count):
            break
        await trio.lowlevel.checkpoint()
    if _progress(scenario, node)["finished"]:
        raise Unmet("it was through before the crash")
    await life(scenario, "crash", node)
    await life(scenario, "start", node)


@statement(r"expect standing (\S+) of (\S+)(?: within (\S+))?")
async def expect_standing(
    scenario: Scenario, standing: str, node: str, seconds: str | None, *, unlike: str | None = None
) -> None:
    def shown() -> object:
        engine = scenario.slot(node).engine
        if engine is None or engine.registration == unlike:
            return None
        return engine.enrolment.standing if engine.ready or standing == "joining" else "not ready"

    await scenario.until(float(seconds or 0), lambda: shown() == standing, shown)


@statement(r"expect new registration of (\S+)")
async def expect_new_registration(scenario: Scenario, node: str) -> None:
    if scenario.engine(node).registration == scenario.registrations[node]:
        raise Unmet("it is the old one")


@statement(r"expect old registration of (\S+)")
async def expect_old_registration(scenario: Scenario, node: str) -> None:
    first = scenario.registrations.get(node)
    found = scenario.engine(node).registration
    if first is not None and found != first:
        raise Unmet(f"it was {first} and is {found}")
    if scenario.slot(node).starts > 1 and first is None:
        raise Unmet("it has begun anew")


@statement(r"expect (\d+) members at (\S+)(?: within (\S+))?")
async def expect_members(scenario: Scenario, count: str, node: str, seconds: str | None) -> None:
    def found() -> list[str]:
        return [slot for slot, m in scenario.engine(node).directory.members.items() if m.registered]

    await scenario.until(float(seconds or 0), lambda: len(found()) == int(count), found)


@statement(r"expect refusal of a write at (\S+)")
async def expect_refusal(scenario: Scenario, node: str) -> None:
    try:
        await scenario.write(node, {"op": "patch", "flag": "f", "patch": {"description": "taken"}})
    except NodeNotReady:
        return
    raise Unmet("it was taken")


@statement(r"expect everything of (\S+) back within (\S+)")
async def expect_back(scenario: Scenario, node: str, seconds: str) -> None:
    await scenario.until(
        float(seconds),
        lambda: bool(_progress(scenario, node)["finished"]) and not scenario.slot(node).archives,
        lambda: _progress(scenario, node),
    )
    replica = scenario.project(node).replica
    written = scenario.history.changes[PROJECT]
    alone = [c for dot, c in written.items() if replica.known(dot[0]) < dot[1]]
    keys = [c.idempotency[0] for dot, c in written.items() if c.idempotency and c not in alone]
    if not alone:
        raise Unmet("it had nothing alone")
    for change in alone:
        made = f"return/{change.id}/{change.chain.hex()[:16]}"
        wanted = {made, *(change.idempotency or ())[:1]}
        found = [key for key in keys if key in wanted]
        if len(found) != 1:
            raise Unmet(f"{change.id} became {found}")


@statement(r"expect parked (\S+) (\S+) at (\S+)")
async def expect_parked(scenario: Scenario, flag: str, value: str, node: str) -> None:
    records = scenario.project(node).conflicts()
    found = [r.siblings[0].value for r in records if r.kind == RETURNED and r.object == flag_object(flag)]
    if found != [value]:
        raise Unmet(f"they are {found}")


@statement(r"expect no promise of (\S+) about its last change")
async def expect_no_promise(scenario: Scenario, node: str) -> None:
    engine = scenario.engine(node)
    told = engine.announcements.of(Place(node, engine.registration))
    incarnation = engine.incarnation
    system = {} if told is None else told.vector(SYSTEM_PROJECT)
    if incarnation in system:
        raise Unmet(f"it says that {incarnation:016x} has begun, and so that the one before has ended")


def _progress(scenario: Scenario, node: str) -> dict[str, Any]:
    engine = scenario.slot(node).engine
    nothing = {"done": 0, "finished": False}
    return nothing if engine is None or engine.coming_back is None else engine.coming_back.status()
