"""A cut stands still, costs what is changed, and is one of a few."""

from __future__ import annotations

import pytest

from tests.property.nodes import cluster
from vexil.crdt.cut import CUTS_MAX, TooManyCuts
from vexil.crdt.merge import ForkMet, Merge
from vexil.crdt.replica import Replica

FLAGS = [f"flag/{letter}" for letter in "dbca"]


def test_it_shows_what_was_there_to_one_who_stops_in_the_middle() -> None:
    [a] = cluster(1)
    for name in FLAGS:
        a.create(name, fields={"description": "before"})
    header, vv = a.replica.header(), dict(a.replica.vv)
    with a.replica.cut() as cut:
        reading = cut.objects()
        first, generations = next(reading)
        [(generation, fields)] = generations.items()
        for name in FLAGS:
            a.write(a.edit_of(name, {"description": "after", "tag/t": True}))
        a.create("flag/new")
        assert first == "flag/a"
        assert "tag/t" not in fields, "not even what is being read changes"
        assert [name for name, _ in reading] == ["flag/b", "flag/c", "flag/d"]
        assert all("tag/t" not in f for _, g in cut.objects() for f in g.values())
        assert (cut.header, cut.vv) == (header, vv)
        assert cut.changed == {*FLAGS, "flag/new"}
        assert cut.cells("flag/new") == {}
        assert "tag/t" in a.replica.cells(first)[generation]
    a.check()


def test_it_goes_on_after_a_name_whether_that_is_there_or_not() -> None:
    [a] = cluster(1)
    for name in FLAGS:
        a.create(name)
    with a.replica.cut() as cut:
        assert [name for name, _ in cut.objects("flag/b")] == ["flag/c", "flag/d"]
        assert [name for name, _ in cut.objects("flag/bb")] == ["flag/c", "flag/d"]
        assert list(cut.objects("flag/d")) == []


def test_what_is_not_changed_is_shared() -> None:
    [a] = cluster(1)
    for name in FLAGS:
        a.create(name)
    with a.replica.cut() as cut:
        a.write(a.edit_of("flag/a", {"tag/t": True}))
        assert cut.cells("flag/b") is a.replica.cells("flag/b")
        assert cut.cells("flag/a") is not a.replica.cells("flag/a")


def test_there_are_only_so_many_and_a_closed_one_makes_room() -> None:
    replica = Replica()
    cuts = [replica.cut() for _ in range(CUTS_MAX)]
    with pytest.raises(TooManyCuts):
        replica.cut()
    cuts[1].close()
    cuts[1].close()
    replica.cut().close()


def test_a_join_that_is_refused_or_given_up_leaves_no_cut_open() -> None:
    a, b = cluster(1, 2)
    a.create(FLAGS[0])
    b.create(FLAGS[1])
    forked = Replica.load(b.replica.header().replace(b.replica.head(2), bytes(16)), [])
    for _ in range(CUTS_MAX + 1):
        with Merge(a.replica, b.replica) as merge:
            merge.take(FLAGS[1])
        with pytest.raises(ForkMet):
            Merge(b.replica, forked)
    assert FLAGS[1] not in a.replica.objects
    a.check()


def test_a_fork_that_is_met_while_joining_changes_nothing() -> None:
    a, b = cluster(1, 2)
    b.create(FLAGS[0])
    forked = Replica.load(b.replica.header().replace(b.replica.head(2), bytes(16)), [])
    with Merge(a.replica, forked) as merge:
        a.pull(b)
        before = a.replica.header()
        with pytest.raises(ForkMet):
            merge.finish()
    assert a.replica.header() == before
