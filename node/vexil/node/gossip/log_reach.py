"""Whether a node's log reaches back to what a peer has: rows that the peer can apply, or none.

Rows may be gone for good (retention), or never have been here (this node came up from a snapshot). So a page is cut
before its first row that could not be applied on top of what the peer says to have; when nothing is left of it
although something is missing, only a snapshot helps.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence

from vexil.crdt.change import NO_GENERATION, peek_deps
from vexil.crdt.replica import Replica
from vexil.crdt.retired import of_cells
from vexil.crdt.schema import RETIRED_OBJECT
from vexil.node.seams import LogRecord

Retirements = dict[int, list[tuple[int, int]]]
"""By author: the seq of a change that retires, and the incarnation that it retires."""


def applicable(
    records: Sequence[LogRecord], have: Mapping[int, int], not_waited_for: Container[int]
) -> Sequence[LogRecord]:
    """The first of ``records`` that fit, one behind the other, on ``have``.

    What was seen of ``not_waited_for`` (forked, stopped, left out on demand) is no reason to stop.
    """
    reached = dict(have)
    for count, record in enumerate(records):
        incarnation = record.incarnation
        if record.seq > reached.get(incarnation, 0) + 1 or any(
            reached.get(other, 0) < seq and other not in not_waited_for
            for other, seq in peek_deps(record.raw)
            if other != incarnation
        ):
            return records[:count]
        reached[incarnation] = max(reached.get(incarnation, 0), record.seq)
    return records


class RetiredKnowledge:
    """Which retired incarnations a peer knows to be retired, told from its vector alone; one a project."""

    __slots__ = ("_count", "_retirements")

    def __init__(self) -> None:
        """Nothing is looked up yet."""
        self._count = 0
        self._retirements: Retirements = {}

    def completed(self, replica: Replica, have: Mapping[int, int]) -> dict[int, int] | None:
        """``have`` with the final seqs of the retired incarnations; vectors leave them out.

        None if its owner lacks changes of one of them: no log can help, since nobody reads rows of retired
        incarnations. It knows a retirement iff it has the change that says so (which builds on all of the
        incarnation's changes); as long as it has not, the incarnation is in its vector, in full.
        """
        if not replica.retired:
            return dict(have)
        if self._count == len(replica.retired):
            known = _completed(replica.retired, self._retirements, have)
            if known is not None:
                return known
        # Also when it found nothing: two nodes may have retired one incarnation, and one of them came later.
        self._retirements = _retirements(replica)
        self._count = len(replica.retired)
        return _completed(replica.retired, self._retirements, have)


def _completed(
    retired: Mapping[int, int], retirements: Retirements, have: Mapping[int, int]
) -> dict[int, int] | None:
    known = dict(have)
    authors = [author for author in retirements if author in known]
    while authors:
        author = authors.pop()
        for seq, incarnation in retirements[author]:
            if seq <= known[author] and known.get(incarnation, 0) < retired[incarnation]:
                known[incarnation] = retired[incarnation]
                if incarnation in retirements:
                    authors.append(incarnation)
    if any(known.get(incarnation, 0) < final for incarnation, final in retired.items()):
        return None
    return known


def _retirements(replica: Replica) -> Retirements:
    found: Retirements = {}
    for (author, seq), incarnation, _ in of_cells(replica.cells(RETIRED_OBJECT).get(NO_GENERATION, {})):
        if incarnation in replica.retired:
            found.setdefault(author, []).append((seq, incarnation))
    return found
