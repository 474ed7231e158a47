"""From disk to memory: the fold, the log rows behind it, and the journal, in that order.

The state that comes out is at least what this slot last announced: rows up to the stored vector are in the store's
log, and everything that was ever acknowledged or confirmed to a peer is in the journal. Journal records keep their
dots; one whose causes are missing stays pending and is tried again after every advance.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from sys import intern

import trio

from vexil.crdt import cell as cells
from vexil.crdt import hlc as hlcs
from vexil.crdt.change import Change, Dot, Undecodable, decode
from vexil.crdt.frontier import Frontier, Verdict
from vexil.crdt.replica import Replica
from vexil.node.closing import closing
from vexil.node.region_writer import CHECKPOINTS_OF_A_START
from vexil.node.seams import AsideRecord, Journal, MemberRow, Store

PAGE_BYTES = 4 << 20
BUILD_BATCH_CELLS = 20_000
"""After so many cells the event loop gets a turn (health checks are answered while a node loads)."""


@dataclass(slots=True)
class Loaded:
    """A slot's state as its disk and its store tell it."""

    row: MemberRow | None
    """The slot's last row; None for a slot that never ran on this store."""
    replicas: dict[str, Replica] = field(default_factory=dict)
    forked: frozenset[int] = frozenset()
    """Incarnations that the slot knew to have two histories: what a change has seen of these is not waited for."""
    pending: dict[str, list[Change]] = field(default_factory=dict)
    """Journal records whose causes are not here."""
    aside: list[AsideRecord] = field(default_factory=list)
    """Journal records that contradict the state."""
    unfolded: dict[str, list[Change]] = field(default_factory=dict)
    """Replayed changes, in order of application: the stored fold lacks their cells, the store perhaps their rows."""
    keyed: dict[str, list[Change]] = field(default_factory=dict)
    """Replayed changes that carry an idempotency key, in order of application."""
    believed: int = hlcs.HLC_MAX
    """Stamps above it are not taken into account."""
    hlc: int = 0
    """The highest stamp of the replayed log (not of the fold) that is believed."""

    def replica(self, project: str) -> Replica:
        """The project's replica, made empty if need be."""
        return self.replicas.setdefault(project, Replica())


async def load(store: Store, journal: Journal, slot: str, *, believed: int = hlcs.HLC_MAX) -> Loaded:
    """Everything that ``slot`` has; ``believed`` bounds the stamps that count.

    Raises StoreError, JournalError, or ValueError for a fold that cannot be read.
    """
    row = await store.read_member(slot)
    loaded = Loaded(row, believed=believed)
    if row is not None:
        # The fold's header was written after its cells and before the vector that is read next to it.
        for project, header in row.fold.items():
            replica = loaded.replica(project)
            replica.load_header(header)
            await _read_fold(store, project, row.checkpoint.get(project, 0), replica)
            replica.settle_retired()
        latest = await store.read_member(slot)
        loaded.forked = frozenset((latest or row).forked)
        for project, vv in (latest or row).vv.items():
            replica = loaded.replica(project)
            behind = not replica.covers(vv)
            await _read_rows(store, project, vv, loaded)
            if behind:
                # A round that was cut off may have stored cells of the rows above the header: applying those rows
                # again changes no cell, so the header's root hash, which lacks them, would stay wrong.
                replica.root = replica.recomputed_root()
    await _replay(journal, loaded)
    return loaded


async def drop_stale(store: Store, row: MemberRow) -> None:
    """Remove what earlier starts staged and never switched to, and what was switched away from.

    ``row`` is this start's own and is in the store: a late row of an earlier start is void beside it. What this start
    stages has higher numbers and is left alone, so that this may go on in the background. Raises StoreError; the rest
    is then left to the next start.
    """
    for project, checkpoints in (await store.fold_checkpoints()).items():
        for checkpoint in checkpoints:
            if (
                checkpoint != row.checkpoint.get(project, 0)
                and checkpoint < row.start * CHECKPOINTS_OF_A_START
            ):
                await store.drop_fold(project, checkpoint)


async def _read_fold(store: Store, project: str, checkpoint: int, replica: Replica) -> None:
    """Put a stored fold's cells into ``replica``: this loop runs for every cell of the state, so it is kept bare."""
    built = 0
    place: tuple[str, Dot] | None = None
    fields: dict[str, bytes] = {}
    async with closing(store.read_fold(project, checkpoint=checkpoint)) as batches:
        async for batch in batches:
            for name, generation, cell_field, _, packed, _, _ in batch:
                if place != (name, generation):
                    place = (name, generation)
                    fields = replica.fields(name, generation)
                made = cells.from_entries((packed,))
                before = fields.get(cell_field)
                fields[intern(cell_field)] = made if before is None else cells.join(before, made)
            built += len(batch)
            if built >= BUILD_BATCH_CELLS:
                built = 0
                await trio.lowlevel.checkpoint()


async def _read_rows(store: Store, project: str, through: Mapping[int, int], loaded: Loaded) -> None:
    replica = loaded.replica(project)
    pending: list[Change] = []
    reached = {**replica.vv, **replica.retired}
    while page := await store.read_changes(project, after=reached, through=through, limit_bytes=PAGE_BYTES):
        for record in page:
            reached[record.incarnation] = max(reached.get(record.incarnation, 0), record.seq)
            _offer(loaded, project, record.raw, pending)
        _retry(loaded, project, pending)
        await trio.lowlevel.checkpoint()
    if pending:
        loaded.pending.setdefault(project, []).extend(pending)


async def _replay(journal: Journal, loaded: Loaded) -> None:
    covered = {project: {**replica.vv, **replica.retired} for project, replica in loaded.replicas.items()}
    async with closing(journal.replay(after=covered)) as batches:
        async for batch in batches:
            for record in batch:
                _offer(loaded, record.project, record.raw, loaded.pending.setdefault(record.project, []))
            await trio.lowlevel.checkpoint()
    for project in list(loaded.pending):
        _retry(loaded, project, loaded.pending[project])
        if not loaded.pending[project]:
            del loaded.pending[project]


def _offer(loaded: Loaded, project: str, raw: bytes, pending: list[Change]) -> None:
    try:
        change = decode(raw)
    except Undecodable as error:
        loaded.aside.append(AsideRecord(project, f"undecodable: {error}", "journal", raw))
        return
    _take(loaded, loaded.replica(project), project, change, pending)


def _take(loaded: Loaded, replica: Replica, project: str, change: Change, pending: list[Change]) -> bool:
    verdict = Frontier(replica, loaded.forked).verdict(change)
    if verdict is Verdict.NEXT:
        replica.apply(change)
        if loaded.hlc < change.hlc <= loaded.believed:
            loaded.hlc = change.hlc
        loaded.unfolded.setdefault(project, []).append(change)
        if change.idempotency is not None:
            loaded.keyed.setdefault(project, []).append(change)
        return True
    if verdict is Verdict.WAITING:
        pending.append(change)
    elif verdict is not Verdict.DUPLICATE:
        loaded.aside.append(AsideRecord(project, verdict.value, "journal", change.raw))
    return False


def _retry(loaded: Loaded, project: str, pending: list[Change]) -> None:
    replica = loaded.replica(project)
    progress = True
    while progress and pending:
        progress = False
        waiting = sorted(pending, key=lambda c: c.dot)
        pending.clear()
        for change in waiting:
            progress = _take(loaded, replica, project, change, pending) or progress


def owed(loaded: Loaded) -> dict[str, dict[int, int]]:
    """Per project what the slot's row says that it had and that could not be loaded: a damaged or lost part of its log.

    The slot may have announced or acknowledged it, so it must be back before the slot takes writes.
    """
    if loaded.row is None:
        return {}
    return {
        project: dict(vv) for project, vv in loaded.row.vv.items() if not loaded.replica(project).covers(vv)
    }
