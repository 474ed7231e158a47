"""Pages of objects: of the size that was asked for, whole again when put together, and never taken on trust."""

from __future__ import annotations

from itertools import product

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.property.nodes import cluster
from vexil.crdt import cell as cells
from vexil.crdt.change import TEXT_CHARACTERS_MAX
from vexil.crdt.replica import Replica
from vexil.crdt.snapshot_page import Broken, Row, decode_page, encode_page, pages

CELL = cells.write(cells.EMPTY, dot=(1, 2), hlc=3, payload=b"\x05", replaced=[(4, 1)])


def state() -> Replica:
    [a] = cluster(1)
    for name in ("flag/ä", "flag/b", "flag/c"):
        a.create(name, fields={f"tag/{n}": "x" * n for n in range(40)})
        a.write(a.kill_of(name, on=True))
    return a.replica


def rows(replica: Replica) -> list[Row]:
    return [
        Row(name, generation, field, packed)
        for name in sorted(replica.objects)
        for generation, fields in replica.objects[name].items()
        for field, packed in fields.items()
    ]


@pytest.mark.parametrize("page_bytes", [1, 200, 1000, 5000, 1 << 20])
def test_pages_are_the_state_and_no_larger_than_asked_for(page_bytes: int) -> None:
    replica = state()
    with replica.cut() as cut:
        found = list(pages(cut.objects(), page_bytes=page_bytes))
    decoded = [decode_page(page.raw) for page in found]
    assert [row for page in decoded for row in page] == rows(replica)
    assert all(len(p.raw) <= page_bytes or len(d) == 1 for p, d in zip(found, decoded, strict=True))
    assert [page.more for page in found] == [True] * (len(found) - 1) + [False]


@pytest.mark.parametrize("page_bytes", [1, 300, 1 << 20])
def test_each_page_says_where_the_next_one_starts(page_bytes: int) -> None:
    replica = state()
    found: list[Row] = []
    after: str | None = None
    skip, more = 0, True
    with replica.cut() as cut:
        while more:
            page = next(pages(cut.objects(after), page_bytes=page_bytes, after=after, skip=skip))
            found += decode_page(page.raw)
            after, skip, more = page.after, page.skip, page.more
    assert found == rows(replica)


def test_no_objects_are_no_page() -> None:
    assert list(pages([], page_bytes=100)) == []
    assert decode_page(encode_page([])) == []


BAD_CELLS = [
    b"",
    "text",
    None,
    cells.EMPTY,
    b"\xc1",
    CELL + b"\x00",
    CELL[:-1],
    msgpack.packb([1, 1, 1, b"", 0, 0]),
    msgpack.packb([0, 1, 1, b"", 0, 0, 0]),
    msgpack.packb([1, 0, 0, b"", 0, 0, 0]),
    msgpack.packb([1, 0, 5, b"", 1, 1, 1]),
    msgpack.packb([1, 1, 1, "", 0, 0, 0]),
    msgpack.packb([1, 1, 1, b"", 1, 0, 1]),
    msgpack.packb([1, 1, 1, b"", 0, 1, 1]),
    msgpack.packb([1, True, 1, b"", 0, 0, 0]),
    msgpack.packb([1, -1, 1, b"", 0, 0, 0]),
    msgpack.packb([1, 1 << 62, 1, b"", 0, 0, 0]),
    msgpack.packb([2, 1, 1, b"", 0, 0, 0, 1, 1, 1, b"", 0, 0, 0]),
    msgpack.packb([2, 1, 1, b"", 0, 0, 0, 2, 1, 1, b"", 0, 0, 0]),
    b"\xdc\x00\x07" + CELL[1:8],
    b"\x97\xcc\x01" + msgpack.packb([1, 1, 1, b"", 0, 0, 0])[2:],
]


@pytest.mark.parametrize("cell", BAD_CELLS)
def test_a_cell_that_is_none_breaks_its_page(cell: object) -> None:
    assert not cells.check(cell)
    with pytest.raises(Broken):
        decode_page(msgpack.packb([["flag/a", [[1, 1, ["f", cell]]]]]))


def test_every_small_cell_is_one() -> None:
    lanes = [(0, 0, b""), (1, 5, b"\x01"), (2, 0, b"")]
    seens = [(0, 0, 0), (1, 8, 1)]
    for lane, seen in product(lanes, seens):
        assert cells.check(msgpack.packb([3, *lane, *seen])) == bool(lane[0] or seen[0])


@pytest.mark.parametrize(
    "body",
    [
        None,
        {},
        [1],
        [["a"]],
        [["a", []]],
        [["a", {}]],
        [[b"a", [[1, 1, ["f", CELL]]]]],
        [["a", [[1, 1, []]]]],
        [["a", [[1, 1, ["f"]]]]],
        [["a", [[1, 1, ["f", CELL, "f", CELL]]]]],
        [["a", [[1, 1, ["f", CELL]], [1, 1, ["g", CELL]]]]],
        [["a", [[-1, 1, ["f", CELL]]]]],
        [["a", [[True, 1, ["f", CELL]]]]],
        [["a", [[1, 1 << 62, ["f", CELL]]]]],
        [["a", [[1, 1, [5, CELL]]]]],
        [["a", [[1, 1, ["f" * (TEXT_CHARACTERS_MAX + 1), CELL]]]]],
        [["b", [[1, 1, ["f", CELL]]]], ["a", [[1, 1, ["f", CELL]]]]],
        [["a", [[1, 1, ["f", CELL]]]], ["a", [[1, 2, ["f", CELL]]]]],
    ],
)
def test_a_page_that_is_none_is_broken(body: object) -> None:
    with pytest.raises(Broken):
        decode_page(msgpack.packb(body))


@given(st.binary(max_size=80))
def test_arbitrary_bytes_are_a_page_or_broken(raw: bytes) -> None:
    try:
        found = decode_page(raw)
    except Broken:
        return
    assert all(cells.check(row.cell) for row in found)
