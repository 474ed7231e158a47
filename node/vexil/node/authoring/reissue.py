"""Whether an old change can be issued again: judged against the state of today, as a conditional write would be.

The author of an old change had seen its *context*: everything that its node had when it was written. A cell that
somebody has written since, without the author knowing, is stale; so are a generation that is not shown any more and
a key that exists already. One stale cell parks the whole change. What must not wait for a person is done all the same:
a kill is safe whatever else has happened, and a revocation is for good.

What the same node has issued again before is no stranger's: ``issued`` names each old change by what it has become, so
that the edits of a flag follow their create.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from vexil.crdt import schema
from vexil.crdt.cell import EMPTY, Lane, live, seen
from vexil.crdt.change import EXISTS, NO_GENERATION, Change, Dot
from vexil.crdt.generation import Cells, Existence, visible
from vexil.crdt.parked import ParkedWrite, created_type, parked_value, writes_of
from vexil.crdt.payload import decode, is_tombstone
from vexil.crdt.pen import CellWrite
from vexil.node.authoring.intent import Intent
from vexil.node.authoring.json_data import same
from vexil.node.authoring.old_writes import OldWrites
from vexil.node.authoring.sheet import EPOCH, deletion, touch
from vexil.node.authoring.view import View
from vexil.node.authoring.workspace import Workspace, write_bytes
from vexil.node.errors import ApiError

# Why a change is parked; what today's rules refuse is parked under the code of the refusal.
CHANGED: Final = "changed"
GONE: Final = "gone"
EXISTS_ALREADY: Final = "exists"
UNREADABLE: Final = "unreadable"
UNKNOWN: Final = "unknown"
MEMBERSHIP: Final = "membership"
OTHER_ORIGIN: Final = "other-origin"

PARK_BYTES_MAX: Final = 1 << 20
"""Of one change that parks; an old change of many objects may need several."""

Address = tuple[str, Dot, str]
"""A cell: object, generation, field."""
Written = Mapping[str, Sequence[ParkedWrite]]


@dataclass(frozen=True, slots=True)
class Reissue:
    """It can be done now, by ``intent``; empty if the state says it already."""

    intent: Intent


@dataclass(frozen=True, slots=True)
class Park:
    """A person must look at it; what of it is done all the same is `regardless`'s to say."""

    reason: str


class Issued:
    """What old changes have become, in one project."""

    __slots__ = ("_became", "_dots")

    def __init__(self) -> None:
        """None has become anything yet."""
        self._became: dict[Dot, Dot] = {}
        self._dots: set[Dot] = set()

    def note(self, old: Dot, new: Dot) -> None:
        """``old`` has been issued again as ``new``."""
        self._became[old] = new
        self._dots.add(new)

    def today(self, dot: Dot) -> Dot:
        """The name that a generation has today."""
        return self._became.get(dot, dot)

    def __contains__(self, new: Dot) -> bool:
        """Whether an old change has become ``new``."""
        return new in self._dots


class Old(NamedTuple):
    """An old change and what is known of it."""

    change: Change
    context: Mapping[int, int]
    """What its author's node had when it was written, its own earlier changes among it."""
    issued: Issued
    """What earlier changes of the same node have become."""
    slot: str
    """The node whose state is looked through; what it says of its own membership is not issued again."""
    own: bool = True
    """It was written by that node itself."""
    overlaid: Collection[Address] = ()
    """Cells in which something that issued changes are on top of was none of theirs: see `overlaid`."""

    def is_unseen(self, dot: Dot) -> bool:
        """Whether the author had not seen the change ``dot``, which is none that was issued again."""
        return dot[1] > self.context.get(dot[0], 0) and dot not in self.issued


def relevant(old: Old) -> Written:
    """What ``old`` writes by object, without what only its own time needed: who runs where, what was retired."""
    found: dict[str, Sequence[ParkedWrite]] = {}
    for name, writes in writes_of(old.change).items():
        kind, _, key = name.partition("/")
        if name == schema.RETIRED_OBJECT:
            continue
        if kind != schema.MEMBER:
            found[name] = writes
        elif old.own and key != old.slot:
            evictions = [w for w in writes if w.field.startswith(schema.evicted_field(""))]
            if evictions:
                found[name] = evictions
    return found


def judge(view: View, old: Old) -> Reissue | Park:
    """Judge a change of the node itself. Pure; raises nothing, whatever the change holds."""
    written = relevant(old)
    if any(write.payload is not None for writes in written.values() for write in writes):
        return Park(UNREADABLE)
    answer = OldWrites(Workspace(view))
    try:
        for name, writes in written.items():
            _Judgement(view, old, name, writes).into(answer)
        return Reissue(answer.intent())
    except _Refused as refused:
        return Park(refused.reason)
    except ApiError as error:
        return Park(error.code)


def regardless(view: View, old: Old) -> list[CellWrite]:
    """Of a change that is parked, what is done all the same: revocations, and own kills of flags that are there."""
    workspace = Workspace(view)
    answer = OldWrites(workspace)
    for name, writes in relevant(old).items():
        kind = (schema.parse_object(name) or ("", ""))[0]
        if kind == schema.KEY:
            revocations = [w for w in writes if w.generation is None and w.field == schema.REVOKED]
            answer.plain(name, revocations)
        elif kind == schema.FLAG and old.own:
            sheet = workspace.sheet(kind, name)
            for environment in _kills(writes):
                if sheet.exists:
                    sheet.set_kill(environment, kill=True)
    return list(answer.intent().writes)


def overlaid(view: View, old: Old, writes: Sequence[CellWrite]) -> set[Address]:
    """The cells in which ``writes``, of ``old``, will replace something that its author had not seen.

    A kill does, and so does every touch of a flag's existence. Later changes of that author must still be told of it.
    """
    return {
        (w.object, w.generation, w.field)
        for w in writes
        if any(old.is_unseen(lane[:2]) for lane in live(view.replica.cell(w.object, w.generation, w.field)))
    }


def parking(old: Old, *, reason: str, place: tuple[str, str] | None) -> list[list[CellWrite]]:
    """The writes that park ``old``, in as many changes as it takes; always the same for the same arguments."""
    pages: list[list[CellWrite]] = []
    size = 0
    name_of = schema.parked_object(old.change.dot)
    for name, writes in relevant(old).items():
        value = parked_value(old.change, name, writes, reason=reason, place=place)
        write = CellWrite(name_of, NO_GENERATION, schema.parked_field(name), value)
        size += write_bytes(write)
        if not pages or size > PARK_BYTES_MAX:
            pages.append([])
            size = write_bytes(write)
        pages[-1].append(write)
    return pages


class _Refused(Exception):
    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class _Judgement:
    """Of one object of the change."""

    def __init__(self, view: View, old: Old, name: str, writes: Sequence[ParkedWrite]) -> None:
        self._old = old
        self._name = name
        self._writes = writes
        self._cells: Cells = view.replica.cells(name)
        self._made = old.change.dot
        self._known = view.replica.known

    def into(self, answer: OldWrites) -> None:
        """Write it again. Raises _Refused, ApiError."""
        kind = (schema.parse_object(self._name) or ("", ""))[0]
        if kind == schema.MEMBER:
            raise _Refused(MEMBERSHIP)
        for write in self._writes:
            if write.generation is None and not _is_kill(kind, write) and not _is_revocation(kind, write):
                self._fresh(NO_GENERATION, write)
        if kind in (schema.FLAG, schema.SEGMENT):
            self._with_generations(answer, kind)
        elif any(write.generation is not None for write in self._writes):
            raise _Refused(UNKNOWN)
        else:
            answer.plain(self._name, self._writes)

    def _with_generations(self, answer: OldWrites, kind: str) -> None:
        alive = {each.generation: each for each in visible(self._cells)}
        shown = next(iter(alive), None)
        removed = {self._now(w) for w in self._writes if w.field == EXISTS and w.removed}
        edited = {self._now(w) for w in self._told() if w.generation is not None} - removed - {self._made}
        create = any(w.generation == self._made and w.field == EXISTS and not w.removed for w in self._writes)
        here = [each for generation, each in alive.items() if generation in removed]
        for each in here:
            self._unchanged(each)
        if edited and here and not create:
            self._keep_one(answer, kind, here, [each for g, each in alive.items() if g in edited])
            return
        if len(alive) > len(here) and (here or create):
            raise _Refused(EXISTS_ALREADY if create else CHANGED)
        for generation in edited:
            if generation != shown:
                raise _Refused(GONE)
            self._not_deleted(alive[generation])
        for write in self._writes:
            if self._now(write) in edited and write.field not in (EXISTS, EPOCH):
                self._fresh(shown or NO_GENERATION, write)
        if any(self._never_came(write) for write in self._writes if write.field == EXISTS and write.removed):
            # Its create is parked: whoever looks at that needs to know of the delete.
            raise _Refused(GONE)
        # What somebody else has deleted already is deleted.
        left = [w for w in self._writes if self._now(w) not in removed]
        if left or here:
            answer.edit(
                self._name,
                left,
                create=create,
                delete=bool(here),
                type_=created_type(self._made, self._writes),
            )

    def _keep_one(
        self, answer: OldWrites, kind: str, here: Sequence[Existence], kept: Sequence[Existence]
    ) -> None:
        """An answer to concurrent creates: some generations go, one stays."""
        if not kept or len(here) + len(kept) < len(visible(self._cells)):
            raise _Refused(CHANGED)
        answer.add([write for each in here for write in deletion(self._name, each)])
        answer.add([touch(kind, self._name, each) for each in kept])

    def _told(self) -> Sequence[ParkedWrite]:
        """The writes that say something. A kill also touches its flag, and holds whatever flag it is now."""
        kills = any(_is_kill(schema.FLAG, write) for write in self._writes if write.generation is None)
        told = [w for w in self._writes if w.field != EXISTS or w.removed]
        only_kills = kills and all(_is_kill(schema.FLAG, write) for write in told)
        return () if only_kills else self._writes

    def _now(self, write: ParkedWrite) -> Dot:
        """The generation that the write is about, by the name that it has today."""
        return self._old.issued.today(write.generation or NO_GENERATION)

    def _never_came(self, write: ParkedWrite) -> bool:
        """Whether the generation that the write is about has never been here, under any name."""
        incarnation, seq = write.generation or NO_GENERATION
        return seq > self._known(incarnation) and self._now(write) not in self._cells

    # -- what the author had not seen

    def _unseen(self, packed: bytes) -> Iterator[Lane]:
        return (lane for lane in live(packed) if self._old.is_unseen(lane[:2]))

    def _was_overlaid(self, generation: Dot, field: str, packed: bytes) -> bool:
        """Whether something that the author had not seen was replaced by what we have issued again ourselves."""
        if (self._name, generation, field) in self._old.overlaid:
            return True
        old = self._old
        return any(entry.by in old.issued and old.is_unseen(entry[:2]) for entry in seen(packed))

    def _fresh(self, generation: Dot, write: ParkedWrite) -> None:
        """Nobody has said anything else in the cell since."""
        packed = self._cells.get(generation, {}).get(write.field, EMPTY)
        for lane in self._unseen(packed):
            removed = is_tombstone(lane.payload)
            if removed != write.removed or not (removed or same(decode(lane.payload).value, write.value)):
                raise _Refused(CHANGED)
        if self._was_overlaid(generation, write.field, packed):
            raise _Refused(CHANGED)

    def _unchanged(self, existence: Existence) -> None:
        """Nobody has edited the generation since: each edit says again that it exists."""
        packed = self._cells[existence.generation][EXISTS]
        if any(self._unseen(packed)) or self._was_overlaid(existence.generation, EXISTS, packed):
            raise _Refused(CHANGED)

    def _not_deleted(self, existence: Existence) -> None:
        packed = self._cells[existence.generation][EXISTS]
        if any(is_tombstone(lane.payload) for lane in self._unseen(packed)):
            raise _Refused(CHANGED)


def _is_kill(kind: str, write: ParkedWrite) -> bool:
    return kind == schema.FLAG and write.field.startswith(schema.kill_field("")) and write.value is True


def _is_revocation(kind: str, write: ParkedWrite) -> bool:
    return kind == schema.KEY and write.field == schema.REVOKED


def _kills(writes: Sequence[ParkedWrite]) -> Iterator[str]:
    for write in writes:
        if write.generation is None and _is_kill(schema.FLAG, write):
            yield write.field.removeprefix(schema.kill_field(""))
