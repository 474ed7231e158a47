"""A replica beside the oracle: the same history told to both, in the test's own words.

What a node has seen is kept here as a set of dots and a vector of its own; the product's version vectors and deps are
never asked, so an error in them cannot hide itself. `Node.check` compares everything that a replica shows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import permutations

from vexil.chaos.checkers import oracle as graph
from vexil.chaos.checkers.oracle import REMOVED, Address, Event, Oracle
from vexil.crdt import cell as cells
from vexil.crdt import change as changes
from vexil.crdt import payload as payloads
from vexil.crdt.change import NO_GENERATION, Change, Dot
from vexil.crdt.frontier import Frontier, Verdict
from vexil.crdt.generation import next_epoch, shown_generation
from vexil.crdt.hlc import HybridClock
from vexil.crdt.payload import TOMBSTONE
from vexil.crdt.pen import NEW_GENERATION, CellWrite, Pen
from vexil.crdt.policy import killed, latest
from vexil.crdt.replica import EXISTS, Replica

AHEAD_LIMIT_MS = 60_000
KILL = "kill/prod"


class World:
    """All changes that were ever written, and the oracle that knows what they mean."""

    def __init__(self) -> None:
        self.oracle = Oracle()
        self.log: dict[Dot, Change] = {}

    def publish(self, change: Change, event: Event) -> None:
        self.oracle.add(event)
        self.log[change.dot] = change


@dataclass
class Node:
    """One replica, the pen of its present incarnation, and what the test knows about it."""

    world: World
    incarnation: int
    skew_ms: int = 0
    replica: Replica = field(default_factory=Replica)
    order: list[Dot] = field(default_factory=list)
    """Dots in the order in which they were applied here."""
    known: set[Dot] = field(default_factory=set)
    vector: dict[int, int] = field(default_factory=dict)
    pen: Pen = field(init=False)
    clock: HybridClock = field(init=False)

    def __post_init__(self) -> None:
        self.pen = Pen(self.replica, self.incarnation)
        self.clock = HybridClock(ahead_limit_ms=AHEAD_LIMIT_MS)

    # -- what the test expects

    def expected(self, dot: Dot, *, also: Iterable[Dot] = ()) -> Verdict:
        """What a published change is to this node (which will also have ``also``), by the event graph alone."""
        known = self.known.union(also)
        if dot in known:
            return Verdict.DUPLICATE
        return Verdict.NEXT if known.issuperset(self.world.oracle.past(dot)) else Verdict.WAITING

    # -- writing

    def draft(self, writes: Sequence[CellWrite], *, wall_ms: int, ahead: int = 0) -> tuple[Change, Event]:
        """The change, and the event that says the same; ``ahead`` changes were drafted since the last was applied."""
        # Sorts against the incarnation: a tie that is decided by the payload must not look like one that is not.
        author = f"author {(1 << 64) - self.incarnation:017x}"
        hlc = self.clock.tick(wall_ms + self.skew_ms)
        change = self.pen.write(writes, hlc=hlc, author=author)
        dot = (self.incarnation, self.vector.get(self.incarnation, 0) + ahead + 1)
        assert change.dot == dot
        operations = [
            graph.Operation(
                w.object,
                dot if w.generation == NEW_GENERATION else w.generation,
                w.field,
                author,
                REMOVED if w.value is TOMBSTONE else w.value,
            )
            for w in writes
        ]
        return change, Event(dot, hlc, dict(self.vector), tuple(operations))

    def write(self, writes: Sequence[CellWrite], *, wall_ms: int = 0) -> Change:
        """Write, publish and apply one change."""
        change, event = self.draft(writes, wall_ms=wall_ms)
        self.world.publish(change, event)
        self.take(change)
        return change

    def create(self, name: str, *, wall_ms: int = 0, fields: dict[str, object] | None = None) -> Change:
        """Create an object, whatever is there already."""
        created = self.clock.tick(wall_ms + self.skew_ms)
        value = {"epoch": next_epoch(self.replica.cells(name)), "created": created, "type": "boolean"}
        extra = [CellWrite(name, NEW_GENERATION, f, v) for f, v in (fields or {}).items()]
        return self.write([CellWrite(name, NEW_GENERATION, EXISTS, value), *extra], wall_ms=wall_ms)

    def edit_of(self, name: str, values: dict[str, object]) -> list[CellWrite]:
        """The writes of an edit of what is shown here: it touches existence again. Empty if nothing is shown."""
        shown = self.world.oracle.generations(name, self.known)
        if not shown:
            return []
        generation = shown[0].generation
        existence = self.world.oracle.winner(Address(name, generation, EXISTS), self.known)
        assert existence is not None
        fields = [CellWrite(name, generation, f, v) for f, v in values.items()]
        return [CellWrite(name, generation, EXISTS, existence.value), *fields]

    def delete_of(self, name: str) -> list[CellWrite]:
        """The writes of a delete: a tombstone into the existence of every generation that is there."""
        shown = self.world.oracle.generations(name, self.known)
        return [CellWrite(name, found.generation, EXISTS, TOMBSTONE) for found in shown]

    def kill_of(self, name: str, *, on: bool) -> list[CellWrite]:
        return [CellWrite(name, NO_GENERATION, KILL, on)]

    # -- taking changes in

    def take(self, change: Change) -> None:
        """Apply a change that is next, from its bytes."""
        assert self.replica.verdict(change) is Verdict.NEXT
        again = changes.decode(change.raw)
        self.replica.apply(again)
        self._note(change.dot)
        self.clock.observe(change.hlc, 0)

    def offer(self, dot: Dot) -> Verdict:
        """Offer a published change as a peer would: its verdict must be the expected one; it is applied if next."""
        change = changes.decode(self.world.log[dot].raw)
        verdict = self.replica.verdict(change)
        assert verdict is self.expected(dot), f"{dot} at {self.vector}"
        if verdict is Verdict.NEXT:
            self.take(change)
        return verdict

    def page(self, offered: Sequence[Dot]) -> None:
        """Judge a page as a whole, then apply what was admitted."""
        frontier = Frontier(self.replica)
        admitted: list[Change] = []
        for dot in offered:
            change = changes.decode(self.world.log[dot].raw)
            verdict = frontier.verdict(change)
            assert verdict is self.expected(dot, also=[c.dot for c in admitted])
            if verdict is Verdict.NEXT:
                frontier.admit(change)
                admitted.append(change)
        for change in admitted:
            self.take(change)

    def pull(self, other: Node, *, limit: int | None = None) -> None:
        """What the other has and this one has not, in the other's order of application."""
        self.page([dot for dot in other.order if dot not in self.known][:limit])

    def restart(self, incarnation: int) -> None:
        """Come up from the stored fold (a header and one row per incarnation of each cell), as someone new."""
        self.replica = reloaded(self.replica)
        self.incarnation = incarnation
        self.pen = Pen(self.replica, incarnation)

    def _note(self, dot: Dot) -> None:
        self.known.add(dot)
        self.order.append(dot)
        self.vector[dot[0]] = dot[1]

    # -- comparing

    def check(self) -> None:
        """Everything that the replica shows is what the event graph says (P3, P4, P5, P13) and hashes to its root."""
        oracle, known = self.world.oracle, self.known
        assert self.replica.vv == self.vector
        assert oracle.missing_causes(known) == []
        state = set()
        for name, generations in self.replica.objects.items():
            want = oracle.live(name, known)
            got = {
                Address(name, generation, f): {
                    (lane.incarnation, lane.seq): (lane.hlc, *payloads.decode(lane.payload))
                    for lane in cells.live(packed)
                }
                for generation, fields in generations.items()
                for f, packed in fields.items()
            }
            assert got == {
                address: {
                    dot: (w.hlc, w.author, TOMBSTONE if w.value is REMOVED else w.value)
                    for dot, w in writes.items()
                }
                for address, writes in want.items()
            }
            there = oracle.generations(name, known)
            assert shown_generation(generations) == (there[0].generation if there else None)
            living = {NO_GENERATION, *(found.generation for found in there)}
            for address, lanes_here in got.items():
                lanes = cells.live(generations[address.generation][address.field])
                winner, best = latest(lanes), oracle.winner(address, known)
                assert (winner and (winner.incarnation, winner.seq)) == (best and best.dot)
                if address.field == KILL:
                    assert killed(lanes).value == oracle.killed(address, known)
                if address.generation in living:
                    state |= {
                        (address, dot) for dot, (_, _, value) in lanes_here.items() if value is not TOMBSTONE
                    }
        assert state == oracle.state(known)
        assert len(list(self.replica.canonical())) == len(state)
        assert self.replica.root == self.replica.recomputed_root()


def cluster(*incarnations: int) -> list[Node]:
    world = World()
    return [Node(world, incarnation) for incarnation in incarnations]


def heal(*nodes: Node) -> None:
    """Everybody hears everything; all are right and equal."""
    for _ in nodes:
        for a, b in permutations(nodes, 2):
            a.pull(b)
    for node in nodes:
        node.check()
        assert_equal_replicas(node.replica, nodes[0].replica)


def rows(replica: Replica) -> list[tuple[str, Dot, str, list[bytes]]]:
    """The fold as a store keeps it: per cell, one packed entry for each incarnation."""
    return [
        (name, generation, f, [entry.packed for entry in cells.entries(packed)])
        for name, generations in replica.objects.items()
        for generation, fields in generations.items()
        for f, packed in fields.items()
    ]


def reloaded(replica: Replica) -> Replica:
    """The replica, once through a store; rows come back in another order."""
    stored = reversed(rows(replica))
    return Replica.load(
        replica.header(), [(n, g, f, cells.from_entries(packed)) for n, g, f, packed in stored]
    )


def assert_equal_replicas(a: Replica, b: Replica) -> None:
    """Equal vectors, therefore equal bytes (P2)."""
    assert a.vv == b.vv
    assert list(a.canonical()) == list(b.canonical())
    assert (a.root, a.root_hash(), a.vv_hash()) == (b.root, b.root_hash(), b.vv_hash())
    assert a.heads() == b.heads()
    assert a.objects == b.objects, "nothing was collected yet, so dead lanes and `seen` agree too"
    assert a.header() == b.header()
