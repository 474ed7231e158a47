"""P13: what was written under an ``If-Match`` has replaced nothing that its author had not seen.

His ETag is a claim about one object; here it is taken for all that was known where he read it. So much he may have
seen, and no more: a value beyond it in a cell that he wrote, or a create or a delete of the object beyond it, should
have been a refusal.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

from vexil.chaos.checkers.checker import Checker
from vexil.chaos.checkers.oracle import EXISTENCE, OUTSIDE, REMOVED, Address, Dot, Event, Oracle
from vexil.chaos.clients.operations import PROJECT
from vexil.chaos.run.history import Outcome, Write
from vexil.chaos.world.next_version import MORE
from vexil.crdt.change import render_id


class Conditions(Checker):
    """Looks at every conditional write that is acknowledged."""

    invariant = "P13"
    claim = "a write under a condition replaces nothing that its author had not seen"

    def written(self, write: Write) -> None:
        """`Checker.written`."""
        if write.outcome is not Outcome.ACKNOWLEDGED or write.condition is None or write.dot is None:
            return
        oracle = self.graph.oracle(PROJECT)
        authored = self.history.authored_on.get((PROJECT, write.key, write.dot[0]))
        event = None if oracle is None else oracle.events.get(write.dot)
        if oracle is None or event is None or authored is None:
            return
        self.judged += 1
        before = self.graph.covered(PROJECT, authored)
        seen = self.graph.covered(PROJECT, write.condition)
        unseen = sorted({render_id(dot) for dot in _replaced(oracle, event, before) if dot not in seen})
        if unseen:
            self.violate(
                f"{write.what} was taken at {write.slot} over {unseen}, which its author had not seen"
            )


def _replaced(oracle: Oracle, event: Event, before: Collection[Dot]) -> Iterator[Dot]:
    """What the author of a conditional ``event`` must have seen of ``before``."""
    for operation in event.operations:
        address = Address(*operation[:3])
        if address.field == MORE:
            # A node of the next version writes it beside whatever somebody wanted.
            continue
        if address.field != EXISTENCE:
            yield from _values(oracle, address, before)
        elif operation.value is REMOVED:
            # A delete touches everything.
            for cell in oracle.addresses(address.object):
                if cell.generation == address.generation and cell.field != EXISTENCE:
                    yield from _values(oracle, cell, before)
    for name in {operation.object for operation in event.operations}:
        for generation in oracle.generations(name, before):
            if generation.generation != OUTSIDE:
                yield generation.generation
            existence = oracle.survivors(Address(name, generation.generation, EXISTENCE), before)
            yield from (dot for dot, write in existence.items() if write.value is REMOVED)


def _values(oracle: Oracle, address: Address, before: Collection[Dot]) -> Iterator[Dot]:
    """A removal that stands alone is garbage one day, and no ETag speaks of it."""
    survivors = oracle.survivors(address, before)
    yield from (dot for dot, write in survivors.items() if write.value is not REMOVED)
