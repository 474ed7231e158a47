"""Equal states have equal sums, the sums make the root hash, and one lane that differs shows in one bucket."""

from __future__ import annotations

import pytest

from vexil.crdt import cell as cells
from vexil.crdt.change import NO_GENERATION
from vexil.crdt.hash_tree import (
    BUCKETS,
    SUMS_BYTES,
    HashTree,
    bucket_of,
    decode_choice,
    decode_sums,
    encode_choice,
    encode_sums,
)
from vexil.crdt.payload import TOMBSTONE
from vexil.crdt.pen import CellWrite, Pen
from vexil.crdt.replica import Replica

OBJECTS = 3_000


def replica_of(count: int = OBJECTS) -> Replica:
    """Objects of one cell each, written by one author."""
    replica = Replica()
    pen = Pen(replica, 7)
    for number in range(count):
        replica.apply(
            pen.write([CellWrite(f"x/{number}", NO_GENERATION, "f", number)], hlc=number, author="a")
        )
    return replica


def tree_of(replica: Replica, *, backwards: bool = False) -> HashTree:
    tree = HashTree()
    for name in sorted(replica.objects, reverse=backwards):
        tree.add(name, replica.objects[name])
    return tree


def test_the_sums_make_the_root_hash() -> None:
    replica = replica_of()
    assert tree_of(replica).root == replica.root == replica.recomputed_root()


def test_equal_states_have_equal_sums_in_whatever_order() -> None:
    one, other = replica_of(), replica_of()
    assert tree_of(one).sums == tree_of(other, backwards=True).sums
    assert tree_of(one).differing(tree_of(other).sums) == []


def test_objects_spread_over_all_buckets() -> None:
    counts = [0] * BUCKETS
    for number in range(20 * BUCKETS):
        counts[bucket_of(f"flag/{number}")] += 1
    assert min(counts) > 0
    assert max(counts) < 60


def test_one_lane_that_differs_is_found_in_its_bucket() -> None:
    one, other = replica_of(), replica_of()
    name = "x/1234"
    packed = other.cell(name, NO_GENERATION, "f")
    other.put_cells(
        name, {NO_GENERATION: {"f": cells.pack([7, *cells.unpacked(packed)[1:2], 99, b"", 0, 0, 0])}}
    )
    assert tree_of(one).differing(tree_of(other).sums) == [bucket_of(name)]
    chosen = tree_of(one).chosen([bucket_of(name)])
    assert name in chosen
    assert chosen == sorted(chosen)
    assert len(chosen) < OBJECTS / 100


def test_garbage_makes_no_difference() -> None:
    replica = replica_of(10)
    pen = Pen(replica, 8)
    replica.apply(pen.write([CellWrite("x/3", NO_GENERATION, "f", TOMBSTONE)], hlc=99, author="a"))
    replica.apply(pen.write([CellWrite("x/4", NO_GENERATION, "f", "b")], hlc=99, author="a"))
    before = tree_of(replica).sums
    stable = dict(replica.vv)
    replica.advance_floor(stable)
    assert [removal for name in ("x/3", "x/4") for removal in replica.collect(name, stable)]
    assert tree_of(replica).sums == before


def test_bytes_that_are_no_cell_count_as_absent() -> None:
    sound, altered = replica_of(5), replica_of(5)
    sound.put_cells("x/2", {NO_GENERATION: {"f": cells.EMPTY}})
    altered.put_cells("x/2", {NO_GENERATION: {"f": b"\xc1"}})
    assert tree_of(sound).sums == tree_of(altered).sums


def test_sums_and_choices_come_back_from_bytes() -> None:
    sums = tree_of(replica_of(50)).sums
    assert decode_sums(encode_sums(sums)) == sums
    for choice in ([], [0], [BUCKETS - 1], [0, 5, 511, 1023], list(range(BUCKETS))):
        assert decode_choice(encode_choice(choice)) == choice
    with pytest.raises(ValueError, match="sums"):
        decode_sums(bytes(SUMS_BYTES - 1))
    with pytest.raises(ValueError, match="choice"):
        decode_choice(b"")
