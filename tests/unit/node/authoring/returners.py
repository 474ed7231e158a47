"""A node that was cut off, and the cluster that went on without it: what is judged when the one comes back."""

from __future__ import annotations

from tests.unit.node.authoring.nodes import Node, node_with
from vexil.crdt.change import Change
from vexil.node.authoring.intent import Intent
from vexil.node.authoring.reissue import (
    Address,
    Issued,
    Old,
    Park,
    Reissue,
    judge,
    overlaid,
    parking,
    regardless,
)

SLOT = "us-1"


class Returner:
    """``away`` was evicted at the moment of `cut`; ``here`` is a node of the cluster, as it is today.

    Both begin with the flags ``bodies``. `back` judges all that ``away`` has written since, and does what is said.
    """

    def __init__(self, *bodies: object) -> None:
        self.here = node_with(*bodies)
        self.away = Node(2)
        self.away.pull(self.here)
        self.away.hlc = self.here.hlc
        self.issued = Issued()
        self.overlaid: set[Address] = set()
        self.reasons: list[str] = []
        self._kept = len(self.away.log)

    @property
    def old(self) -> list[Change]:
        """What only the away node has."""
        return self.away.log[self._kept :]

    def judged(self) -> Reissue | Park:
        """The verdict on the only old change."""
        [change] = self.old
        return judge(self.here, self.as_old(change))

    def as_old(self, change: Change, *, own: bool = True) -> Old:
        context = {2: change.seq - 1, **dict(self.away.replica.deps_of(2))}
        return Old(change, context, self.issued, SLOT, own, self.overlaid)

    def back(self) -> Returner:
        """Do with every old change what returning does."""
        for change in self.old:
            old = self.as_old(change)
            verdict = judge(self.here, old)
            if isinstance(verdict, Reissue):
                intent = verdict.intent
            else:
                self.reasons.append(verdict.reason)
                [page] = parking(old, reason=verdict.reason, place=(SLOT, "us"))
                intent = Intent([*regardless(self.here, old), *page])
            self.overlaid |= overlaid(self.here, old, intent.writes)
            made = self.here.take(intent)
            if made is not None:
                self.issued.note(change.dot, made.dot)
        return self
