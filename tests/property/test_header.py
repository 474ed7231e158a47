"""A stored fold gives back the replica: vector, chain heads, deps, cells and root, and how it goes on from there."""

from __future__ import annotations

import contextlib
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.property.nodes import Node, World, assert_equal_replicas, reloaded, rows
from vexil.crdt import cell as cells
from vexil.crdt.frontier import Verdict
from vexil.crdt.payload import TOMBSTONE
from vexil.crdt.pen import Pen
from vexil.crdt.replica import Replica, touched

INCARNATIONS = (5, 3, 1 << 63)
steps = st.lists(
    st.tuples(
        st.sampled_from(("create", "edit", "remove", "delete", "kill", "pull", "restart")),
        st.integers(0, 2),
        st.integers(0, 2),
        st.sampled_from(("flag/a", "flag/b")),
    ),
    max_size=25,
)


def history(script: list[tuple[str, int, int, str]]) -> tuple[World, list[Node]]:
    """The nodes after a script: every state that they have been in is reachable by a shorter one."""
    world = World()
    nodes = [Node(world, i) for i in INCARNATIONS]
    fresh = iter(range(100, 200))
    for action, at, other, name in script:
        node = nodes[at]
        match action:
            case "create":
                node.create(name, fields={"description": "x"})
            case "pull":
                node.pull(nodes[other])
            case "restart":
                node.restart(next(fresh))
            case "kill":
                node.write(node.kill_of(name, on=bool(other)))
            case _:
                writes = {
                    "edit": node.edit_of(name, {"description": other}),
                    "remove": node.edit_of(name, {"description": TOMBSTONE}),
                    "delete": node.delete_of(name),
                }[action]
                if writes:
                    node.write(writes)
    return world, nodes


@given(steps)
@settings(deadline=None)
def test_any_reachable_replica_comes_back_from_its_fold(script: list[tuple[str, int, int, str]]) -> None:
    world, nodes = history(script)
    for node in nodes:
        replica = node.replica
        loaded = reloaded(replica)
        assert_equal_replicas(loaded, replica)
        assert {i: loaded.deps_of(i) for i in loaded.vv} == {i: replica.deps_of(i) for i in replica.vv}
        assert loaded.root == replica.recomputed_root()
        assert rows(reloaded(loaded)) == rows(replica), "twice reversed"
        for change in world.log.values():
            assert loaded.verdict(change) is replica.verdict(change) is node.expected(change.dot)


@given(steps, st.integers(0, 2))
@settings(deadline=None)
def test_a_loaded_replica_goes_on_like_the_one_that_was_stored(
    script: list[tuple[str, int, int, str]], at: int
) -> None:
    """The next change of an incarnation carries only what is new, also after the fold was loaded."""
    _, nodes = history(script)
    node = nodes[at]
    loaded = reloaded(node.replica)
    writes = [*node.edit_of("flag/a", {"tag/x": True}), *node.kill_of("flag/b", on=True)]
    here = Pen(node.replica, node.incarnation).write(writes, hlc=77, author="ann")
    there = Pen(loaded, node.incarnation).write(writes, hlc=77, author="ann")
    assert here.raw == there.raw
    node.replica.apply(here)
    loaded.apply(there)
    assert_equal_replicas(node.replica, loaded)
    assert node.replica.recomputed_root() == loaded.root


@given(steps)
@settings(deadline=None)
def test_a_store_that_overwrites_only_the_touched_rows_has_the_whole_fold(
    script: list[tuple[str, int, int, str]],
) -> None:
    """Row by row behind the replica, as a store follows it: `touched` names every row that a change altered."""
    world, nodes = history(script)
    source = nodes[0]
    follower = Node(world, 999)
    stored: dict[tuple[Any, ...], bytes] = {}
    for dot in source.order:
        change = world.log[dot]
        assert follower.offer(dot) is Verdict.NEXT
        for name, generation, field, incarnations in touched(change):
            packed = follower.replica.cell(name, generation, field)
            for entry in cells.entries(packed, incarnations):
                stored[name, generation, field, entry.incarnation] = entry.packed
    want = {
        (name, generation, field, entry.incarnation): entry.packed
        for name, generations in source.replica.objects.items()
        for generation, fields in generations.items()
        for field, packed in fields.items()
        for entry in cells.entries(packed)
    }
    assert stored == want


@given(steps, st.integers(0, 30), st.data())
@settings(deadline=None)
def test_cells_that_are_ahead_of_their_header_are_caught_up_by_the_log(
    script: list[tuple[str, int, int, str]], cut: int, data: st.DataObject
) -> None:
    """A round of writing the fold was cut off: some rows are newer than the header. The log above it mends that."""
    world, nodes = history(script)
    source = nodes[0]
    older = Node(world, 999)
    older.page(source.order[:cut])
    stored = {row[:3]: row[3] for row in rows(older.replica)}
    for name, generation, field, packed in rows(source.replica):
        if data.draw(st.booleans()):
            stored[name, generation, field] = packed
    loaded = Replica.load(
        older.replica.header(), [(*at, cells.from_entries(packed)) for at, packed in stored.items()]
    )
    for dot in source.order[cut:]:
        assert loaded.verdict(world.log[dot]) is Verdict.NEXT
        loaded.apply(world.log[dot])
    loaded.root = loaded.recomputed_root()
    assert_equal_replicas(loaded, source.replica)


CHAIN = ROOT = bytes(16)


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"\xc1",
        b"\x90",
        b"\x01",
        msgpack.packb("abc"),
        msgpack.packb({}),
        msgpack.packb([]),
        msgpack.packb([1]),
        msgpack.packb([1, []]),
        msgpack.packb([1, [], []]),
        msgpack.packb([2, [], [], ROOT]),
        msgpack.packb(["1", [], [], ROOT]),
        msgpack.packb([1, [[5, 1]], [], ROOT]),
        msgpack.packb([1, [[5, 1, CHAIN, 9]], [], ROOT]),
        msgpack.packb([1, [[[5], 1, CHAIN]], [], ROOT]),
        msgpack.packb([1, [["5", 1, CHAIN]], [], ROOT]),
        msgpack.packb([1, [[5, 0, CHAIN]], [], ROOT]),
        msgpack.packb([1, [[-5, 1, CHAIN]], [], ROOT]),
        msgpack.packb([1, [[5, 1, CHAIN[1:]]], [], ROOT]),
        msgpack.packb([1, [[5, 1, "0123456789abcdef"]], [], ROOT]),
        msgpack.packb([1, [5], [], ROOT]),
        msgpack.packb([1, None, [], ROOT]),
        msgpack.packb([1, [], [[5, [1]]], ROOT]),
        msgpack.packb([1, [], [[5, 1]], ROOT]),
        msgpack.packb([1, [], [[5, [1, None]]], ROOT]),
        msgpack.packb([1, [], [["5", [1, 1]]], ROOT]),
        msgpack.packb([1, [], [], 0]),
        msgpack.packb([1, [], [], ROOT + ROOT]),
        msgpack.packb([1, [], [], [0] * 16]),
        msgpack.packb([1, [], [], ROOT]) + b"\x00",
    ],
)
def test_a_header_that_is_none_is_a_value_error(header: bytes) -> None:
    with pytest.raises(ValueError, match="not a fold header"):
        Replica.load(header, [])


@given(st.binary(max_size=60))
def test_arbitrary_bytes_are_a_header_or_a_value_error(header: bytes) -> None:
    with contextlib.suppress(ValueError):
        Replica.load(header, [])


def test_a_header_that_is_refused_leaves_the_replica_as_it_was() -> None:
    replica = Replica()
    good = replica.header()
    with pytest.raises(ValueError, match="not a fold header"):
        replica.load_header(msgpack.packb([1, [[5, 1, CHAIN]], [[5, [0, 0]]], ROOT]))
    assert replica.header() == good


@given(steps, st.data())
@settings(deadline=None)
def test_a_cut_header_is_a_value_error(script: list[tuple[str, int, int, str]], data: st.DataObject) -> None:
    _, nodes = history(script)
    header = nodes[0].replica.header()
    with pytest.raises(ValueError, match="not a fold header"):
        Replica.load(header[: data.draw(st.integers(0, len(header) - 1))], [])


def test_a_header_of_a_newer_version_may_have_more_at_its_end() -> None:
    _, nodes = history([("create", 0, 0, "flag/a"), ("create", 1, 0, "flag/b"), ("pull", 0, 1, "flag/a")])
    replica = nodes[0].replica
    longer = msgpack.packb([*msgpack.unpackb(replica.header()), {"floor": []}])
    loaded = Replica.load(longer, [])
    assert (loaded.vv, loaded.heads()) == (replica.vv, replica.heads())


def test_an_empty_replica_comes_back_empty() -> None:
    assert_equal_replicas(reloaded(Replica()), Replica())
    assert Replica().root == 0
