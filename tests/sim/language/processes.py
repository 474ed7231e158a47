"""Statements about processes and what lies under them: machines that die, start, are copied, lose their disks.

What happens::

    crash|stop|start|join <node>
    launch <node>                          an empty machine; it need not become ready
    launch <node> under the name of <node>   one that calls itself so
    clone <node> as <name>                 a copy of a stopped node; both then start with the same incarnation
    wipe <node>                            a stopped one: disk and store are empty then
    lose the disk of <node>                a stopped one: its journal is gone, what its store has stays
    lose the record of the last change of <author> at <node>     from the journal of a stopped one
    keep a copy of <node>                  a stopped one: disk and store
    put the copy of <node> back            in the place of a stopped one's disk and store
    forget the log at <node>               every row that its fold has, as if it were older than is kept
    wait for a snapshot at <node>          until it is under way
    kill <node> in its next member row     which is on its way then, and not in the store
    the late row of <node> lands

What must be so::

    expect new incarnation of <node>
    expect a snapshot at <node>            its fold is one that came as a whole
"""

from __future__ import annotations

import copy
from contextlib import ExitStack
from unittest.mock import patch

import trio

from tests.sim.language.scenario import SETUP_LIMIT_S, Scenario, Unmet, statement
from vexil.chaos.clients.operations import PROJECT
from vexil.chaos.world.simulated_disk import SimulatedJournal
from vexil.chaos.world.simulated_store import SimulatedRegion
from vexil.node.seams import MemberRow


@statement(r"(crash|stop|start|join) (\S+)")
async def life(scenario: Scenario, verb: str, node: str) -> None:
    if verb == "join":
        scenario.cluster.add_slot(node, node.partition("-")[0])
    slot = scenario.slot(node)
    if verb == "crash":
        scenario.cluster.crash(slot)
        await scenario.cluster.ended(slot)
    elif verb == "stop":
        await scenario.cluster.stop(slot)
    else:
        with trio.fail_after(SETUP_LIMIT_S):
            await scenario.cluster.start(slot)
        if node not in scenario.incarnations:
            scenario.incarnations[node] = scenario.engine(node).incarnation


@statement(r"launch (\S+)")
async def launch(scenario: Scenario, node: str) -> None:
    if node not in scenario.cluster.slots:
        region = node.partition("-")[0]
        if region not in scenario.cluster.regions:
            streams = scenario.cluster.streams
            scenario.cluster.regions[region] = SimulatedRegion(streams.stream("store", region))
        scenario.cluster.add_slot(node, region)
    scenario.cluster.launch(scenario.slot(node))


@statement(r"launch (\S+) under the name of (\S+)")
async def launch_namesake(scenario: Scenario, node: str, original: str) -> None:
    slot = scenario.slot(original)
    if node not in scenario.cluster.slots:
        scenario.cluster.add_namesake(node, slot)
    scenario.cluster.launch(scenario.slot(node))


@statement(r"clone (\S+) as (\S+)")
async def clone(scenario: Scenario, node: str, name: str) -> None:
    scenario.history.expected_alarms |= {"fork", "copy"}
    slots = scenario.slot(node), scenario.cluster.clone_slot(scenario.slot(node), name)
    for slot in slots:
        scenario.cluster.launch(slot, entropy_of="one machine")
    first = {slot.process.engine.incarnation for slot in slots if slot.process is not None}
    assert len(first) == 1, "the clone is none"
    for slot in slots:
        scenario.incarnations[slot.name] = next(iter(first))
        assert slot.process is not None
        with trio.fail_after(SETUP_LIMIT_S):
            await slot.process.ready.wait()


@statement(r"wipe (\S+)")
async def wipe(scenario: Scenario, node: str) -> None:
    scenario.cluster.wipe_slot(scenario.slot(node))


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


@statement(r"forget the log at (\S+)")
async def forget_log(scenario: Scenario, node: str) -> None:
    engine = scenario.engine(node)
    assert engine.writer is not None
    await engine.drain()
    for name in engine.projects:
        through = engine.writer.fold_stored.get(name, {})
        await engine.seams.journal.trim(name, through)
        await engine.seams.store.trim_changes(name, through)


@statement(r"wait for a snapshot at (\S+)")
async def wait_for_snapshot(scenario: Scenario, node: str) -> None:
    progress = scenario.engine(node).snapshots.progress
    await scenario.until(SETUP_LIMIT_S, lambda: PROJECT in progress, lambda: "not under way")


@statement(r"kill (\S+) in its next member row")
async def kill_in_row(scenario: Scenario, node: str) -> None:
    slot = scenario.slot(node)
    patched = scenario.patches.enter_context(ExitStack())

    def put_member(row: MemberRow) -> None:
        scenario.kept["row", node] = row
        patched.close()
        scenario.cluster.crash(slot)

    patched.enter_context(patch.object(slot.store, "put_member", put_member))


@statement(r"the late row of (\S+) lands")
async def land_row(scenario: Scenario, node: str) -> None:
    scenario.slot(node).store.put_member(scenario.kept["row", node])


@statement(r"expect new incarnation of (\S+)")
async def expect_new_incarnation(scenario: Scenario, node: str) -> None:
    if scenario.engine(node).incarnation == scenario.incarnations[node]:
        raise Unmet("it is the old one")


@statement(r"expect a snapshot at (\S+)")
async def expect_snapshot(scenario: Scenario, node: str) -> None:
    writer = scenario.engine(node).writer
    if writer is None or not writer.checkpoint(PROJECT):
        raise Unmet("its fold has grown from its own log")
