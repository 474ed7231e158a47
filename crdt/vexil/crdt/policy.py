"""Read policies: what the live lanes of a cell mean. Replication knows none of this.

Each policy is one small total function over lanes. All of them look at *live* lanes (``once`` alone at every lane),
and none looks at the order in which the lanes arrived. What lost is not hidden: ``Outcome.siblings`` holds every live
lane as soon as they disagree.

A tombstone never beats a value, under any policy. Garbage collection takes tombstones away, at another moment on each
node, and must not be visible to reads.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from enum import Enum
from typing import Final, NamedTuple

from vexil.crdt.cell import Lane
from vexil.crdt.limits import json_defect
from vexil.crdt.payload import UNREADABLE, decode, is_tombstone

COMPARED_DEPTH_MAX: Final = 128
"""Deeper values are compared and shown as bytes: a JSON encoder may recurse."""
# One encoder for the process: making one takes longer than most values take it.
_text_of: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode


class Policy(Enum):
    """How a field is read. A member's value is only a label for people."""

    LWW = "last-writer-wins"
    ELEMENT = "add-wins element"
    ENTRY = "add-wins map entry"
    OFF_WINS = "off-wins"
    ONCE = "once"
    GENERATION = "generation"
    OPAQUE = "opaque"
    """A field of a newer version: kept, hashed, passed on, never shown, never harmful."""


class _Missing:
    __slots__ = ()

    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = _Missing()
"""No live lane holds a value."""


class Outcome(NamedTuple):
    """What a cell says. ``winner`` is None iff ``value`` is MISSING; ``siblings`` are all live lanes, or none."""

    value: object
    winner: Lane | None
    siblings: Sequence[Lane]


NOTHING: Final = Outcome(MISSING, None, ())


def latest(lanes: Sequence[Lane]) -> Lane | None:
    """The lane with the highest ``(hlc, incarnation)`` among those that are not tombstones."""
    best: Lane | None = None
    for lane in lanes:
        if not is_tombstone(lane.payload) and (
            best is None or (lane.hlc, lane.incarnation) > (best.hlc, best.incarnation)
        ):
            best = lane
    return best


def lww(lanes: Sequence[Lane]) -> Outcome:
    """The last writer's value. Siblings iff the live lanes say different things; equal values are no conflict.

    A value that cannot be read is ``UNREADABLE`` and wins like any other: falling back to an older one would show
    what its author had meant to replace.
    """
    winner = latest(lanes)
    if winner is None:
        return NOTHING
    return Outcome(decode(winner.payload).value, winner, lanes if _disagree(lanes) else ())


map_entry = lww
"""An add-wins map entry: present iff any live lane is not a tombstone, its value by last writer. An LWW field is
written, never removed, so one reading serves both."""


def present(lanes: Sequence[Lane]) -> Outcome:
    """An add-wins element: there iff any live lane is not a tombstone, whatever that lane holds.

    Siblings iff an add stands beside a remove; the payloads of two adds are not compared.
    """
    winner = latest(lanes)
    if winner is None:
        return NOTHING
    return Outcome(True, winner, lanes if any(is_tombstone(lane.payload) for lane in lanes) else ())


def killed(lanes: Sequence[Lane]) -> Outcome:
    """Off-wins: killed iff any live lane says so. A payload that is neither ``False`` nor a tombstone says so.

    ``winner`` is the latest killing lane, else the latest lane that says ``False``.
    """
    killing = [
        lane for lane in lanes if not is_tombstone(lane.payload) and decode(lane.payload).value is not False
    ]
    winner = latest(killing)
    if winner is not None:
        return Outcome(True, winner, lanes if len(killing) < len(lanes) else ())
    return Outcome(False, latest(lanes), ())


def revoked(every_lane: Sequence[Lane]) -> bool:
    """Once: true iff a lane is there, dead or alive, readable or not. Nothing takes it back."""
    return bool(every_lane)


def needs_review(lanes: Sequence[Lane]) -> bool:
    """Whether a live tombstone stands beside a live value: an edit or create did not see a delete, or it the edit."""
    removed = [is_tombstone(lane.payload) for lane in lanes]
    return any(removed) and not all(removed)


def comparable(payload: bytes) -> bytes:
    """Bytes that are equal iff two payloads say the same: the author and the order of members do not matter."""
    if is_tombstone(payload):
        return b"removed"
    value = decode(payload).value
    if value is UNREADABLE or json_defect(value, depth_max=COMPARED_DEPTH_MAX):
        return b"\0" + payload
    return _text_of(value).encode()


def _disagree(lanes: Sequence[Lane]) -> bool:
    if len(lanes) < 2:
        return False
    first = comparable(lanes[0].payload)
    return any(comparable(lane.payload) != first for lane in lanes[1:])
