"""P1: what merges is a join. One suite of laws over cells, version vectors and the receive rule of the clock.

Cells are drawn with few incarnations and few sequence numbers, so that ties, dead lanes and forks are the rule.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.property.laws import check_join, check_order
from vexil.crdt import cell as cells
from vexil.crdt import hlc as clocks
from vexil.crdt import payload as payloads
from vexil.crdt import version_vector as vectors
from vexil.crdt.cell import EMPTY, Lane, Seen

INCARNATIONS = (1, 2, 127, 128, 1 << 40, (1 << 64) - 1)
"""Every width in which msgpack writes an integer."""
SEQS = (1, 2, 3, 200, (1 << 62) - 1)

incarnations = st.sampled_from(INCARNATIONS)
seqs = st.sampled_from(SEQS)
dots = st.tuples(incarnations, seqs)
hlcs = st.sampled_from((0, 1, 5, 1 << 40, (1 << 64) - 1))
payload_bytes = st.sampled_from(
    (
        b"",
        payloads.encode("ann", True),
        payloads.encode("bob", {"split": [["on", 1]]}),
        payloads.tombstone("ann"),
        payloads.tombstone("bob"),
        b"\xff" * 300,
    )
)
entry_values = st.tuples(
    st.one_of(st.just((0, 0, b"")), st.tuples(seqs, hlcs, payload_bytes)),
    st.one_of(st.just((0, 0, 0)), st.builds(lambda seq, by: (seq, *by), seqs, dots)),
).filter(lambda parts: parts[0][0] or parts[1][0])


def packed(entries: dict[int, tuple[tuple[int, int, bytes], tuple[int, int, int]]]) -> bytes:
    """The canonical bytes, written down by this test and not by the module under test."""
    flat: list[object] = []
    for incarnation in sorted(entries):
        flat += [incarnation, *entries[incarnation][0], *entries[incarnation][1]]
    return bytes(msgpack.packb(flat))


any_cell = st.dictionaries(incarnations, entry_values, max_size=5).map(packed)


def vector_of(pairs: dict[int, int]) -> dict[int, int]:
    return dict(sorted(pairs.items()))


any_vector = st.dictionaries(incarnations, seqs, max_size=5).map(vector_of)

WALL_MS = 1_000_000
LIMIT_MS = 60_000


def receive(left: int, right: int) -> int:
    """The receive rule as a join of two clocks at one moment of wall time."""
    clock = clocks.HybridClock(ahead_limit_ms=LIMIT_MS)
    clock.last = left
    clock.observe(right, WALL_MS)
    return clock.last


believed_stamps = st.integers(0, clocks.pack(WALL_MS + LIMIT_MS, clocks.COUNTER_MASK))


def joined_vectors(left: dict[int, int], right: dict[int, int]) -> dict[int, int]:
    return vector_of(vectors.join(left, right))


LATTICES: dict[str, tuple[st.SearchStrategy[Any], Callable[[Any, Any], Any], Any]] = {
    "cell": (any_cell, cells.join, EMPTY),
    "version vector": (any_vector, joined_vectors, {}),
    "receive rule of the clock": (believed_stamps, receive, 0),
}


@pytest.mark.parametrize("name", LATTICES)
@given(data=st.data())
def test_it_is_a_join(name: str, data: st.DataObject) -> None:
    values, join, bottom = LATTICES[name]
    check_join(join, bottom, [data.draw(values) for _ in range(3)])


@given(any_vector, any_vector)
def test_covers_is_the_order_of_vectors(a: dict[int, int], b: dict[int, int]) -> None:
    check_order(joined_vectors, lambda low, high: vectors.covers(high, low), a, b)
    assert vectors.missing(a, vectors.join(a, b)) == vectors.missing(a, b)
    assert (vectors.missing(a, b) == 0) == vectors.covers(a, b)


@given(any_vector)
def test_equal_vectors_are_equal_bytes(vector: dict[int, int]) -> None:
    turned = dict(reversed(vector.items()))
    assert vectors.encode(turned) == vectors.encode(vector)
    assert vectors.encode({**vector, 77: 0}) == vectors.encode(vector), "an entry of 0 says nothing"
    assert vectors.decode(vectors.encode(vector)) == vector
    assert vectors.digest(turned) == vectors.digest(vector)


@given(st.binary(max_size=40))
def test_a_vector_that_is_none_is_a_value_error(raw: bytes) -> None:
    try:
        vector = vectors.decode(raw)
    except ValueError:
        return
    assert all(k > 0 and v > 0 for k, v in vector.items())


# -- cells: the parts


@given(any_cell, any_cell)
def test_the_join_keeps_per_incarnation_the_higher_of_each_part(a: bytes, b: bytes) -> None:
    """The definition itself: lanes by ``(seq, hlc, payload)``, ``seen`` by ``(seq, by)``, nothing ever dropped."""
    joined = cells.join(a, b)
    lanes: dict[int, Lane] = {}
    for lane in cells.lanes(a) + cells.lanes(b):
        lanes[lane.incarnation] = max(lane, lanes.get(lane.incarnation, lane))
    seen: dict[int, Seen] = {}
    for entry in cells.seen(a) + cells.seen(b):
        seen[entry.incarnation] = max(entry, seen.get(entry.incarnation, entry))
    assert cells.lanes(joined) == [lanes[i] for i in sorted(lanes)]
    assert cells.seen(joined) == [seen[i] for i in sorted(seen)]
    live = [lane for i, lane in sorted(lanes.items()) if i not in seen or lane.seq > seen[i].seq]
    assert cells.live(joined) == live
    assert cells.has_value(joined) == any(not payloads.is_tombstone(lane.payload) for lane in live)


@given(any_cell, any_cell)
def test_a_fork_never_gives_a_lane_that_nobody_wrote(a: bytes, b: bytes) -> None:
    written = {*cells.lanes(a), *cells.lanes(b)}
    assert set(cells.lanes(cells.join(a, b))) <= written


@given(hlcs, payload_bytes, hlcs, payload_bytes)
def test_of_two_clones_one_lane_wins_whole(
    hlc: int, payload: bytes, other: int, other_payload: bytes
) -> None:
    """Two processes wrote under one dot. Stamp and payload of different ones must never meet in a lane."""
    a = cells.write(EMPTY, dot=(7, 3), hlc=hlc, payload=payload, replaced=())
    b = cells.write(EMPTY, dot=(7, 3), hlc=other, payload=other_payload, replaced=())
    [lane] = cells.lanes(cells.join(a, b))
    assert lane in {Lane(7, 3, hlc, payload), Lane(7, 3, other, other_payload)}
    again = cells.write(a, dot=(7, 3), hlc=other, payload=other_payload, replaced=())
    assert again == cells.join(a, b) == cells.join(b, a)


@given(dots, dots)
def test_of_two_writers_that_replaced_one_lane_the_same_is_remembered_everywhere(one: Any, two: Any) -> None:
    start = cells.write(EMPTY, dot=(50, 1), hlc=1, payload=b"\x01", replaced=())

    def replace(cell: bytes, dot: tuple[int, int]) -> bytes:
        return cells.write(cell, dot=dot, hlc=2, payload=b"\x02", replaced=[(50, 1)])

    there = replace(replace(start, one), two)
    assert there == replace(replace(start, two), one)
    [entry] = cells.seen(there)
    assert entry == Seen(50, 1, max(one, two))


# -- cells: the delta is the write


@given(any_cell, dots, hlcs, payload_bytes, st.lists(dots, max_size=4, unique_by=lambda dot: dot[0]))
def test_a_write_is_a_join_with_its_delta(
    cell: bytes, dot: tuple[int, int], hlc: int, payload: bytes, replaced: list[tuple[int, int]]
) -> None:
    delta = cells.write(EMPTY, dot=dot, hlc=hlc, payload=payload, replaced=replaced)
    written = cells.write(cell, dot=dot, hlc=hlc, payload=payload, replaced=replaced)
    assert written == cells.join(cell, delta) == cells.join(delta, cell)
    assert written == cells.write(written, dot=dot, hlc=hlc, payload=payload, replaced=replaced)
    assert written == cells.write(cell, dot=dot, hlc=hlc, payload=payload, replaced=[*reversed(replaced)])


@given(any_cell, dots, hlcs, payload_bytes)
def test_a_write_that_has_seen_nothing_replaces_no_other_lane(
    cell: bytes, dot: tuple[int, int], hlc: int, payload: bytes
) -> None:
    """A blind put must not wipe its siblings: absence of a ``seen`` entry is not evidence."""
    after = cells.write(cell, dot=dot, hlc=hlc, payload=payload, replaced=())
    others = [lane for lane in cells.live(cell) if lane.incarnation != dot[0]]
    assert [lane for lane in cells.live(after) if lane.incarnation != dot[0]] == others


@given(any_cell, dots, hlcs, payload_bytes)
def test_a_write_that_has_seen_all_is_alone(
    cell: bytes, dot: tuple[int, int], hlc: int, payload: bytes
) -> None:
    seq = max([dot[1], *(s + 1 for i, s, *_ in cells.lanes(cell) if i == dot[0])])
    seq = max([seq, *(entry.seq + 1 for entry in cells.seen(cell) if entry.incarnation == dot[0])])
    replaced = [(lane.incarnation, lane.seq) for lane in cells.live(cell) if lane.incarnation != dot[0]]
    after = cells.write(cell, dot=(dot[0], seq), hlc=hlc, payload=payload, replaced=replaced)
    assert cells.live(after) == [Lane(dot[0], seq, hlc, payload)]


# -- cells: bytes


@given(any_cell)
def test_equal_cells_are_equal_bytes(cell: bytes) -> None:
    """However a cell was put together, its bytes are the ones that this test writes down."""
    entries: dict[int, Any] = {}
    for lane in cells.lanes(cell):
        entries[lane.incarnation] = ((lane.seq, lane.hlc, lane.payload), (0, 0, 0))
    for entry in cells.seen(cell):
        lane_part = entries.get(entry.incarnation, ((0, 0, b""), None))[0]
        entries[entry.incarnation] = (lane_part, (entry.seq, *entry.by))
    assert packed(entries) == cell == cells.join(cell, EMPTY)


@given(any_cell)
def test_entries_are_the_cell_cut_by_incarnation(cell: bytes) -> None:
    rows = cells.entries(cell)
    assert [row.incarnation for row in rows] == sorted({row.incarnation for row in rows})
    assert cells.from_entries([row.packed for row in rows]) == cell
    assert {row.incarnation: row.lane_seq for row in rows if row.lane_seq} == {
        lane.incarnation: lane.seq for lane in cells.lanes(cell)
    }
    assert {row.incarnation: row.seen_seq for row in rows if row.seen_seq} == {
        entry.incarnation: entry.seq for entry in cells.seen(cell)
    }
    joined = EMPTY
    for row in reversed(rows):
        joined = cells.join(joined, cells.from_entries([row.packed]))
    assert joined == cell, "the join of the rows is the cell"
    wanted = [row.incarnation for row in rows[::2]]
    assert cells.entries(cell, wanted) == rows[::2]
    assert cells.entries(cell, [99]) == []


@pytest.mark.parametrize("count", [0, 1, 2, 3, 9362, 9363])
def test_a_cell_of_many_incarnations_keeps_its_bytes(count: int) -> None:
    """9363 x 7 items are the first array that needs a four-byte length."""
    cell = packed({i: ((1, i, b"\x05"), (0, 0, 0)) for i in range(1, count + 1)})
    rows = cells.entries(cell)
    assert len(rows) == count
    assert cells.from_entries([row.packed for row in rows]) == cell
    assert len(cells.live(cell)) == count


def test_every_small_cell_obeys_the_laws() -> None:
    """All cells of one incarnation with lane and ``seen`` of up to two, forked payloads and tied writers."""
    lanes = [(0, 0, b""), (1, 5, b"\x01"), (1, 5, b"\x02"), (1, 6, b"\x00"), (2, 1, b"\x01")]
    seens = [(0, 0, 0), (1, 8, 1), (1, 9, 1), (2, 8, 1)]
    every = [
        packed({3: (lane, seen)}) if lane[0] or seen[0] else EMPTY for lane, seen in product(lanes, seens)
    ]
    for a, b in product(every, every):
        check_join(cells.join, EMPTY, [a, b])
