"""Rows of a log from before a state, newest first, each believed only for what the row behind it says of it.

A row must be the one that the row behind it (or the head that came with the state) names as its predecessor in its
incarnation's hash chain. Only of a retired incarnation, whose head nobody keeps, the newest row is taken as it comes.
So peers and files can leave rows out at the old end, but put none in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

from vexil.crdt.change import GENESIS, Change
from vexil.node.seams import LogRecord


@dataclass(slots=True)
class PastWalk:
    """What is still missing of one project, and what the next row of each incarnation must be."""

    wanted: dict[int, int]
    """Incarnation -> the seq that is missing next, downwards."""
    chains: dict[int, bytes]
    """The chain hash that it must have; none for the newest of a retired incarnation."""
    first: dict[int, int] = field(default_factory=dict)
    """Of what has rows here: the seq of the first of them."""
    oldest_hlc: int = 0
    """What is older is not kept here."""
    refused: int = 0
    records: list[LogRecord] = field(default_factory=list)

    @classmethod
    def behind(cls, vv: Mapping[int, int], retired: Mapping[int, int], heads: Mapping[int, bytes]) -> Self:
        """The walk through everything that a state with this vector and these heads was made of."""
        return cls({**retired, **vv}, dict(heads))

    def offer(self, project: str, change: Change) -> bool:
        """Take the row if it is the one; whether it was."""
        incarnation = change.incarnation
        wanted = self.wanted.get(incarnation, 0)
        if not wanted or change.seq > wanted:
            return False
        if change.seq < wanted or change.hlc < self.oldest_hlc:
            # The one before it is not there, or too old to be kept: no further row of it can be told to be true.
            del self.wanted[incarnation]
            return False
        known = self.chains.get(incarnation)
        if (known is not None and change.chain != known) or (change.seq == 1 and change.previous != GENESIS):
            self.refused += 1
            return False
        self.records.append(LogRecord(project, incarnation, change.seq, change.raw))
        self.chains[incarnation] = change.previous
        self.wanted[incarnation] = change.seq - 1
        if change.seq == 1:
            del self.wanted[incarnation]
        return True
