"""Statements about the world: which nodes there are, on what clocks, and what is wrong with their links.

Before the cluster::

    clocks show multiples of <ms>         coarse clocks: equal stamps become likely
    clock of <node> is ahead <ms>
    page limit <bytes>                    of one page of a pull or push
    every page of a snapshot has <n> bytes
    duplicate every request
    every link carries <bytes> a second
    nodes <node> …                        start them (region = the part before the dash), with the flags f and g

At any time::

    found the project again at <node>     with the flags f and g, in a cluster of its own
    cut <place> <place>                   both ways; a place is a node or a region
    cut <place> -> <place>                messages in this direction only
    refuse <place> -> <place>             no connection can be opened in this direction
    mend
    messages between regions take <ms> ms
    store of <region> away|back           its processes meet a store without a quorum
    wait <seconds>
    converge within <seconds>
"""

from __future__ import annotations

from dataclasses import replace
from unittest.mock import patch

import trio

from tests.sim.language.scenario import PATIENCE_S, SETUP_LIMIT_S, Scenario, statement
from vexil.chaos.clients.operations import ENVIRONMENTS, PROJECT, flag_body
from vexil.chaos.world.convergence import engines
from vexil.chaos.world.simulated_clock import ClockFaults
from vexil.chaos.world.simulated_cluster import ClusterFaults, SimulatedCluster
from vexil.chaos.world.simulated_network import NetworkFaults
from vexil.crdt.schema import SYSTEM_PROJECT
from vexil.node.authoring import put_project
from vexil.node.gossip import messages, snapshots

FLAGS = ("f", "g")


@statement(r"clocks show multiples of (\d+)")
async def coarse(scenario: Scenario, ms: str) -> None:
    scenario.coarse_ms = int(ms)


@statement(r"clock of (\S+) is ahead (\d+)")
async def skew(scenario: Scenario, node: str, ms: str) -> None:
    scenario.clocks[node] = ClockFaults(offset_ms=int(ms))


@statement(r"page limit (\d+)")
async def page_limit(scenario: Scenario, size: str) -> None:
    scenario.patches.enter_context(patch.object(messages, "PAGE_BYTES", int(size)))


@statement(r"every page of a snapshot has (\d+) bytes")
async def small_snapshot_pages(scenario: Scenario, size: str) -> None:
    scenario.patches.enter_context(patch.object(snapshots, "PAGE_BYTES", int(size)))
    scenario.patches.enter_context(patch.object(messages, "PAGE_BYTES_MIN", int(size)))


@statement(r"duplicate every request")
async def duplicate(scenario: Scenario) -> None:
    scenario.network = NetworkFaults(duplicate_request=1.0)


@statement(r"every link carries (\d+) a second")
async def narrow(scenario: Scenario, bytes_per_s: str) -> None:
    scenario.network = NetworkFaults(narrow=1.0, bytes_per_s=float(bytes_per_s))


@statement(r"nodes (.+)")
async def nodes(scenario: Scenario, names: str) -> None:
    layout: dict[str, int] = {}
    for name in names.split():
        region = name.partition("-")[0]
        layout[region] = layout.get(region, 0) + 1
        scenario.clocks.setdefault(name, ClockFaults(granularity_ms=scenario.coarse_ms))
    faults = ClusterFaults(network=scenario.network, clocks=scenario.clocks)
    cluster = scenario.made = SimulatedCluster(
        scenario.streams, layout, faults, scenario.nursery, scenario.watcher, scenario.trace
    )
    cluster.on_life = scenario.watcher.life
    first, *others = cluster.slots.values()
    await cluster.start(first)
    async with trio.open_nursery() as nursery:
        for slot in others:
            nursery.start_soon(cluster.start, slot)
    await found(scenario, first.name)
    with trio.fail_after(SETUP_LIMIT_S):
        while not all(  # noqa: ASYNC110 - it looks at a whole cluster from outside
            PROJECT in engine.projects for _, engine in engines(cluster)
        ):
            await trio.sleep(PATIENCE_S)
    await converge(scenario, str(SETUP_LIMIT_S))
    for slot in cluster.slots.values():
        scenario.incarnations[slot.name] = scenario.engine(slot.name).incarnation
        scenario.registrations[slot.name] = scenario.engine(slot.name).registration


@statement(r"found the project again at (\S+)")
async def found(scenario: Scenario, node: str) -> None:
    settings = {"environments": list(ENVIRONMENTS)}
    await scenario.engine(node).write(
        SYSTEM_PROJECT, lambda view: put_project(view, PROJECT, settings), author="setup"
    )
    await scenario.write(
        node, *({"op": "create", "flag": flag, "value": flag_body("fresh")} for flag in FLAGS)
    )


@statement(r"cut (\S+) (\S+)")
async def cut(scenario: Scenario, a: str, b: str) -> None:
    scenario.cluster.network.cut(a, b)
    scenario.cluster.network.cut(b, a)


@statement(r"(cut|refuse) (\S+) -> (\S+)")
async def one_way(scenario: Scenario, verb: str, a: str, b: str) -> None:
    network = scenario.cluster.network
    (network.cut if verb == "cut" else network.refuse)(a, b)


@statement(r"mend")
async def mend(scenario: Scenario) -> None:
    scenario.cluster.network.mend_all()


@statement(r"messages between regions take (\d+) ms")
async def slow_down(scenario: Scenario, ms: str) -> None:
    network = scenario.cluster.network
    network.faults = replace(network.faults, remote_ms_min=float(ms), remote_ms_max=float(ms))


@statement(r"store of (\S+) (away|back)")
async def switch_store(scenario: Scenario, region: str, what: str) -> None:
    scenario.cluster.regions[region].available = what == "back"


@statement(r"wait (\S+)")
async def wait(scenario: Scenario, seconds: str) -> None:
    await trio.sleep(float(seconds))


@statement(r"converge within (\S+)")
async def converge(scenario: Scenario, seconds: str) -> None:
    def left() -> object:
        return {
            slot.name: {name: sorted(p.replica.vv.values()) for name, p in engine.projects.items()}
            for slot, engine in engines(scenario.cluster)
        }

    def same() -> bool:
        states = [
            {name: (p.replica.vv, p.replica.root) for name, p in engine.projects.items()}
            for slot, engine in engines(scenario.cluster)
            if slot.ready
        ]
        return all(state == states[0] for state in states)

    await scenario.until(float(seconds), same, left)
