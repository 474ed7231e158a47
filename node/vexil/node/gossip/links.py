"""Links that an operator has cut on purpose, for drills: this node's own peer traffic between two places.

A place is a region or a node. A cut drops what this node sends and what it is sent; other nodes are told by their
own calls.
"""

from __future__ import annotations

from vexil.node.seams import PeerIdentity

CUTS_MAX = 1_000


class Links:
    """The set of cut pairs, unordered."""

    __slots__ = ("_cuts",)

    def __init__(self) -> None:
        """Every link is whole."""
        self._cuts: set[frozenset[str]] = set()

    def set(self, a: str, b: str, *, cut: bool) -> None:
        """Cut the link between the places ``a`` and ``b``, or mend it. Raises ValueError beyond `CUTS_MAX` cuts."""
        pair = frozenset((a, b))
        if not cut:
            self._cuts.discard(pair)
        elif len(self._cuts) >= CUTS_MAX and pair not in self._cuts:
            raise ValueError(f"{CUTS_MAX} links are cut already")
        else:
            self._cuts.add(pair)

    def blocked(self, here: PeerIdentity, there: PeerIdentity) -> bool:
        """Whether traffic between the two nodes is to be dropped."""
        if not self._cuts:
            return False
        return any(frozenset((x, y)) in self._cuts for x in here for y in there)

    def listed(self) -> list[list[str]]:
        """The cut pairs, sorted, for status."""
        return sorted(sorted(pair) for pair in self._cuts)
