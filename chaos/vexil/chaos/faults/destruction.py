"""What is lost for good when a disk is: changes that were safe there and are safe nowhere else.

Safe is what a start would find: a record that is synced in a journal or was laid aside for a return, and what
a slot's row in its store says of the log and of the fold there. What lies in a store above every such row is read by
nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

from vexil.chaos.faults.fault import World
from vexil.chaos.run.history import Destruction
from vexil.chaos.world.simulated_archive import SimulatedArchive
from vexil.chaos.world.simulated_disk import SimulatedDisk
from vexil.chaos.world.simulated_slot import Slot
from vexil.chaos.world.simulated_store import SimulatedRegion
from vexil.crdt import cell as cells
from vexil.crdt.change import Dot
from vexil.crdt.replica import Replica
from vexil.crdt.schema import RETIRED_OBJECT
from vexil.node.seams import MemberRow

Known = Callable[[int], int]
"""Per incarnation up to where it is safe."""


@contextmanager
def destroying(world: World, slot: Slot) -> Iterator[None]:
    """The block destroys the disk of ``slot``, and never yields: note that it has, and what is safe no more.

    That is what was safe before the block and is not after it, of all that any node has applied. What only a node has
    that is no member yet is not safe after it: such a node throws away what it has when it dies.
    """
    before = _safe(world, list(world.cluster.slots.values()))
    yield
    after = _safe(world, [each for each in world.cluster.slots.values() if not _is_half_joined(each)])
    history = world.history
    gone = {project: frozenset(dots - after[project]) for project, dots in before.items()}
    history.destructions.append(Destruction(history.now_s(), slot.name, slot.member, gone))
    for project, lost in gone.items():
        if lost:
            history.destroyed.setdefault(project, set()).update(lost)


def _safe(world: World, slots: Sequence[Slot]) -> dict[str, set[Dot]]:
    """What ``slots`` keep safe, and what any slot has laid aside."""
    records: dict[str, set[Dot]] = {}
    for slot in world.cluster.slots.values():
        media: list[SimulatedDisk | SimulatedArchive] = [*slot.archives]
        if slot in slots:
            media.append(slot.disk)
        for medium in media:
            for record in medium.safe_records():
                records.setdefault(record.project, set()).add((record.incarnation, record.seq))
    stored = _stored(slots)
    return {
        project: {
            dot
            for dot in changes
            if dot in records.get(project, ())
            or any(known(dot[0]) >= dot[1] for known in stored.get(project, ()))
        }
        for project, changes in world.history.changes.items()
    }


def _stored(slots: Iterable[Slot]) -> dict[str, list[Known]]:
    """By project what the rows of the slots say that their stores have."""
    stored: dict[str, list[Known]] = {}
    for slot in slots:
        row = slot.store.member(slot.member)
        if row is None:
            continue
        for project, vv in row.vv.items():
            stored.setdefault(project, []).append(lambda incarnation, vv=vv: vv.get(incarnation, 0))  # type: ignore[misc]  # a default binds each vv
        for project in row.fold:
            stored.setdefault(project, []).append(_of_fold(slot.store, row, project))
    return stored


def _is_half_joined(slot: Slot) -> bool:
    """Whether the slot is no member yet."""
    row = slot.store.member(slot.member)
    return row is not None and not row.registration


def _of_fold(store: SimulatedRegion, row: MemberRow, project: str) -> Known:
    """What has ended and is retired is in no vector: its cells in the fold tell."""
    replica = Replica()
    replica.load_header(row.fold[project])
    fold = store.fold(row.slot, project, row.checkpoint.get(project, 0))
    for entry in fold.rows.values():
        if entry.object == RETIRED_OBJECT:
            fields = replica.fields(entry.object, entry.generation)
            made = cells.from_entries((entry.entry,))
            fields[entry.field] = cells.join(fields.get(entry.field, cells.EMPTY), made)
    replica.settle_retired()
    return replica.known
