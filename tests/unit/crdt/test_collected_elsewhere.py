"""What one replica has collected and another has not: neither may bring it back, or lose what replaced it."""

from __future__ import annotations

import pytest

from vexil.crdt import cell as cells
from vexil.crdt.change import GENESIS, NO_GENERATION, Change, Operation, decode, encode
from vexil.crdt.frontier import Verdict
from vexil.crdt.merge import BelowFloor, CannotMerge, Merge, lacks
from vexil.crdt.payload import TOMBSTONE
from vexil.crdt.payload import encode as payload
from vexil.crdt.pen import CellWrite, Pen
from vexil.crdt.replica import Replica
from vexil.crdt.schema import RETIRED_OBJECT, retired_field

SETTINGS, FIELD = "project/settings", "environment/prod"
X, Y = 9, 2


def written(replica: Replica, incarnation: int, value: object, *, hlc: int) -> Change:
    return Pen(replica, incarnation).write(
        [CellWrite(SETTINGS, NO_GENERATION, FIELD, value)], hlc=hlc, author="a"
    )


def give(change: Change, *replicas: Replica) -> None:
    for replica in replicas:
        assert replica.verdict(change) is Verdict.NEXT
        replica.apply(change)


def copy_of(replica: Replica) -> Replica:
    fold = [
        (name, generation, field, packed)
        for name, generations in replica.objects.items()
        for generation, fields in generations.items()
        for field, packed in fields.items()
    ]
    return Replica.load(replica.header(), fold)


def test_an_old_copy_that_lacks_a_retired_life_is_not_joined() -> None:
    """The retired one had deleted a value, which is collected: only the copy has it still, and it looks alive."""
    x, y = Replica(), Replica()
    give(written(y, Y, True, hlc=1), y, x)
    old = copy_of(y)
    give(written(x, X, TOMBSTONE, hlc=2), x, y)
    promised = dict(y.vv)
    retire = [CellWrite(RETIRED_OBJECT, NO_GENERATION, retired_field(X), 1)]
    give(Pen(y, Y).write(retire, hlc=3, author="a"), y)
    y.advance_floor(promised)
    assert y.collect(SETTINGS, promised)
    assert lacks(old, y)
    with pytest.raises(BelowFloor), Merge(old, copy_of(y)):
        pass
    with pytest.raises(BelowFloor), Merge(y, old):
        pass


def test_a_floor_above_its_own_vector_is_no_state() -> None:
    live, other = Replica(), Replica()
    give(written(other, Y, True, hlc=1), other)
    other.floor = {Y: 2}
    with pytest.raises(CannotMerge), Merge(live, other):
        pass


def claim(operations: list[Operation]) -> Change:
    raw = encode(
        dot=(5, 1), hlc=7, deps={X: 1}, previous=GENESIS, author="e", message="", idempotency=None,
        operations=operations,
    ).raw  # fmt: skip
    return decode(raw)


def test_an_over_claim_does_not_hide_behind_a_retirement() -> None:
    replica = Replica()
    give(written(replica, X, True, hlc=1), replica)
    evil = Operation(SETTINGS, NO_GENERATION, FIELD, payload("e", 1), ((X, 1 << 40),))
    junk = Operation(RETIRED_OBJECT, NO_GENERATION, "junk", payload("e", 0), ())
    assert replica.verdict(claim([evil])) is Verdict.OVERCLAIM
    assert replica.verdict(claim([junk, evil])) is Verdict.OVERCLAIM


def test_one_incarnation_is_replaced_once_in_a_cell() -> None:
    replica = Replica()
    give(written(replica, X, True, hlc=1), replica)
    twice = Operation(SETTINGS, NO_GENERATION, FIELD, payload("e", 1), ((X, 1), (X, 1)))
    assert replica.verdict(claim([twice])) is Verdict.OVERCLAIM


@pytest.mark.parametrize("lives", [1, 2, 3, 9_363, 9_400])
def test_the_number_of_incarnations_is_read_from_the_first_bytes(lives: int) -> None:
    flat: list[object] = []
    for i in range(1, lives + 1):
        flat += [i, 1, 1, b"", 0, 0, 0]
    assert cells.incarnations(cells.pack(flat)) == lives
    assert cells.incarnations(cells.EMPTY) == 0


def test_a_long_chain_of_retirements_is_read_back_whole() -> None:
    """Each life was retired by the next one, and that by its own next."""
    lives = 3_000
    fields = {
        retired_field(i): cells.write(
            cells.EMPTY, dot=(i + 1, 1), hlc=1, payload=payload("a", 1), replaced=()
        )
        for i in range(1, lives)
    }
    replica = Replica()
    replica.objects[RETIRED_OBJECT] = {NO_GENERATION: fields}
    replica.vv = {lives: 1}
    replica.settle_retired()
    assert len(replica.retired) == lives - 1
