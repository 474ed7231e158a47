"""ETags do not speak of what will be collected one day, and still tell every reader what he has to know."""

from __future__ import annotations

import pytest

from tests.property.nodes import Node, cluster
from vexil.crdt.change import NO_GENERATION
from vexil.crdt.generation import shown_generation
from vexil.crdt.payload import TOMBSTONE
from vexil.crdt.pen import CellWrite
from vexil.node.authoring.if_match import Condition, etag_of
from vexil.node.errors import Stale

FLAG = "flag/f"
TAG = "tag/t"


def etag(node: Node, name: str = FLAG) -> str:
    return etag_of(node.replica.cells(name))


def check(node: Node, header: str, field: str) -> None:
    """A write of ``field`` by somebody who has read the flag under ``header``. Raises Stale."""
    cells = node.replica.cells(FLAG)
    generation = shown_generation(cells)
    assert generation is not None
    condition = Condition(header, kind="flag", cells=cells, current=lambda: None)
    condition.check_existence(generation=generation)
    condition.check_touched([(generation, field)])


def two_with_a_removed_tag() -> tuple[Node, Node]:
    """The tag was removed by the one and the flag edited by the other since: no live lane of the remover is left."""
    a, b = cluster(1, 2)
    a.create(FLAG, fields={TAG: True, "description": "x"})
    a.write(a.edit_of(FLAG, {TAG: TOMBSTONE}))
    b.pull(a)
    b.write(b.edit_of(FLAG, {"description": "y"}))
    a.pull(b)
    return a, b


def test_collecting_moves_no_etag_and_one_of_either_node_is_good_at_the_other() -> None:
    a, b = two_with_a_removed_tag()
    before = etag(a)
    b.replica.collect(FLAG, dict(b.replica.vv))
    assert b.replica.cells(FLAG) != a.replica.cells(FLAG)
    assert etag(a) == etag(b) == before
    for node in (a, b):
        check(node, before, TAG)


def test_a_reader_who_has_not_seen_the_removal_is_refused() -> None:
    a, b = cluster(1, 2)
    a.create(FLAG, fields={TAG: True, "description": "x"})
    old = etag(a)
    b.pull(a)
    b.write(b.edit_of(FLAG, {TAG: TOMBSTONE}))
    a.pull(b)
    with pytest.raises(Stale):
        check(a, old, TAG)
    check(a, old, "description")


def test_a_deleted_generation_of_old_is_nothing_that_a_reader_must_have_seen() -> None:
    a, b = cluster(1, 2)
    a.create(FLAG)
    b.pull(a)
    b.write(b.delete_of(FLAG))
    a.pull(b)
    a.create(FLAG, fields={"description": "x"})
    fresh = etag(a)
    a.write(a.edit_of(FLAG, {"description": "y"}))
    check(a, fresh, TAG)


def test_a_removal_outside_generations_moves_the_etag_though_nothing_is_written_beside_it() -> None:
    [a] = cluster(1)
    name = "flagd/prod"
    seen = set()
    for field, value in (("metadata/a", 1), ("metadata/b", 2), ("metadata/a", TOMBSTONE)):
        a.write([CellWrite(name, NO_GENERATION, field, value)])
        seen.add(etag(a, name))
    assert len(seen) == 3
    before = etag(a, name)
    a.replica.collect(name, dict(a.replica.vv))
    assert "metadata/a" not in a.replica.cells(name)[NO_GENERATION]
    assert etag(a, name) == before
