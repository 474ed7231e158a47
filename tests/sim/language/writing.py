"""Statements of people who write: at a node, with or without a key, on the view of now or on an old one.

What happens::

    create|delete|kill|unkill <flag> at <node>
    set <flag> <value> at <node>          writes the description
    set <flag> <value> at <node> under the key <key>
    set <flag> <n> times at <node>, <seconds> s apart
    fill <flag> with <n> of <m> bytes at <node>   n changes of its description
    tag|untag <flag> <tag> at <node>
    hand <node> the last change of <node>
    <person> looks at <flag> at <node>     and keeps its ETag
    <person> is refused to unkill|delete|set <flag> [to <value>] at <node>     under the ETag of that moment

What must be so::

    expect one change of the key <key>
    expect no aside change
"""

from __future__ import annotations

from typing import Any

import trio

from tests.sim.language.scenario import Scenario, Unmet, statement
from vexil.chaos.clients.operations import PROJECT, flag_body
from vexil.crdt.schema import flag_object
from vexil.node.authoring import change_set, etag_of, unkill_flag
from vexil.node.errors import Stale
from vexil.node.gossip import messages
from vexil.node.seams import PeerIdentity

FINGERPRINT = b"the same request"


@statement(r"(create|delete|kill|unkill) (\S+) at (\S+)")
async def simple(scenario: Scenario, verb: str, flag: str, node: str) -> None:
    if verb == "unkill":
        await scenario.author(
            node,
            lambda view: unkill_flag(
                view, flag, "prod", if_match=etag_of(view.replica.cells(flag_object(flag)))
            ),
        )
        return
    extra: dict[str, dict[str, Any]] = {
        "create": {"value": flag_body("fresh")},
        "kill": {"environment": "prod"},
    }
    await scenario.write(node, {"op": verb, "flag": flag, **extra.get(verb, {})})


@statement(r"set (\S+) (\S+) at (\S+)")
async def describe(scenario: Scenario, flag: str, value: str, node: str) -> None:
    await scenario.write(node, {"op": "patch", "flag": flag, "patch": {"description": value}})


@statement(r"set (\S+) (\S+) at (\S+) under the key (\S+)")
async def set_once(scenario: Scenario, flag: str, value: str, node: str, key: str) -> None:
    operation = {"op": "patch", "flag": flag, "patch": {"description": value}}
    await scenario.engine(node).write(
        PROJECT,
        lambda view: change_set(view, {"operations": [operation]}, new_id=lambda: "r").intent,
        author=node,
        durability="node",
        idempotency=(key, FINGERPRINT),
    )


@statement(r"set (\S+) (\d+) times at (\S+), (\S+) s apart")
async def set_slowly(scenario: Scenario, flag: str, times: str, node: str, seconds: str) -> None:
    for number in range(int(times)):
        await describe(scenario, flag, f"value-{number}", node)
        await trio.sleep(float(seconds))


@statement(r"fill (\S+) with (\d+) of (\d+) bytes at (\S+)")
async def fill(scenario: Scenario, flag: str, changes: str, size: str, node: str) -> None:
    for number in range(int(changes)):
        await describe(scenario, flag, f"{number}-".ljust(int(size), "x"), node)


@statement(r"(tag|untag) (\S+) (\S+) at (\S+)")
async def tag(scenario: Scenario, verb: str, flag: str, tag: str, node: str) -> None:
    await scenario.write(node, {"op": "add_tag" if verb == "tag" else "remove_tag", "flag": flag, "tag": tag})


@statement(r"hand (\S+) the last change of (\S+)")
async def hand(scenario: Scenario, node: str, author: str) -> None:
    sender = PeerIdentity(scenario.slot(author).member, scenario.slot(author).region)
    registration = scenario.engine(node).directory.members[sender.node].registration
    body = messages.encode({"changes": {PROJECT: [scenario.last[author].raw]}, "as": registration})
    await scenario.engine(node).peer_service.serve(sender, "push", body)


@statement(r"(\w+) looks at (\S+) at (\S+)")
async def look(scenario: Scenario, person: str, flag: str, node: str) -> None:
    scenario.kept["etag", person] = etag_of(scenario.project(node).replica.cells(flag_object(flag)))


@statement(r"(\w+) is refused to (unkill|delete|set) (\S+?)(?: to (\S+))? at (\S+)")
async def refused(
    scenario: Scenario, person: str, verb: str, flag: str, value: str | None, node: str
) -> None:
    operation: dict[str, Any] = {"op": verb, "flag": flag, "if_match": scenario.kept["etag", person]}
    if verb == "set":
        operation |= {"op": "patch", "patch": {"description": value}}
    elif verb == "unkill":
        operation["environment"] = "prod"
    try:
        await scenario.write(node, operation)
    except Stale:
        return
    raise Unmet("it was taken")


@statement(r"expect one change of the key (\S+)")
async def expect_one_change(scenario: Scenario, key: str) -> None:
    written = scenario.history.changes[PROJECT].values()
    found = [c.id for c in written if c.idempotency and c.idempotency[0] == key]
    if len(found) != 1:
        raise Unmet(f"they are {found}")


@statement(r"expect no aside change")
async def expect_no_aside(scenario: Scenario) -> None:
    aside = [alarm for alarm in scenario.history.alarms if alarm[1] == "aside"]
    if aside:
        raise Unmet(f"they are {aside}")
