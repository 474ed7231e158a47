"""Taking a peer's state as a whole: download, check, stage, merge aside, and then one switch.

Used by a node whose peers' logs do not reach back to it: a joiner, one that was away for longer than the log, one
whose log is damaged. The pages go to disk as a checkpoint of their own while they come; the state that is served, its
fold on disk and its views stay as they are, and go on taking changes, until everything has come, is checked and is
merged with what is here. Then one member row switches to it, and memory follows in the same turn of the event loop.
Whatever fails before that row leaves nothing behind but a checkpoint that nobody reads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from random import Random
from typing import Final, Protocol

import trio

from vexil.crdt import merge as crdt_merge
from vexil.crdt import version_vector
from vexil.crdt.cut import TooManyCuts
from vexil.crdt.merge import CannotMerge, Merge, fits
from vexil.crdt.replica import Replica
from vexil.crdt.schema import SYSTEM_PROJECT
from vexil.node.gossip.exchange import Exchange
from vexil.node.gossip.host import Host
from vexil.node.gossip.messages import Message
from vexil.node.gossip.peers import Peer
from vexil.node.gossip.snapshot_source import SnapshotExpired, SnapshotSource
from vexil.node.gossip.snapshots import SNAPSHOT
from vexil.node.idempotency import Remembered
from vexil.node.pipeline import Pipeline
from vexil.node.project import Project
from vexil.node.region_writer import RegionWriter
from vexil.node.seams import (
    FoldEntry,
    Journal,
    JournalError,
    PeerError,
    PeerNonsense,
    SeamError,
    Store,
    StoreError,
    StoreUnavailable,
)
from vexil.node.staging import STAGE_CELLS, Progress, Staging, entries_of, in_step
from vexil.node.turns import in_turns, let_go
from vexil.sdk.model import FlagSet

BEGINNINGS_MAX: Final = 3
"""How often one taking begins anew because the peer did not keep its cut."""
BEGIN_PAUSE_MS: Final = 500
STORE_TRIES_MAX: Final = 5
STORE_PAUSE_MS: Final = 200
MERGE_CELLS: Final = 1_000
"""So many cells, and the objects that they are of, are merged and read in one turn."""
CATCH_UPS_MAX: Final = 5
"""Rounds over what changes came for meanwhile, before the rest is done with writes held up."""
LAST_OBJECTS: Final = 100
"""With so few objects left it is worth holding writes up."""
SWITCH_LIMIT_S: Final = 10.0
"""How long writes are held up at most for a store that does not take the switch."""


class BelowFloor(PeerError):
    """Rule 3: one of the two states has forgotten what the other has never had; they can never be joined.

    ``ours`` tells whose state is the older one.
    """

    def __init__(self, project: str, *, ours: bool) -> None:
        lacking, other = ("this node", "the peer") if ours else ("the peer", "this node")
        super().__init__(f"{project}: {lacking} lacks changes whose garbage {other} has collected")
        self.project = project
        self.ours = ours


class BeyondTheEnd(PeerNonsense):
    """Our state has more of an incarnation than its end, at which a peer's state has it retired."""


class OtherBranch(PeerNonsense):
    """Our state and the peer's have two histories of one incarnation: a person has to end one of them."""


class Taker(Host, Protocol):
    """The node that takes a snapshot."""

    def snapshot_taken(self, project: Project) -> None:
        """The state of ``project`` is another now, as a whole: follow it. Must not yield."""

    def log_shortened(self, project: str) -> None:
        """Rows of its log may be gone, whether or not a snapshot follows them: they are to come again with the past."""

    def snapshot_ended(self, project: str, peer: str, outcome: str, error: Exception | None) -> None:
        """``outcome`` is ``taken``, ``level`` (nothing was missing) or ``failed``: counted and logged."""


class Snapshots:
    """Takes snapshots, one at a time: the state that is merged aside is held in memory beside the served one."""

    def __init__(
        self,
        host: Taker,
        exchange: Exchange,
        pipeline: Pipeline,
        *,
        store: Store,
        journal: Journal,
        writer: Callable[[], RegionWriter],
        rng: Random,
    ) -> None:
        """``writer`` gives the slot's writer, which exists once the node has loaded."""
        self._host = host
        self._exchange = exchange
        self._pipeline = pipeline
        self._store = store
        self._journal = journal
        self._writer = writer
        self._rng = rng
        self._one = trio.Lock()
        self.progress: dict[str, Progress] = {}
        """Per project that is being taken."""

    async def take(self, peer: Peer, project: Project) -> None:
        """Bring ``project`` up to at least what ``peer`` has now. Nothing if a snapshot of it is under way already.

        `_system` is pulled first. Raises PeerError (`BelowFloor` among them), StoreError or JournalFull; the state
        is then what it was.
        """
        if project.merging:
            return
        project.merging = True
        try:
            # Whom the cut calls a member must be one here. Not inside the lock: `_system` may come as a whole, too.
            system = self._host.projects.get(SYSTEM_PROJECT)
            if system is not None and system is not project:
                await self._exchange.pull(peer, system)
            async with self._one:
                progress = self.progress[project.name] = Progress(peer.node)
                taken = await self._take(peer, project, progress)
        except SeamError as error:
            self._host.snapshot_ended(project.name, peer.node, "failed", error)
            raise
        else:
            self._host.snapshot_ended(project.name, peer.node, "taken" if taken else "level", None)
        finally:
            self.progress.pop(project.name, None)
            project.merging = False

    async def take_over(
        self,
        project: Project,
        incoming: Replica,
        keys: list[tuple[str, Remembered]],
        *,
        admit: Callable[[], None],
    ) -> None:
        """Make ``incoming``, a whole state that does not come from a peer, part of ``project``, as a snapshot would be.

        It has been checked as `Staging` checks. ``admit`` is asked before anything is written, and once more when
        nothing can come in between any more; what it raises goes through. Nobody merges into ``project`` meanwhile:
        the caller has looked at ``project.merging``. Raises StoreError or PeerNonsense; the state is then what it was.
        """
        project.merging = True
        try:
            async with self._one:
                admit()
                checkpoint = self._writer().new_checkpoint(project.name)
                old = self._writer().checkpoint(project.name)
                taken = False
                try:
                    await self._stage_all(project.name, checkpoint, incoming)
                    await self._merge(project, incoming, checkpoint, keys, admit=admit)
                    taken = True
                finally:
                    await self._drop(project.name, old if taken else checkpoint)
        finally:
            project.merging = False

    async def _stage_all(self, project: str, checkpoint: int, incoming: Replica) -> None:
        entries: list[FoldEntry] = []
        for name, generations in incoming.objects.items():
            for generation, fields in generations.items():
                for field, packed in fields.items():
                    entries += entries_of(name, generation, field, packed)
                    if len(entries) >= STAGE_CELLS:
                        await self._stage(project, checkpoint, entries)
                        entries = []
        await self._stage(project, checkpoint, entries)

    async def _take(self, peer: Peer, project: Project, progress: Progress) -> bool:
        for last in (*[False] * (BEGINNINGS_MAX - 1), True):
            checkpoint = self._writer().new_checkpoint(project.name)
            taken = False
            try:
                taken = await self._try(peer, project, progress, checkpoint)
            except SnapshotExpired:
                if last:
                    raise
            else:
                return taken
            finally:
                if not taken:
                    await self._drop(project.name, checkpoint)
            await trio.sleep(BEGIN_PAUSE_MS * self._rng.uniform(0.5, 1.5) / 1000)
        raise AssertionError("the last try returns or raises")

    async def _try(self, peer: Peer, project: Project, progress: Progress, checkpoint: int) -> bool:
        """Whether the staged checkpoint is the slot's fold now; False if the peer had nothing that is missing."""

        async def ask(members: Mapping[str, object]) -> Message:
            return (await self._exchange.call(peer, SNAPSHOT, members))[0]

        admit = self._exchange.while_member(peer)
        source = await SnapshotSource.begin(ask, project.name, self._rng)
        header = await source.header()
        incoming = Replica()
        try:
            incoming.load_header(header)
            if not fits(project.replica, header):
                raise BelowFloor(project.name, ours=not project.replica.covers(incoming.floor))
        except ValueError as error:
            raise PeerNonsense(f"{project.name}: {error}") from None
        self._look_for_ourselves(peer, project, incoming)
        if project.replica.covers(incoming.vv) and project.replica.vv:
            return False
        progress.objects, progress.of = 0, source.manifest.objects
        staging = Staging(self._stage, project.name, checkpoint, incoming, progress)
        await in_step(source.objects(), staging.page)
        staging.end()
        keys = await source.keys()
        old = self._writer().checkpoint(project.name)
        await self._merge(project, incoming, checkpoint, keys, admit=admit)
        self._host.count_bytes("received", "payload", source.bytes)
        self._host.observe_hlc(source.manifest.hlc)
        await self._drop(project.name, old)
        return True

    def _look_for_ourselves(self, peer: Peer, project: Project, incoming: Replica) -> None:
        own = self._host.incarnation
        if incoming.vv.get(own, 0) > project.replica.vv.get(own, 0):
            # Nobody but this process writes under its incarnation: somebody runs a copy of it.
            self._host.fork_seen(project.name, own, peer.node)

    async def _merge(
        self,
        project: Project,
        incoming: Replica,
        checkpoint: int,
        keys: list[tuple[str, Remembered]],
        *,
        admit: Callable[[], None] | None = None,
    ) -> None:
        live = project.replica
        try:
            with Merge(live, incoming) as merge:
                aside = _Aside(merge, project, incoming)
                await self._merge_aside(aside, await in_turns(merge.names()), checkpoint)
                for _ in range(CATCH_UPS_MAX):
                    names = merge.again()
                    await self._merge_aside(aside, names, checkpoint)
                    if len(names) <= LAST_OBJECTS:
                        break
                # What is dirty now need not be written while everybody waits.
                await self._writer().flush()
                await self._trim(project, incoming)
                async with self._pipeline.exclusive():
                    if admit is not None:
                        admit()
                    await self._merge_aside(aside, merge.again(), checkpoint)
                    missing = version_vector.missing(live.vv, incoming.vv)
                    await self._switch(project, merge, incoming, checkpoint)
                    shown = self._show(project, aside.views, keys, missing)
                await let_go(shown, incoming)
        except crdt_merge.BelowFloor:
            raise BelowFloor(project.name, ours=crdt_merge.lacks(live, incoming)) from None
        except CannotMerge as error:
            if self._is_beyond(live, incoming):
                raise BeyondTheEnd(f"{project.name}: {error}") from None
            if isinstance(error, crdt_merge.ForkMet):
                raise OtherBranch(f"{project.name}: {error}") from None
            raise PeerNonsense(f"{project.name}: {error}") from None
        except TooManyCuts:
            raise StoreUnavailable(f"{project.name}: too many cuts are open here") from None

    def _is_beyond(self, live: Replica, incoming: Replica) -> bool:
        forked = self._host.forks.incarnations
        return any(live.vv.get(i, 0) > final and i not in forked for i, final in incoming.retired.items())

    async def _merge_aside(self, aside: _Aside, names: Iterable[str], checkpoint: int) -> None:
        """Merge and read these objects, and bring the staged fold up to them, slice by slice."""
        for name in names:
            aside.take(name)
            if aside.size >= MERGE_CELLS:
                await self._stage(aside.project, checkpoint, aside.read())
        await self._stage(aside.project, checkpoint, aside.read())

    async def _trim(self, project: Project, incoming: Replica) -> None:
        """Drop the rows of this node's own log that the snapshot stands for, as far as the stored fold has them.

        Between them and the rows that come after the snapshot there would be a gap, and nobody could tell any more
        that it is one. They come again with the past, in their place.
        """
        stored = self._writer().fold_stored.get(project.name, {})
        through = {i: min(seq, stored.get(i, 0)) for i, seq in incoming.vv.items()} | incoming.retired
        async with project.log_turn:
            try:
                await self._journal.trim(project.name, through)
                if self._store.shares_journal:
                    await self._store.trim_changes(project.name, through)
            except JournalError as error:
                raise StoreUnavailable(f"{project.name}: the log is not shortened: {error}") from None
            finally:
                # Now and not with the snapshot: a switch that fails does not bring the rows back.
                self._host.log_shortened(project.name)

    async def _switch(self, project: Project, merge: Merge, incoming: Replica, checkpoint: int) -> None:
        """Make the staged fold ours, and at the same moment the merged state. Raises StoreUnavailable."""
        writer = self._writer()
        switched = False
        with trio.move_on_after(SWITCH_LIMIT_S):
            async with writer.exclusive():
                await self._trim(project, incoming)
                outcome = merge.outcome()
                await writer.switch(project.name, checkpoint, outcome.header(), outcome.vv)
                # Not a moment later: the next round writes the header of what is in memory.
                switched = True
                merge.finish()
        if not switched:
            raise StoreUnavailable(f"the store did not take the switch in {SWITCH_LIMIT_S} s")

    def _show(
        self, project: Project, views: Project, keys: list[tuple[str, Remembered]], missing: int
    ) -> list[FlagSet]:
        shown = project.adopt(views)
        project.snapshots_taken += 1
        for key, remembered in keys:
            if project.has(remembered.dot):
                # The sender may know of others by the log of its region, which is not ours.
                project.idempotency.remember(key, remembered)
        project.changes_applied += max(1, missing)
        project.digest_cache = None
        self._host.snapshot_taken(project)
        self._pipeline.look_again(project)
        return shown

    async def _stage(self, project: str, checkpoint: int, entries: list[FoldEntry]) -> None:
        """Write a slice of the staged fold and give others their turn. Raises StoreError after a few tries."""
        for last in (*[False] * (STORE_TRIES_MAX - 1), True):
            try:
                if entries:
                    await self._store.write_fold(project, entries, checkpoint=checkpoint)
                await trio.lowlevel.checkpoint()
            except StoreError:
                if last:
                    raise
                await trio.sleep(STORE_PAUSE_MS * self._rng.uniform(0.5, 1.5) / 1000)
            else:
                return

    async def _drop(self, project: str, checkpoint: int) -> None:
        """Remove a fold that is not the slot's; what cannot be removed now is when the node starts next."""
        try:
            with trio.move_on_after(SWITCH_LIMIT_S):
                # A switch that was cut off may have reached the store: only the next row says that it is void.
                await self._writer().flush()
                # Whoever was cut off behind its switch comes here too.
                if self._writer().checkpoint(project) != checkpoint:
                    await self._store.drop_fold(project, checkpoint)
        except StoreError:
            return


class _Aside:
    """A merge while it is made: the cells, the views of them, and what of them the staged fold does not have."""

    def __init__(self, merge: Merge, project: Project, incoming: Replica) -> None:
        self.project = project.name
        self.size = 0
        """Cells that were merged since the last `read`."""
        self._merge = merge
        self._live = project.replica
        self._incoming = incoming
        self._merged = Replica()
        self.views = project.aside(self._merged)
        self._names: list[str] = []
        self._entries: list[FoldEntry] = []

    def take(self, name: str) -> None:
        """Merge one object as it is now."""
        self._merge.take(name)
        cells_now = self._merge.joined(name)
        # The replica copies what it changes while the merge is open: what is taken over here stays as it is.
        self._merged.objects[name] = cells_now
        staged = self._incoming.cells(name)
        for generation, fields in cells_now.items():
            self.size += len(fields)
            before = staged.get(generation, {})
            if fields is not before:
                for field, packed in fields.items():
                    if before.get(field) != packed:
                        self._entries += entries_of(name, generation, field, packed)
        self._names.append(name)

    def read(self) -> list[FoldEntry]:
        """Bring the views up to what was taken since; the entries that the staged fold lacks."""
        self.views.refresh_objects(self._names)
        entries, self._entries, self._names, self.size = self._entries, [], [], 0
        return entries
