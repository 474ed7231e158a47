"""Repair: two nodes that have applied the same changes hold different states, and become equal again.

That must not happen, so it is an alarm, and then it is mended: by a hash tree (`vexil.crdt.hash_tree`) both find the
objects that differ, and each node mends its own cells, for which the log decides (`vexil.crdt.mending`). A node that
finds itself to be right changes nothing; the other one finds out by itself. What is changed is a cell at a time, only
where nothing was written since the comparison began, and in one turn of the event loop with batches held up.

A cell that was altered in memory does not show in the root hash, which is only ever added to. So the cells are summed
anew now and then (a scrub); where they do not make the root hash, any peer helps.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from random import Random
from typing import Final, Protocol

import trio

from vexil.crdt import cell as cells
from vexil.crdt.change import Dot
from vexil.crdt.cut import Cut, TooManyCuts
from vexil.crdt.hash_tree import BUCKETS, HashTree, bucket_of, readable_sum
from vexil.crdt.mending import Address, contested, mended, needs_removal, witnesses
from vexil.crdt.payload import is_tombstone
from vexil.crdt.replica import HASH_BITS, object_sum
from vexil.node.closing import closing
from vexil.node.gossip import repair as gossip
from vexil.node.gossip.exchange import Exchange
from vexil.node.gossip.host import Host
from vexil.node.gossip.messages import Message
from vexil.node.gossip.peers import Peer
from vexil.node.log_witness import LogWitness, TooManyRows
from vexil.node.pipeline import Pipeline
from vexil.node.project import Project
from vexil.node.refold import rewrite_fold
from vexil.node.region_writer import RegionWriter
from vexil.node.repair_report import KEPT_MAX, SHOWN_MAX, Difference, Repair, differences
from vexil.node.seams import PeerNonsense, SeamError, Store, StoreError

CELLS_MAX: Final = 10_000
"""Differing cells that one repair looks at; the next one goes on."""
PAUSE_S_MIN: Final = 1.0
PAUSE_S_MAX: Final = 300.0
"""Between two repairs of a project; doubled by each that brings nothing."""
SCRUB_INTERVAL_S: Final = 3_600.0
SCRUB_REST_MS: Final = 10.0
"""Between two slices of a scrub: nobody waits for it."""
_MASK: Final = (1 << HASH_BITS) - 1

_Generations = dict[Dot, dict[str, bytes]]


class Mender(Host, Protocol):
    """The node that is repaired."""

    def repaired(self, project: Project, repair: Repair) -> None:
        """A comparison has found something; cells may be others now: follow them, count and log. Must not yield."""

    def repair_failed(self, project: str, peer: str, error: Exception) -> None:
        """A comparison broke off: counted and logged."""


@dataclass(frozen=True, slots=True)
class _Differing:
    """A cell in two versions, and what it must be."""

    address: Address
    held: bytes
    """What is in memory, which may be no cell any more."""
    ours: bytes
    theirs: bytes
    result: bytes = cells.EMPTY

    @property
    def wrong(self) -> bool:
        """Whether it is another one here than it must be."""
        return self.held != self.ours or _shows(self.result) != _shows(self.ours)


class Repairs:
    """Repairs the projects of one node, one at a time. `run` must be running."""

    def __init__(
        self,
        host: Mender,
        exchange: Exchange,
        pipeline: Pipeline,
        peers: Mapping[str, Peer],
        store: Store,
        writer: Callable[[], RegionWriter],
        *,
        rng: Random,
    ) -> None:
        """``writer`` gives the slot's writer, which exists once the node has loaded."""
        self._host = host
        self._exchange = exchange
        self._pipeline = pipeline
        self._peers = peers
        self._store = store
        self._writer = writer
        self._rng = rng
        self._wanted: dict[str, str] = {}
        self._due_s: dict[str, float] = {}
        self._fruitless: dict[str, int] = {}
        self._refold: set[str] = set()
        """Projects whose stored fold has something that memory has not any more."""
        self._wake = trio.Event()
        self._busy = False
        self.reports: deque[Repair] = deque(maxlen=KEPT_MAX)
        self.mended = 0
        """Cells, since the start."""

    def want(self, project: str, peer: str) -> None:
        """``peer`` has another state under our vector; our own name means that our state contradicts itself."""
        self._wanted[project] = peer
        self._wake.set()

    @property
    def idle(self) -> bool:
        """Nothing is being repaired, or waits for it."""
        return not self._busy and not self._wanted

    async def run(self) -> None:
        """Repair and scrub until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._scrub)
            while True:
                await self._wake.wait()
                self._wake = trio.Event()
                while self._wanted:
                    name = min(self._wanted, key=lambda n: self._due_s.get(n, -math.inf))
                    await trio.sleep_until(self._due_s.get(name, -math.inf))
                    await self.repair(name, self._wanted.pop(name))

    async def repair(self, name: str, peer: str) -> bool:
        """One try over a project, now; whether it brought anything, or there was nothing to do."""
        done = False
        self._busy = True
        try:
            project = self._host.projects.get(name)
            if project is not None and not project.merging:
                done = await self._repair(project, peer)
                if name in self._refold:
                    done = await self._rewrite(project)
        finally:
            self._busy = False
            fruitless = self._fruitless[name] = 0 if done else min(self._fruitless.get(name, 0) + 1, 16)
            pause_s = min(PAUSE_S_MIN * 2**fruitless, PAUSE_S_MAX) * self._rng.uniform(0.5, 1.5)
            self._due_s[name] = trio.current_time() + pause_s
        return done

    async def scrub(self, project: Project, *, rest_ms: float = 0) -> bool:
        """Whether the project's cells make its root hash; if not, somebody's help is wanted."""
        root = project.replica.root
        try:
            with project.replica.cut() as cut:
                tree = await gossip.build(cut, rest_ms=rest_ms)
        except TooManyCuts:
            return True
        if tree.root == root:
            return True
        self._host.divergence_seen(project.name, self._host.identity.node)
        return False

    async def _scrub(self) -> None:
        while True:
            await trio.sleep(SCRUB_INTERVAL_S * self._rng.uniform(0.5, 1.5))
            for project in list(self._host.projects.values()):
                if not project.merging:
                    await self.scrub(project, rest_ms=SCRUB_REST_MS)

    async def _repair(self, project: Project, with_peer: str) -> bool:
        asked = [self._peers[with_peer]] if with_peer in self._peers else []
        if with_peer == self._host.identity.node:
            asked = list(self._peers.values())
            self._rng.shuffle(asked)
            asked.sort(key=lambda peer: peer.region != self._host.identity.region)
        for peer in asked:
            try:
                return await self._compare(peer, project)
            except (SeamError, TooManyCuts) as error:
                # Refused because it has moved on, most often: the next digest tells whether it is still so.
                self._host.repair_failed(project.name, peer.node, error)
        return False

    async def _compare(self, peer: Peer, project: Project) -> bool:
        async def ask(method: str, members: Mapping[str, object]) -> Message:
            return (await self._exchange.call(peer, method, members))[0]

        replica = project.replica
        with replica.cut() as cut:
            root, vv_hash = replica.root, replica.vv_hash()
            retired = dict(replica.retired)

            def known(incarnation: int) -> int:
                return cut.vv.get(incarnation) or retired.get(incarnation, 0)

            sums = await gossip.ask_sums(ask, project.name, vv_hash, self._rng)
            tree = await gossip.build(cut)
            drift = (tree.root - root) & _MASK
            found: list[_Differing] = []
            if buckets := tree.differing(sums):
                finding = _Finding(cut, tree, buckets)
                async with closing(gossip.ask_cells(ask, project.name, vv_hash, buckets)) as pages:
                    async for rows in pages:
                        for name, generation, field, packed in rows:
                            finding.take(name, generation, field, packed)
                        await trio.lowlevel.checkpoint()
                found = finding.end(sums)
            elif not drift:
                return True
            witness = LogWitness(self._host.own_log, project, ask, known)
            decided = await self._decide(witness, found, known)
            return await self._mend(project, peer, cut, decided, drift)

    @staticmethod
    async def _decide(
        witness: LogWitness, found: list[_Differing], known: Callable[[int], int]
    ) -> list[_Differing]:
        decided = []
        disputed: dict[Address, set[Dot]] = {}
        for cell in found:
            try:
                rows = {dot: await witness.row(dot) for dot in sorted(witnesses(cell.ours, cell.theirs))}
            except TooManyRows:
                break
            result = mended(cell.address, cell.ours, cell.theirs, rows, known)
            if dots := contested(result, cell.ours, cell.theirs):
                disputed[cell.address] = dots
            decided.append(replace(cell, result=result))
        facts = await witness.later(disputed)
        return [
            replace(cell, result=cells.join(cell.result, facts.get(cell.address, cells.EMPTY)))
            for cell in decided
        ]

    async def _mend(
        self, project: Project, peer: Peer, cut: Cut, decided: list[_Differing], drift: int
    ) -> bool:
        """Put the decided cells in their places, and set the root hash right; whether that changed anything."""
        async with self._pipeline.exclusive():
            if project.merging:
                return False
            moved = cut.changed
            wrong = [cell for cell in decided if cell.wrong and cell.address.object not in moved]
            self._put(project, wrong, drift)
            told: list[Difference] = []
            for cell in decided:
                if len(told) < SHOWN_MAX:
                    told += differences(cell.address, cell.ours, cell.theirs, cell.result)
            report = Repair(
                project.name,
                peer.node,
                self._host.wall_ms(),
                len(wrong),
                bool(drift),
                len(decided) - len(wrong),
                tuple(told[:SHOWN_MAX]),
            )
            self.mended += len(wrong)
            self.reports.append(report)
            self._host.repaired(project, report)
        if any(needs_removal(cell.ours, cell.result) or cell.held != cell.ours for cell in wrong):
            self._refold.add(project.name)
        return bool(wrong) or bool(drift)

    def _put(self, project: Project, wrong: list[_Differing], drift: int) -> None:
        replica = project.replica
        by_object: dict[str, _Generations] = {}
        for cell in wrong:
            name, generation, field = cell.address
            by_object.setdefault(name, {}).setdefault(generation, {})[field] = cell.result
        difference = drift
        for name, changed in by_object.items():
            difference -= readable_sum(name, replica.cells(name))
            replica.put_cells(name, changed)
            difference += readable_sum(name, replica.cells(name))
        replica.root = (replica.root + difference) & _MASK
        self._writer().note_cells(project.name, [cell.address for cell in wrong])
        project.digest_cache = None
        project.refresh_objects(by_object)
        project.refresh(())

    async def _rewrite(self, project: Project) -> bool:
        try:
            await rewrite_fold(project, self._store, self._writer(), self._pipeline, self._rng)
        except (StoreError, TooManyCuts) as error:
            self._host.repair_failed(project.name, self._host.identity.node, error)
            self.want(project.name, self._host.identity.node)
            return False
        self._refold.discard(project.name)
        return True


class _Finding:
    """Compares a peer's objects of some buckets, as they come, with ours at the cut."""

    def __init__(self, cut: Cut, tree: HashTree, buckets: list[int]) -> None:
        self._cut = cut
        self._buckets = buckets
        self._sums = [0] * BUCKETS
        self._missing = dict.fromkeys(tree.chosen(buckets))
        """Objects of ours that have not come."""
        self._name: str | None = None
        self._theirs: _Generations = {}
        self._found: list[_Differing] = []

    def take(self, name: str, generation: Dot, field: str, packed: bytes) -> None:
        """One cell; all of an object come one behind the other."""
        if name != self._name:
            self._compare()
            self._name, self._theirs = name, {}
        self._theirs.setdefault(generation, {})[field] = packed

    def end(self, sums: list[int]) -> list[_Differing]:
        """Everything has come: what differs. Raises PeerNonsense if it does not make the sums that were told."""
        self._compare()
        if any(self._sums[bucket] & _MASK != sums[bucket] for bucket in self._buckets):
            raise PeerNonsense("cells that do not make the sums that were told")
        for name in self._missing:
            self._look(name, {})
        return self._found

    def _compare(self) -> None:
        if self._name is not None:
            self._sums[bucket_of(self._name)] += object_sum(self._name, self._theirs)
            self._missing.pop(self._name, None)
            self._look(self._name, self._theirs)

    def _look(self, name: str, theirs: _Generations) -> None:
        ours = self._cut.cells(name)
        if len(self._found) >= CELLS_MAX or readable_sum(name, ours) == object_sum(name, theirs):
            return
        for generation in {**ours, **theirs}:
            mine, other = ours.get(generation, {}), theirs.get(generation, {})
            for field in {**mine, **other}:
                held = mine.get(field, cells.EMPTY)
                sound = held if held == cells.EMPTY or cells.check(held) else cells.EMPTY
                there = other.get(field, cells.EMPTY)
                if sound != held or _shows(sound) != _shows(there):
                    self._found.append(_Differing(Address(name, generation, field), held, sound, there))


def _shows(cell: bytes) -> set[cells.Lane]:
    """What of a cell the root hash sums up, should its generation count."""
    return {lane for lane in cells.live(cell) if not is_tombstone(lane.payload)}
