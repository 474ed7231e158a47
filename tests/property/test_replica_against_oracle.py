"""P2, P3, P4, P5, P13: replicas that exchange changes in any causal order show what the event graph says.

Two to four nodes create, edit, delete and kill; changes reach the others one by one, in pages, twice, too early, or
not for a long time; nodes restart under a new incarnation from their stored fold, or write ahead and lose it. After
every step the node that moved is compared with the oracle; equal vectors are compared byte by byte.
"""

from __future__ import annotations

from itertools import combinations

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.property.nodes import Node, World, assert_equal_replicas
from vexil.crdt import change as changes
from vexil.crdt.change import Change
from vexil.crdt.frontier import Frontier, Verdict
from vexil.crdt.payload import TOMBSTONE
from vexil.crdt.pen import NEW_GENERATION, CellWrite
from vexil.crdt.replica import EXISTS

FLAGS = ("flag/a", "flag/b", "segment/c")
FIELDS = ("description", "tag/x", "env/prod/rule/r")
SKEWS_MS = (0, 0, 3, -(10**9), 10**9)

nodes = st.integers(0, 3)
flags = st.sampled_from(FLAGS)
choices = st.integers(0, 1 << 16)
walls = st.sampled_from((10**10, 10**10, 10**10 + 1, 10**10 + 5))
values = st.sampled_from((True, False, "on", ["x", 1], TOMBSTONE))
edits = st.dictionaries(st.sampled_from(FIELDS), values, max_size=2)
new_incarnations = st.one_of(st.integers(1, 200), st.integers(1, (1 << 64) - 1))


class Cluster(RuleBasedStateMachine):
    """The rules; a node is named by a number that is taken modulo how many there are."""

    @initialize(
        skews=st.lists(st.sampled_from(SKEWS_MS), min_size=2, max_size=4),
        incarnations=st.lists(new_incarnations, min_size=4, max_size=4, unique=True),
    )
    def start(self, skews: list[int], incarnations: list[int]) -> None:
        self.world = World()
        self.nodes = [Node(self.world, i, skew_ms=s) for i, s in zip(incarnations, skews, strict=False)]
        self.used = set(incarnations)
        self.moved: Node | None = None

    def node(self, number: int) -> Node:
        self.moved = self.nodes[number % len(self.nodes)]
        return self.moved

    # -- writing

    @rule(at=nodes, name=flags, wall=walls, fields=edits)
    def create(self, at: int, name: str, wall: int, fields: dict[str, object]) -> None:
        self.node(at).create(name, wall_ms=wall, fields=fields)

    @rule(at=nodes, name=flags, wall=walls, fields=edits)
    def edit(self, at: int, name: str, wall: int, fields: dict[str, object]) -> None:
        node = self.node(at)
        if writes := node.edit_of(name, fields):
            node.write(writes, wall_ms=wall)

    @rule(at=nodes, name=flags, wall=walls)
    def delete(self, at: int, name: str, wall: int) -> None:
        node = self.node(at)
        if writes := node.delete_of(name):
            node.write(writes, wall_ms=wall)

    @rule(at=nodes, name=flags, wall=walls, on=st.booleans())
    def kill(self, at: int, name: str, wall: int, on: bool) -> None:
        node = self.node(at)
        node.write(node.kill_of(name, on=on), wall_ms=wall)

    @rule(at=nodes, wall=walls, fields=edits)
    def change_set(self, at: int, wall: int, fields: dict[str, object]) -> None:
        """One change over several objects, their cells interleaved."""
        node = self.node(at)
        parts = [node.edit_of(FLAGS[0], fields), node.delete_of(FLAGS[1]), node.kill_of(FLAGS[0], on=True)]
        writes = [w for part in parts for w in part]
        node.write(writes[::2] + writes[1::2], wall_ms=wall)

    @rule(at=nodes, wall=walls, fields=edits, durable=st.booleans())
    def write_ahead(self, at: int, wall: int, fields: dict[str, object], durable: bool) -> None:
        """A batch of changes of disjoint objects, journalled together; if that fails, as if it had never been."""
        node = self.node(at)
        value = {"epoch": 1, "created": 7}
        batch = [
            node.edit_of(FLAGS[0], fields) or node.kill_of(FLAGS[0], on=False),
            node.delete_of(FLAGS[1]) or [CellWrite(FLAGS[1], NEW_GENERATION, EXISTS, value)],
            node.kill_of(FLAGS[2], on=True),
        ]
        drafts = [node.draft(writes, wall_ms=wall, ahead=n) for n, writes in enumerate(batch)]
        if not durable:
            node.pen.rewind()
            return
        frontier = Frontier(node.replica)
        for change, event in drafts:
            assert frontier.verdict(change) is Verdict.NEXT
            frontier.admit(change)
            assert frontier.verdict(change) is Verdict.DUPLICATE
            self.world.publish(change, event)
        for change, _ in drafts:
            node.take(change)

    # -- exchanging

    @rule(at=nodes, pick=choices)
    def deliver_any(self, at: int, pick: int) -> None:
        """Any change that anyone wrote, at any time: too early, next, or again."""
        if self.world.log:
            everything = list(self.world.log)
            self.node(at).offer(everything[pick % len(everything)])

    @rule(at=nodes, pick=choices)
    def deliver_next(self, at: int, pick: int) -> None:
        """Some change that is next, not in the order of anyone's log."""
        node = self.node(at)
        ready = [dot for dot in self.world.log if node.expected(dot) is Verdict.NEXT]
        if ready:
            assert node.offer(ready[pick % len(ready)]) is Verdict.NEXT

    @rule(at=nodes, of=nodes, limit=st.integers(1, 4))
    def pull_a_page(self, at: int, of: int, limit: int) -> None:
        other = self.node(of)
        self.node(at).pull(other, limit=limit)

    @rule(at=nodes, of=nodes)
    def pull_everything(self, at: int, of: int) -> None:
        other = self.node(of)
        node = self.node(at)
        node.pull(other)
        assert node.known >= other.known, "pages in the sender's order leave nothing waiting"

    @rule(at=nodes, picks=st.lists(choices, max_size=6))
    def page_in_any_order(self, at: int, picks: list[int]) -> None:
        if self.world.log:
            everything = list(self.world.log)
            self.node(at).page([everything[pick % len(everything)] for pick in picks])

    # -- trouble

    @rule(at=nodes, incarnation=new_incarnations)
    def restart(self, at: int, incarnation: int) -> None:
        if incarnation not in self.used:
            self.used.add(incarnation)
            before = self.node(at).replica
            self.node(at).restart(incarnation)
            assert_equal_replicas(before, self.node(at).replica)

    @precondition(lambda self: self.world.log)
    @rule(at=nodes, pick=choices, other_past=st.booleans())
    def a_clone_speaks(self, at: int, pick: int, other_past: bool) -> None:
        """Other content under a dot that is taken, or a next change with another past: a fork, and no effect."""
        node = self.node(at)
        everything = list(self.world.log)
        dot = everything[pick % len(everything)]
        change = forged(self.world.log[dot], other_past=other_past)
        before = (node.replica.root, dict(node.replica.vv))
        verdict = node.replica.verdict(change)
        head = node.vector.get(dot[0], 0)
        if dot[1] == head or (other_past and dot[1] == head + 1):
            assert verdict is Verdict.FORK
        elif dot[1] < head:
            assert verdict is Verdict.DUPLICATE, "below the head only the chain tells; the digests compare it"
        else:
            assert verdict is not Verdict.DUPLICATE
        assert before == (node.replica.root, node.replica.vv)

    # -- what always holds

    @invariant()
    def the_node_that_moved_is_right(self) -> None:
        if self.moved is not None:
            self.moved.check()

    @invariant()
    def equal_vectors_are_equal_states(self) -> None:
        for a, b in combinations(self.nodes, 2):
            if a.known == b.known:
                assert_equal_replicas(a.replica, b.replica)
            else:
                assert a.replica.vv_hash() != b.replica.vv_hash()

    def teardown(self) -> None:
        """Heal: everybody pulls from everybody; all are equal, and nothing that was written is unknown."""
        if not hasattr(self, "nodes"):
            return
        for _ in range(2):
            for a in self.nodes:
                for b in self.nodes:
                    a.pull(b)
        for node in self.nodes:
            assert node.known == set(self.world.log)
            node.check()
            assert_equal_replicas(node.replica, self.nodes[0].replica)


def forged(change: Change, *, other_past: bool) -> Change:
    """What a clone of the author's process would have written under the same dot."""
    return changes.encode(
        dot=change.dot,
        hlc=change.hlc + 1,
        deps=dict(change.deps),
        previous=bytes(15) + b"\x01" if other_past else change.previous,
        author="clone",
        message="",
        idempotency=None,
        operations=change.operations,
    )


TestCluster = Cluster.TestCase
TestCluster.settings = settings(
    max_examples=300, stateful_step_count=50, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
