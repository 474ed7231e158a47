"""More statements of the scenario language: authors with old views, disks and stores that are lost, garbage, keys.

What happens::

    <person> looks at <flag> at <node>     and keeps its ETag
    <person> is refused to unkill|delete|set <flag> [to <value>] at <node>     under the ETag of that moment
    set <flag> <value> at <node> under the key <key>
    set <flag> <n> times at <node>, <seconds> s apart
    launch <node>                          an empty machine; it need not become ready
    store of <region> away|back            its processes meet a store without a quorum
    lose the disk of <node>                a stopped one: its journal is gone, what its store has stays
    lose the record of the last change of <author> at <node>     from the journal of a stopped one
    keep a copy of <node>                  a stopped one: disk and store
    put the copy of <node> back            in the place of a stopped one's disk and store
    messages between regions take <ms> ms
    kill <node> in its next member row     which is on its way then, and not in the store
    the late row of <node> lands

What must be so::

    expect garbage of <flag> at <node>
    expect no garbage of <flag> at <node>|everywhere [within <seconds>]
    expect old registration of <node>      as it was when it first became ready
    expect one change of the key <key>
    expect no aside change
    expect no promise of <node> about its last change   which was made by the process before this one
"""

from __future__ import annotations

import copy
from contextlib import ExitStack
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import trio

from tests.sim.scenario_language import Scenario, Unmet, statement
from vexil.chaos.simulated_disk import SimulatedJournal
from vexil.chaos.simulated_store import SimulatedRegion
from vexil.chaos.workload import PROJECT
from vexil.crdt.schema import SYSTEM_PROJECT, flag_object
from vexil.node.announcements import Place
from vexil.node.authoring import change_set, etag_of
from vexil.node.collector import holds_garbage
from vexil.node.errors import Stale
from vexil.node.seams import MemberRow

FINGERPRINT = b"the same request"


@statement(r"(\w+) looks at (\S+) at (\S+)")
async def look(scenario: Scenario, person: str, flag: str, node: str) -> None:
    cells = scenario.engine(node).projects[PROJECT].replica.cells(flag_object(flag))
    scenario.kept["etag", person] = etag_of(cells)


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
        await scenario.describe(flag, f"value-{number}", node)
        await trio.sleep(float(seconds))


@statement(r"expect one change of the key (\S+)")
async def expect_one_change(scenario: Scenario, key: str) -> None:
    found = [
        c.id for c in scenario.record.changes[PROJECT].values() if c.idempotency and c.idempotency[0] == key
    ]
    if len(found) != 1:
        raise Unmet(f"they are {found}")


@statement(r"launch (\S+)")
async def launch(scenario: Scenario, node: str) -> None:
    if node not in scenario.cluster.slots:
        region = node.partition("-")[0]
        if region not in scenario.cluster.regions:
            streams = scenario.cluster.streams
            scenario.cluster.regions[region] = SimulatedRegion(streams.stream("store", region))
        scenario.cluster.add_slot(node, region)
    scenario.cluster.launch(scenario.slot(node))


@statement(r"store of (\S+) (away|back)")
async def switch_store(scenario: Scenario, region: str, what: str) -> None:
    scenario.cluster.regions[region].available = what == "back"


@statement(r"lose the disk of (\S+)")
async def lose_disk(scenario: Scenario, node: str) -> None:
    assert scenario.slot(node).engine is None, "stop it first"
    scenario.slot(node).disk.wipe()


@statement(r"lose the record of the last change of (\S+) at (\S+)")
async def lose_record(scenario: Scenario, author: str, node: str) -> None:
    slot = scenario.slot(node)
    assert slot.engine is None, "stop it first"
    raw = scenario.last[author].raw
    for number, frame in enumerate(slot.disk.read()):
        if raw in frame:
            slot.disk.flip_byte(number, len(frame) - 1)
            assert SimulatedJournal(slot.disk).damaged_frames == 1
            return
    raise AssertionError("it is not there")


@statement(r"keep a copy of (\S+)")
async def keep_copy(scenario: Scenario, node: str) -> None:
    slot = scenario.slot(node)
    assert slot.engine is None, "stop it first"
    scenario.kept["copy", node] = copy.deepcopy((slot.disk, slot.store))


@statement(r"put the copy of (\S+) back")
async def put_back(scenario: Scenario, node: str) -> None:
    slot = scenario.slot(node)
    assert slot.engine is None, "stop it first"
    slot.disk, slot.store = copy.deepcopy(scenario.kept["copy", node])
    scenario.cluster.regions[slot.region] = slot.store


@statement(r"kill (\S+) in its next member row")
async def kill_in_row(scenario: Scenario, node: str) -> None:
    slot = scenario.slot(node)
    patched = scenario._patches.enter_context(ExitStack())

    def put_member(row: MemberRow) -> None:
        scenario.kept["row", node] = row
        patched.close()
        scenario.cluster.crash(slot)

    patched.enter_context(patch.object(slot.store, "put_member", put_member))


@statement(r"the late row of (\S+) lands")
async def land_row(scenario: Scenario, node: str) -> None:
    scenario.slot(node).store.put_member(scenario.kept["row", node])


@statement(r"expect garbage of (\S+) at (\S+)")
async def expect_garbage(scenario: Scenario, flag: str, node: str) -> None:
    if not _holds_garbage(scenario, node, flag):
        raise Unmet("it has been collected")


@statement(r"expect no garbage of (\S+) (?:at (\S+)|everywhere)(?: within (\S+))?")
async def expect_no_garbage(scenario: Scenario, flag: str, node: str | None, seconds: str | None) -> None:
    def left() -> list[str]:
        nodes = [node] if node else [slot.name for slot in scenario.cluster.live()]
        return [name for name in nodes if _holds_garbage(scenario, name, flag)]

    await scenario._until(float(seconds or 0), lambda: not left(), left)


def _holds_garbage(scenario: Scenario, node: str, flag: str) -> bool:
    return holds_garbage(scenario.engine(node).projects[PROJECT].replica.cells(flag_object(flag)))


@statement(r"expect old registration of (\S+)")
async def expect_old_registration(scenario: Scenario, node: str) -> None:
    first = scenario.registrations.get(node)
    found = scenario.engine(node).registration
    if first is not None and found != first:
        raise Unmet(f"it was {first} and is {found}")
    if scenario.slot(node).starts > 1 and first is None:
        raise Unmet("it has begun anew")


@statement(r"expect no aside change")
async def expect_no_aside(scenario: Scenario) -> None:
    aside = [alarm for alarm in scenario.live.alarms if alarm[1] == "aside"]
    if aside:
        raise Unmet(f"they are {aside}")


@statement(r"expect no promise of (\S+) about its last change")
async def expect_no_promise(scenario: Scenario, node: str) -> None:
    engine = scenario.engine(node)
    told = engine.announcements.of(Place(node, engine.registration))
    incarnation = engine.incarnation
    system = {} if told is None else told.vector(SYSTEM_PROJECT)
    if incarnation in system:
        raise Unmet(f"it says that {incarnation:016x} has begun, and so that the one before has ended")


@statement(r"messages between regions take (\d+) ms")
async def slow_down(scenario: Scenario, ms: str) -> None:
    faults = scenario.cluster.network.faults
    scenario.cluster.network.faults = replace(faults, remote_ms_min=float(ms), remote_ms_max=float(ms))
