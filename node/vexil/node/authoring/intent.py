"""What a decision comes to: the cells to write.

An author's wish ("turn it on", "add this rule") is decided against the state that the change will be based on, by a
pure function, and the outcome is an `Intent`. The engine turns it into one change, or into none if it is empty.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vexil.crdt.pen import CellWrite


@dataclass(frozen=True, slots=True)
class Intent:
    """Cells to write, at most once each, in one change; empty if there is nothing to do.

    ``reads`` are the objects that the decision leaned on: it holds as long as none of them has changed. A name there
    may stand for something else that only one change can have (a place among those that are left for flags).
    ``created`` are the objects that come into being.
    """

    writes: Sequence[CellWrite] = ()
    reads: frozenset[str] = frozenset()
    before: Sequence[object] = ()
    created: frozenset[str] = frozenset()
