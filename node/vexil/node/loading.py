"""What a start has found becomes a node that can run: its projects, its clock, its registration, its writer.

`startup` reads; here the node takes what was read. At the end the slot's member row is in the store under this
process's incarnation: whatever a dead predecessor still has in flight is void from then on, and not before.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol

import trio

from vexil.crdt import hlc as hlcs
from vexil.crdt import schema
from vexil.crdt.replica import Replica
from vexil.node import startup
from vexil.node.alarms import Alarms
from vexil.node.caretaker import Caretaker
from vexil.node.directory import Directory
from vexil.node.durability import Durability
from vexil.node.engine_types import EngineSettings, Seams
from vexil.node.following import Following
from vexil.node.forks import Forks
from vexil.node.gossip.past import Past
from vexil.node.gossip.peers import Peer
from vexil.node.membership import registration_of
from vexil.node.project import Project
from vexil.node.recall import Recall
from vexil.node.region_writer import RegionWriter
from vexil.node.seams import AsideRecord, MemberRow, StoreError
from vexil.node.signal import Signal
from vexil.node.startup import Loaded

STORE_RETRY_MS: Final = 500
OWED_WAIT_MS: Final = 30_000
"""How long a start waits for peers to give back what the own disk has lost; then the node serves, and says so."""


class Node(Protocol):
    """The node that is to be filled; nothing of it runs yet."""

    settings: EngineSettings
    seams: Seams
    alarms: Alarms
    clock: hlcs.HybridClock
    forks: Forks
    projects: dict[str, Project]
    system: Project
    directory: Directory
    peers: dict[str, Peer]
    following: Following
    caretaker: Caretaker
    past: Past
    acknowledged: Signal
    incarnation: int
    registration: str
    """Comes fresh; `fill` puts the slot's own in its place if that goes on."""
    stored_registration: str | None
    owed: dict[str, dict[int, int]]
    recall: Recall | None
    writer: RegionWriter | None
    durability: Durability | None

    def make_project(self, name: str, replica: Replica) -> Project:
        """A project that is not here yet, put among the others."""

    def is_member(self, node: str, registration: str) -> bool:
        """Whether ``node`` is registered in our state, under just this registration."""

    async def wait_for(self, project: str, vv: Mapping[int, int], timeout_ms: float) -> bool:
        """Wait until the project's state covers ``vv``; False if time ran out."""

    async def store_aside(self, record: AsideRecord) -> None:
        """Keep a change for a person; a store that fails is counted."""


async def fill(node: Node) -> None:
    """Load all that the slot has into ``node`` and write its member row, however often the store refuses that.

    Raises what `startup.load` raises, and StoreError while the log has to be read for the clock.
    """
    wall_ms = node.seams.clock.wall_ms()
    believed = node.clock.believed(wall_ms)
    loaded = await startup.load(node.seams.store, node.seams.journal, node.settings.name, believed=believed)
    _take_projects(node, loaded)
    node.owed = startup.owed(loaded)
    for name in node.owed:
        node.alarms.log_damaged(name)
    for record in loaded.aside:
        if node.alarms.aside(record):
            await node.store_aside(record)
    # It has come as a whole once; whether its history has followed since is asked as soon as the node is ready.
    whole = set() if loaded.row is None else {name for name, n in loaded.row.checkpoint.items() if n}
    recall = node.recall = Recall(
        node.seams.store,
        node.projects,
        wall_ms=wall_ms,
        believed=believed,
        rng=node.seams.rng,
        on_failure=node.alarms.store_failed,
        follows=lambda name: name in whole and name not in node.past.followed,
    )
    for name, keyed in loaded.keyed.items():
        for change in keyed:
            node.projects[name].idempotency.register(change)
    node.clock.observe(loaded.hlc, wall_ms)
    _take_registration(node, loaded.row)
    if loaded.row is not None and (not loaded.row.hlc or node.clock.observe(loaded.row.hlc, wall_ms)):
        # The row does not say how far the stamps had come, or the wall clock was set back since: the log tells.
        node.clock.observe(await recall.read(), wall_ms)
    await node.following.load()
    node.following.follow()
    _make_writer(node, loaded)
    await announce(node)


async def get_back(node: Node) -> None:
    """Wait for what the slot has announced and its disk has lost, for as long as a peer may still have it.

    The node takes no writes on less. At most `OWED_WAIT_MS`; what is not back then is an alarm.
    """
    deadline_s = trio.current_time() + OWED_WAIT_MS / 1000
    for project, vv in node.owed.items():
        left_ms = max(0.0, deadline_s - trio.current_time()) * 1000
        if not await node.wait_for(project, vv, left_ms):
            node.alarms.log_lost(project)


async def announce(node: Node) -> None:
    """Write the member row under the node's incarnation: the process that wrote it before is over, or a copy."""
    assert node.writer is not None
    while True:
        try:
            await node.writer.announce(node.incarnation)
        except StoreError as error:
            node.alarms.store_failed(error)
            await trio.sleep(STORE_RETRY_MS * node.seams.rng.uniform(0.5, 1.5) / 1000)
        else:
            return


def _take_projects(node: Node, loaded: Loaded) -> None:
    node.forks.restore(loaded.forked)
    for name, replica in sorted(loaded.replicas.items()):
        project = node.system if name == schema.SYSTEM_PROJECT else node.make_project(name, replica)
        project.replica = replica
        project.changes_applied = sum(replica.vv.values())
        for change in loaded.pending.get(name, ()):
            project.waiting[change.dot] = change
    if node.system.replica.vv:
        node.projects[schema.SYSTEM_PROJECT] = node.system
    node.system.refresh_all()
    node.directory.refresh_all()


def _take_registration(node: Node, row: MemberRow | None) -> None:
    """Under which registration this process goes on, or else the fresh one under which it wants to join."""
    node.stored_registration = None if row is None else row.registration
    slot = node.settings.name
    own = node.directory.members.get(slot)
    if row is None:
        return
    if row.registration or (own is not None and "" in {own.registration, *own.evicted}):
        node.registration = row.registration
    elif row.incarnation in node.system.replica.vv and node.is_member(slot, registration_of(row.incarnation)):
        # The process before this one has made the cluster, and ended before its row said so. (Whoever joins
        # writes nothing before it.)
        node.registration = registration_of(row.incarnation)


def _make_writer(node: Node, loaded: Loaded) -> None:
    """The slot's writer with this start's row, and what stands on it."""
    seams, slot, before = node.seams, node.settings.name, loaded.row
    row = MemberRow(
        slot,
        start=1 if before is None else before.start + 1,
        revision=0,
        incarnation=node.incarnation,
        checkpoint={} if before is None else dict(before.checkpoint),
        registration="" if before is None else before.registration,
        vv={} if before is None else dict(before.vv),
        fold={} if before is None else dict(before.fold),
        forked=tuple(sorted(node.forks.incarnations)),
    )
    writer = node.writer = RegionWriter(
        seams.store,
        seams.journal,
        row,
        {},
        rng=seams.rng,
        hlc=lambda: node.clock.last,
        on_failure=node.alarms.store_failed,
    )
    writer.replicas = {name: project.replica for name, project in node.projects.items()}
    for name, unfolded in loaded.unfolded.items():
        for change in unfolded:
            # The next round writes a vector and a header that cover these: their rows and cells must be in it.
            writer.note(name, change)
    node.caretaker.loaded(loaded.pending)

    def made_elsewhere(incarnation: int) -> bool:
        place = node.directory.place_of(incarnation)
        return place is not None and place[0] != slot

    node.durability = Durability(seams.store, writer, node.peers.values, node.acknowledged, made_elsewhere)
