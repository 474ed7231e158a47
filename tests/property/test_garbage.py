"""P10, P4, P1 with garbage: collecting is invisible, joining whole states is applying what was missing.

Each node has a shadow: a replica that is given the same changes one by one, never collects, and joins nothing. Nodes
write, exchange changes, tell each other what they have stored, collect up to what all have told, retire incarnations
that have ended, and join whole states through pages, while changes go on. Whatever a node has done, it shows what its
shadow shows. What shadows show is compared with the event graph in `test_replica_against_oracle`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.property.nodes import Node, World, reloaded, rows
from vexil.crdt import cell as cells
from vexil.crdt.change import NO_GENERATION, Dot, decode
from vexil.crdt.cut import CUTS_MAX, Cut
from vexil.crdt.frontier import Verdict
from vexil.crdt.garbage import FoldRemoval
from vexil.crdt.materialise import read_flag, read_segment
from vexil.crdt.merge import Merge, fits
from vexil.crdt.payload import TOMBSTONE
from vexil.crdt.pen import CellWrite
from vexil.crdt.replica import Replica
from vexil.crdt.schema import RETIRED_OBJECT, retired_field
from vexil.crdt.snapshot_page import decode_page, pages
from vexil.node.authoring.if_match import etag_of

FLAGS = ("flag/a", "flag/b", "segment/c")
FIELDS = ("description", "tag/x", "env/prod/rule/r")

nodes = st.integers(0, 3)
flags = st.sampled_from(FLAGS)
choices = st.integers(0, 1 << 16)
values = st.sampled_from((True, "on", ["x", 1], TOMBSTONE))
edits = st.dictionaries(st.sampled_from(FIELDS), values, max_size=2)
Stored = dict[tuple[str, Dot, str, int], bytes]


@dataclass(frozen=True)
class Told:
    """What a member says that its store has, and in which of its lives it said so."""

    number: int
    incarnation: int
    vv: dict[int, int]


@dataclass
class Member:
    """A node under test, its shadow, and what it has heard of the others."""

    node: Node
    shadow: Replica = field(default_factory=Replica)
    heard: dict[int, Told] = field(default_factory=dict)
    cuts: list[tuple[Cut, dict[str, dict[Dot, dict[str, bytes]]]]] = field(default_factory=list)

    @property
    def replica(self) -> Replica:
        return self.node.replica

    def follow(self) -> None:
        """The shadow applies what its node has taken in."""
        for dot in self.node.order:
            if self.shadow.known(dot[0]) < dot[1]:
                change = decode(self.node.world.log[dot].raw)
                assert self.shadow.verdict(change) is Verdict.NEXT
                self.shadow.apply(change)

    def check(self) -> None:
        self.follow()
        replica, shadow = self.replica, self.shadow
        assert (replica.vv, replica.retired) == (shadow.vv, shadow.retired)
        assert (replica.root_hash(), replica.vv_hash()) == (shadow.root_hash(), shadow.vv_hash())
        assert list(replica.canonical()) == list(shadow.canonical())
        assert replica.root == replica.recomputed_root()
        assert replica.heads() == shadow.heads()
        assert {i: replica.deps_of(i) for i in replica.vv} == {i: shadow.deps_of(i) for i in shadow.vv}
        for name in shadow.objects:
            assert etag_of(replica.cells(name)) == etag_of(shadow.cells(name))
            assert shown(replica, name) == shown(shadow, name)
        loaded = reloaded(replica)
        assert (loaded.header(), loaded.retired) == (replica.header(), replica.retired)

    def stable(self, members: int) -> dict[int, int] | None:
        """Up to where all have told that they are; None if somebody has told nothing, or more than is known here."""
        if len(self.heard) < members or not all(self.replica.covers(t.vv) for t in self.heard.values()):
            return None
        told = [t.vv for t in self.heard.values()]
        return {i: least for i in told[0] if (least := min(vv.get(i, 0) for vv in told))}


def shown(replica: Replica, name: str) -> object:
    """What people and evaluators see of the object, conflicts among it."""
    kind, _, key = name.partition("/")
    if kind == "segment":
        return read_segment(key, replica.cells(name))
    return read_flag(key, replica.cells(name), ("prod",))


def store_of(replica: Replica) -> Stored:
    return {
        (name, generation, f, entry.incarnation): entry.packed
        for name, generations in replica.objects.items()
        for generation, fields in generations.items()
        for f, packed in fields.items()
        for entry in cells.entries(packed)
    }


def drop(stored: Stored, removal: FoldRemoval) -> None:
    """A row tombstone: each part of the row that is not newer goes."""
    at = removal[:4]
    flat = cells.unpacked(cells.from_entries([stored.pop(at)]))
    if flat[1] <= removal.timestamp:
        flat[1:4] = (0, 0, b"")
    if flat[4] <= removal.timestamp:
        flat[4:7] = (0, 0, 0)
    if flat[1] or flat[4]:
        stored[at] = cells.entries(cells.pack(flat))[0].packed


def carried(source: Replica, page_bytes: int) -> Replica:
    """A state as it comes from a peer: its header, and its cells in pages."""
    found = []
    with source.cut() as cut:
        for page in pages(cut.objects(), page_bytes=page_bytes):
            found += decode_page(page.raw)
        return Replica.load(cut.header, found)


class Garbage(RuleBasedStateMachine):
    """The rules; a node is named by a number that is taken modulo how many there are."""

    @initialize(count=st.integers(2, 3))
    def start(self, count: int) -> None:
        self.world = World()
        self.members = [Member(Node(self.world, i + 1)) for i in range(count)]
        self.fresh = iter(range(10, 10_000))
        self.numbers = iter(range(1, 1 << 30))
        self.moved: Member | None = None

    def member(self, number: int) -> Member:
        self.moved = self.members[number % len(self.members)]
        return self.moved

    # -- writing and exchanging

    @rule(at=nodes, name=flags, fields=edits)
    def create(self, at: int, name: str, fields: dict[str, object]) -> None:
        self.member(at).node.create(name, fields=fields)

    @rule(at=nodes, name=flags, fields=edits)
    def edit(self, at: int, name: str, fields: dict[str, object]) -> None:
        node = self.member(at).node
        if writes := node.edit_of(name, fields):
            node.write(writes)

    @rule(at=nodes, name=flags)
    def delete(self, at: int, name: str) -> None:
        node = self.member(at).node
        if writes := node.delete_of(name):
            node.write(writes)

    @rule(at=nodes, name=flags, value=st.sampled_from((True, False, TOMBSTONE)))
    def outside_generations(self, at: int, name: str, value: object) -> None:
        self.member(at).node.write([CellWrite(name, NO_GENERATION, "kill/prod", value)])

    @rule(at=nodes, of=nodes, limit=st.integers(1, 6))
    def pull(self, at: int, of: int, limit: int) -> None:
        self.member(at).node.pull(self.members[of % len(self.members)].node, limit=limit)

    @rule(at=nodes)
    def restart(self, at: int) -> None:
        member = self.member(at)
        member.cuts.clear()
        member.node.restart(next(self.fresh))

    # -- telling, collecting, retiring

    @rule(at=nodes)
    def tell(self, at: int) -> None:
        member = self.member(at)
        told = Told(next(self.numbers), member.node.incarnation, dict(member.replica.vv))
        member.heard[self.members.index(member)] = told

    @rule(at=nodes, of=nodes)
    def hear(self, at: int, of: int) -> None:
        member = self.member(at)
        for slot, told in self.members[of % len(self.members)].heard.items():
            if slot not in member.heard or member.heard[slot].number < told.number:
                member.heard[slot] = told

    @rule()
    def everybody_catches_up_and_tells(self) -> None:
        """What mere chance rarely brings about: all have all, and all know it."""
        for _ in self.members:
            for a in range(len(self.members)):
                for b in range(len(self.members)):
                    self.pull(a, b, 10_000)
        for at in range(len(self.members)):
            self.tell(at)
        for a in range(len(self.members)):
            for b in range(len(self.members)):
                self.hear(a, b)

    @rule(at=nodes, names=st.sets(flags, min_size=1))
    def collect(self, at: int, names: set[str]) -> None:
        member = self.member(at)
        stable = member.stable(len(self.members))
        if stable is None:
            return
        replica = member.replica
        replica.advance_floor(stable)
        for name in [*names, RETIRED_OBJECT]:
            stored = store_of(replica)
            root = replica.root
            for removal in replica.collect(name, stable):
                drop(stored, removal)
            assert replica.root == root
            assert stored == store_of(replica), "a store that drops these rows has the same fold"
            assert replica.collect(name, stable) == [], "once is all"

    @rule(at=nodes, pick=choices)
    def retire(self, at: int, pick: int) -> None:
        """An incarnation whose slot has told something in a later life, when all have told the same of it."""
        member = self.member(at)
        if member.stable(len(self.members)) is None:
            return
        ended = set(member.replica.vv) - {t.incarnation for t in member.heard.values()}
        ended -= {m.node.incarnation for m in self.members}
        same = [
            i
            for i in sorted(ended)
            if all(t.vv.get(i) == member.replica.vv[i] for t in member.heard.values())
        ]
        if same:
            i = same[pick % len(same)]
            write = CellWrite(RETIRED_OBJECT, NO_GENERATION, retired_field(i), member.replica.vv[i])
            member.node.write([write])
            assert i in member.replica.retired

    # -- whole states

    @rule(at=nodes, of=nodes, third=nodes, page_bytes=st.sampled_from((1, 200, 1 << 20)))
    def join_whole_state(self, at: int, of: int, third: int, page_bytes: int) -> None:
        """The state of one, into another that takes in changes of a third meanwhile."""
        member, source = self.member(at), self.members[of % len(self.members)]
        live = member.replica
        if len(live._cuts) == CUTS_MAX or len(source.replica._cuts) == CUTS_MAX:
            return
        before = {name: dict(live.cells(name)) for name in live.objects}
        assert fits(live, source.replica.header())
        incoming = carried(source.replica, page_bytes)
        assert incoming.header() == source.replica.header()
        with Merge(live, incoming) as merge:
            for step, name in enumerate(sorted(incoming.objects)):
                merge.take(name)
                if step == 0:
                    member.node.pull(self.members[third % len(self.members)].node, limit=3)
            for name in merge.again():
                merge.take(name)
            member.node.pull(self.members[third % len(self.members)].node, limit=2)
            pulled = {name: {g: dict(f) for g, f in live.cells(name).items()} for name in live.objects}
            differing = merge.finish()
        assert differing == {name for name in live.objects if live.cells(name) != pulled.get(name)}
        assert before.keys() <= live.objects.keys()
        node = member.node
        for dot in source.node.order:
            if dot not in node.known:
                node._note(dot)

    @rule(of=nodes, page_bytes=st.sampled_from((1, 300, 1 << 20)))
    def a_joiner_is_given_all(self, of: int, page_bytes: int) -> None:
        source = self.member(of).replica
        joiner = Replica()
        assert fits(joiner, source.header())
        with Merge(joiner, carried(source, page_bytes)) as merge:
            assert merge.finish() == set(source.objects)
        assert joiner.header() == source.header()
        assert (joiner.objects, joiner.retired) == (source.objects, source.retired)
        assert joiner.root == joiner.recomputed_root()

    @rule(at=nodes)
    def open_cut(self, at: int) -> None:
        member = self.member(at)
        if len(member.cuts) < CUTS_MAX - 2:
            copied = {
                name: {g: dict(fields) for g, fields in generations.items()}
                for name, generations in member.replica.objects.items()
            }
            member.cuts.append((member.replica.cut(), copied))

    @rule(at=nodes)
    def close_cut(self, at: int) -> None:
        member = self.member(at)
        if member.cuts:
            member.cuts.pop(0)[0].close()

    # -- what always holds

    @invariant()
    def the_node_that_moved_is_its_shadow(self) -> None:
        if self.moved is not None:
            self.moved.check()
            for change in self.world.log.values():
                assert self.moved.replica.verdict(change) is self.moved.shadow.verdict(change)

    @invariant()
    def cuts_stand_still(self) -> None:
        for member in self.members if hasattr(self, "members") else ():
            for cut, copied in member.cuts:
                assert dict(cut.objects()) == copied
                assert list(cut.names) == sorted(copied)
                for name in {*copied, *member.replica.objects} - cut.changed:
                    assert member.replica.cells(name) == copied.get(name, {}), (
                        "what is not named has not changed"
                    )

    def teardown(self) -> None:
        if hasattr(self, "members"):
            self.everybody_catches_up_and_tells()
            for at, member in enumerate(self.members):
                member.check()
                self.collect(at, set(FLAGS))
                member.check()
                assert rows(member.replica) == rows(reloaded(reloaded(member.replica)))
                assert list(member.replica.canonical()) == list(self.members[0].replica.canonical())


TestGarbage = Garbage.TestCase
TestGarbage.settings = settings(
    max_examples=200, stateful_step_count=50, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
