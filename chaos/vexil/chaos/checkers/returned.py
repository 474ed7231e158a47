"""What has become of a change that nobody has: its node was evicted, and has come back with it.

Either it was issued again or parked, which its idempotency key tells, or one that is made of its id. Or it need not be,
because all that it says is so already.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

from vexil.chaos.world.convergence import engines
from vexil.chaos.world.simulated_cluster import SimulatedCluster
from vexil.crdt.cell import has_value
from vexil.crdt.change import Change, Operation
from vexil.crdt.payload import decode, is_tombstone
from vexil.crdt.schema import EXISTS, PARKED, RETIRED_OBJECT
from vexil.node.authoring.sheet import EPOCH

CHAIN_DIGITS: Final = 16
"""Of a change's chain hash in the key under which a node that has come back issues it again."""


def is_issued_again(change: Change, keys: Collection[str], *, over: bool) -> bool:
    """Whether ``change``, or that it is kept for a person, is among the changes that carry ``keys``.

    Under a key that is made of its id only a return issues anything. Its client's own key may be carried by a retry,
    which has nothing to do with a return: it says so only if the registration of its author is ``over``.
    """
    made = f"return/{change.id}/{change.chain.hex()[:CHAIN_DIGITS]}"
    return made in keys or (over and change.idempotency is not None and change.idempotency[0] in keys)


def only_parks(change: Change) -> bool:
    """Whether ``change`` only keeps an old one for a person: two nodes that return may both do so, in one place."""
    return all(operation.object.startswith(f"{PARKED}/") for operation in change.operations)


def says_nothing_new(
    change: Change, project: str, others: Iterable[Change], cluster: SimulatedCluster
) -> bool:
    """Whether all that ``change`` says was said by one of ``others`` too, or removes what is nowhere."""
    said = [operation for operation in change.operations if not _is_of_its_time(operation)]
    changes = list(others)
    return all(
        any(_says(other, operation) for other in changes) or _is_gone(cluster, project, operation)
        for operation in said
    )


def _is_of_its_time(operation: Operation) -> bool:
    """What a node that comes back need not say again: who ran where, what had ended, that an edited flag is there."""
    if operation.object == RETIRED_OBJECT or operation.object.startswith("member/"):
        return True
    return operation.field == EPOCH or (operation.field == EXISTS and not is_tombstone(operation.payload))


def _says(change: Change, wanted: Operation) -> bool:
    """Whether ``change`` says the same in the same place; generations may have got other names."""
    return any(
        (o.object, o.field, is_tombstone(o.payload))
        == (wanted.object, wanted.field, is_tombstone(wanted.payload))
        and decode(o.payload).value == decode(wanted.payload).value
        for o in change.operations
    )


def _is_gone(cluster: SimulatedCluster, project: str, operation: Operation) -> bool:
    """Whether ``operation`` removes what is nowhere anyway: it was made, perhaps, by what is parked.

    A null removes too: a field that nobody has written says the same.
    """
    place = (operation.object, operation.generation, operation.field)
    removes = is_tombstone(operation.payload) or decode(operation.payload).value is None
    return removes and not any(
        has_value(engine.projects[project].replica.cell(*place))
        for _, engine in engines(cluster)
        if project in engine.projects
    )
