"""A stage for one checker: nodes that are told by hand what to write and to take, and that a test can put wrong.

A node here is a real replica with its real views, and nothing else; what engines would tell, the stage tells. Whatever
a test does to a node beside that is the defect which the checker has to notice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, cast

from vexil.chaos.checkers.checker import Checker, Checkers, Scene, Wait
from vexil.chaos.checkers.event_graph import EventGraph
from vexil.chaos.checkers.views import Views
from vexil.chaos.clients.operations import ENVIRONMENTS, PROJECT, flag_body
from vexil.chaos.run.chronicler import Chronicler
from vexil.chaos.run.history import History, Read, Write
from vexil.chaos.run.plan import Fault, Plan
from vexil.chaos.world.simulated_cluster import SimulatedCluster
from vexil.chaos.world.simulated_slot import Slot
from vexil.chaos.world.trace import Trace
from vexil.crdt.change import Change
from vexil.crdt.hlc import pack
from vexil.crdt.pen import CellWrite, Pen
from vexil.crdt.replica import Replica
from vexil.crdt.schema import SYSTEM_PROJECT
from vexil.node.authoring import change_set, etag_of, unkill_flag
from vexil.node.project import Project

WALL_MS = 1_700_000_000_000
KEY_OF_NOBODY = b"same"
HEARD_S = 1.0
"""When clients hear of their writes."""


@dataclass
class Clock:
    """A wall clock that stands still."""

    shown_ms_max: int = WALL_MS

    def wall_ms(self) -> int:
        return WALL_MS


class Untraced(Trace):
    """A stage has no time, and nobody compares two plays."""

    def add(self, kind: str, *facts: object) -> None:
        pass


@dataclass
class Gauges:
    payload_bytes_sent: int = 0


@dataclass
class Member:
    """What a node knows of another: which of its registrations are over."""

    evicted: set[str] = field(default_factory=set)


@dataclass
class Directory:
    members: dict[str, Member] = field(default_factory=dict)


@dataclass
class Forks:
    incarnations: set[int] = field(default_factory=set)


@dataclass
class Process:
    """What of an engine checkers look at."""

    incarnation: int
    projects: dict[str, Project] = field(default_factory=dict)
    registration: str = "first"
    directory: Directory = field(default_factory=Directory)
    forks: Forks = field(default_factory=Forks)


class Node:
    """A slot with its process."""

    def __init__(self, stage: Stage, name: str, incarnation: int) -> None:
        self.name = self.member = name
        self.region = name.partition("-")[0]
        self.ready = True
        self.starts = 1
        self.clock = Clock()
        self.gauges = Gauges()
        self._stage = stage
        self.project = Project(PROJECT, Replica(), on_defect=lambda *_: None)
        self.project.configure(ENVIRONMENTS, "v3")
        self.engine: Process | None = Process(incarnation, {PROJECT: self.project})

    @property
    def slot(self) -> Slot:
        """As checkers know it."""
        return cast(Slot, self)

    @property
    def replica(self) -> Replica:
        return self.project.replica

    @property
    def incarnation(self) -> int:
        assert self.engine is not None
        return self.engine.incarnation

    # -- writing

    def write(self, writes: Sequence[CellWrite], *, key: str = "", hlc: int | None = None) -> Change:
        """One change of this node, which it takes at once."""
        self._stage.ticks += 1
        change = Pen(self.replica, self.incarnation).write(
            writes,
            hlc=pack(WALL_MS) + self._stage.ticks if hlc is None else hlc,
            author=self.name,
            idempotency=(key, KEY_OF_NOBODY) if key else None,
        )
        if key:
            self._stage.history.authored_on[PROJECT, key, self.incarnation] = dict(self.replica.vv)
        self.take(change, local=True)
        return change

    def do(
        self, op: str, flag: str = "f", *, key: str = "", hlc: int | None = None, **members: Any
    ) -> Change:
        """One operation of the admin API on a flag."""
        operation = {"op": op, "flag": flag, **members}
        return self.set(operation, key=key, hlc=hlc)

    def set(self, *operations: Mapping[str, Any], key: str = "", hlc: int | None = None) -> Change:
        """Several operations in one change."""
        intent = change_set(self.project, {"operations": list(operations)}, new_id=lambda: "r").intent
        return self.write(list(intent.writes), key=key, hlc=hlc)

    def create(self, flag: str = "f", *, key: str = "") -> Change:
        """A flag that is on everywhere."""
        return self.do("create", flag, key=key, value=flag_body("fresh"))

    def unkill(self, flag: str = "f") -> Change:
        """By somebody who has seen the kill."""
        etag = etag_of(self.replica.cells(f"flag/{flag}"))
        return self.write(list(unkill_flag(self.project, flag, "prod", if_match=etag).writes))

    # -- taking

    def take(self, *changes: Change, local: bool = False) -> None:
        """Apply a batch, show it, and tell so."""
        for change in changes:
            self.replica.apply(change)
            self._stage.watcher.applied(self.slot, self.project, change, local=local)
        self.project.refresh(changes)
        self.tell_advanced()

    def hear_of_eviction(self, other: Node) -> None:
        """The registration of ``other`` is over, as far as this node knows."""
        assert self.engine is not None
        assert other.engine is not None
        self.engine.directory.members[other.name] = Member({other.engine.registration})
        system = Project(SYSTEM_PROJECT, Replica(), on_defect=lambda *_: None)
        self._stage.watcher.advanced(self.slot, system)

    def tell_advanced(self) -> None:
        """A batch is visible, the checker hears."""
        self._stage.watcher.advanced(self.slot, self.project)

    def say_otherwise(self, field: str, before: str, after: str) -> None:
        """Put another text of the same length into a cell of f, past everybody."""
        (fields,) = (f for f in self.replica.objects["flag/f"].values() if field in f)
        fields[field] = fields[field].replace(before.encode(), after.encode())

    def collect(self, name: str = "flag/f", *, spoil: Callable[[], object] = lambda: None) -> None:
        """Take all garbage of one object out; ``spoil`` does what collecting must not do."""
        self.replica.advance_floor(dict(self.replica.vv))
        assert self.replica.collect(name, dict(self.replica.vv))
        spoil()
        self._stage.watcher.collected(self.slot, self.project)


class Stage:
    """One checker, and the nodes that it watches."""

    def __init__(self, kind: type[Checker], *, faults: tuple[Fault, ...] = ()) -> None:
        self.now_s = 0.0
        self.ticks = 0
        self.history = History(lambda: self.now_s)
        plan = Plan(0, layout={}, faults=faults)
        scene = Scene(self.history, plan, EventGraph(self.history), Views())
        self.checker = kind(scene, Random(1))
        self.checkers = Checkers([self.checker])
        self.watcher = Chronicler(self.history, self.checkers, Untraced())
        self.nodes: dict[str, Node] = {}

    def node(self, name: str, *, incarnation: int | None = None) -> Node:
        """A node that has just started, with nothing; its number is its incarnation unless said otherwise."""
        node = self.nodes[name] = Node(self, name, incarnation or len(self.nodes) + 1)
        self.start(node)
        return node

    def start(self, node: Node) -> None:
        """A process of the node begins, with what the node has."""
        self.watcher.started(node.slot, cast(Any, node.engine))
        self.watcher.loaded(node.slot, [])

    def two(self) -> tuple[Node, Node]:
        """Two nodes that both have the flag f."""
        left, right = self.node("eu-1"), self.node("us-1")
        right.take(left.create())
        return left, right

    @property
    def cluster(self) -> SimulatedCluster:
        """As checkers know it."""
        return cast(SimulatedCluster, Cluster(self.nodes))

    # -- what the run tells

    def checkpoint(self) -> None:
        self.checkers.checkpoint(self.cluster)

    def settle(self) -> None:
        self.checkers.settled(self.cluster)

    def waited(self, wait: Wait, *, in_time: bool = True) -> None:
        self.checkers.waited(self.cluster, wait, in_time=in_time)

    def acknowledged(self, write: Write) -> None:
        self.now_s = HEARD_S
        self.history.writes.append(write)
        self.checkers.written(write)

    def read(self, read: Read) -> None:
        self.history.reads.append(read)
        self.checkers.read(read)


@dataclass
class Cluster:
    slots: dict[str, Node]
