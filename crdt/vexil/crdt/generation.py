"""Which generation of a flag or segment is shown.

A generation is named by the dot of the change that created it, and has one existence cell. It is there iff that cell
has a live lane that is not a tombstone. Of several (two regions created one key, or a re-create has not seen an edit
that revived the old one) the highest ``(epoch, create HLC, create dot)`` is shown and the others are a conflict.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from vexil.crdt.cell import Lane, lanes, live
from vexil.crdt.change import NO_GENERATION, Dot, render_id
from vexil.crdt.conflicts import CONCURRENT_CREATE, ConflictRecord, Sibling, conflict_id
from vexil.crdt.payload import decode, is_tombstone
from vexil.crdt.policy import latest
from vexil.crdt.schema import EXISTS

Fields = Mapping[str, bytes]
Cells = Mapping[Dot, Fields]


class Existence(NamedTuple):
    """A generation that is there. Tuples of it sort by precedence: the highest is shown."""

    epoch: int
    created: int
    generation: Dot
    type: str
    """As written; "" if the payload does not say, as for segments."""
    lanes: Sequence[Lane]
    winner: Lane


def visible(cells: Cells) -> list[Existence]:
    """The generations that are there, the shown one first."""
    found = []
    for generation, fields in cells.items():
        packed = fields.get(EXISTS)
        if packed is None or generation == NO_GENERATION:
            continue
        alive = live(packed)
        winner = latest(alive)
        if winner is not None:
            value = decode(winner.payload).value
            if not isinstance(value, dict):
                value = {}
            written_type = value.get("type")
            found.append(
                Existence(
                    _natural(value.get("epoch")),
                    # A create cannot know its own stamp when it is encoded: its lane has it. Edits copy it.
                    _natural(value.get("created")) or winner.hlc,
                    generation,
                    written_type if isinstance(written_type, str) else "",
                    alive,
                    winner,
                )
            )
    if len(found) > 1:
        found.sort(key=_precedence, reverse=True)
    return found


def shown_generation(cells: Cells) -> Dot | None:
    """The generation whose cells are shown; None if the object is not there."""
    found = visible(cells)
    return found[0].generation if found else None


def next_epoch(cells: Cells) -> int:
    """The epoch of a generation that is created on top of ``cells``: above every one that is known here.

    The lane that said a deleted generation's epoch may be gone (its own writer's tombstone takes its place), so each
    known generation counts for at least one.
    """
    known = 0
    highest = 0
    for generation, fields in cells.items():
        packed = fields.get(EXISTS)
        if packed is None or generation == NO_GENERATION:
            continue
        known += 1
        for lane in lanes(packed):
            value = None if is_tombstone(lane.payload) else decode(lane.payload).value
            if isinstance(value, dict):
                highest = max(highest, _natural(value.get("epoch")))
    return max(known, highest) + 1


def concurrent_create(name: str, found: Sequence[Existence], contents: Sequence[object]) -> ConflictRecord:
    """The conflict of generations ``found`` (the shown one first) that say different ``contents``.

    A sibling stands for a whole generation and is named by its create, so edits of either leave the id as it is.
    """
    dots = [existence.generation for existence in found]
    return ConflictRecord(
        id=conflict_id((name, CONCURRENT_CREATE), dots),
        kind=CONCURRENT_CREATE,
        object=name,
        environment=None,
        field=EXISTS,
        winner=render_id(dots[0]),
        siblings=tuple(
            Sibling(
                change=render_id(existence.generation),
                value=content,
                author=decode(existence.winner.payload).author,
                hlc=existence.created,
                incarnation=existence.generation[0],
            )
            for existence, content in zip(found, contents, strict=True)
        ),
        generation=dots[0],
    )


def _precedence(existence: Existence) -> tuple[int, int, Dot]:
    return existence[:3]


def _natural(value: object) -> int:
    return value if isinstance(value, int) and value is not True and value >= 0 else 0
