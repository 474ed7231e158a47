"""What a checker is: somebody who is told what happens in a run, and judges one invariant of DESIGN.md section 9.

A checker has three verdicts: what it saw was wrong; what it saw was right; it saw nothing that it could judge. It reads
the history and looks at nodes from outside; none asks another one, and none changes anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from random import Random
from typing import Any, ClassVar, Final

from vexil.chaos.checkers.event_graph import EventGraph
from vexil.chaos.checkers.views import Views
from vexil.chaos.faults.fault import KINDS
from vexil.chaos.run.history import History, Read, Standing, Write
from vexil.chaos.run.plan import Plan
from vexil.chaos.world.simulated_cluster import SimulatedCluster
from vexil.chaos.world.simulated_slot import Slot
from vexil.crdt.change import Change
from vexil.node.engine import Engine
from vexil.node.project import Project
from vexil.node.seams import LogRecord


class Verdict(Enum):
    """What a checker, or all of them, say of a run."""

    PASS = "pass"  # noqa: S105 - no password
    FAIL = "fail"
    UNKNOWN = "unknown"
    """Nothing happened that could have been wrong."""


WEIGHT: Final = {Verdict.UNKNOWN: 0, Verdict.PASS: 1, Verdict.FAIL: 2}


class Wait(Enum):
    """What a run waits for, one after another."""

    SET_UP = "the cluster is set up"
    READY = "after the heal, every node is ready and every client has its answer"
    CONVERGED = "every node has what the others have"
    TIDY = "nobody writes anything of its own any more"
    CALM = "what was under way has arrived; from now on everybody is idle"


@dataclass(frozen=True, slots=True)
class Scene:
    """What the checkers of one run look at. Nothing of it judges."""

    history: History
    plan: Plan
    graph: EventGraph
    views: Views


class Checker:
    """Judges one invariant. Methods are called as things happen; one that is not overridden costs nothing."""

    invariant: ClassVar[str]
    """Its name in DESIGN.md section 9, as ``P5``."""
    claim: ClassVar[str]
    """What must hold, in one sentence."""

    def __init__(self, scene: Scene, rng: Random) -> None:
        """Nothing has been judged yet."""
        self.history = scene.history
        self.plan = scene.plan
        self.graph = scene.graph
        self.views = scene.views
        self.rng = rng
        self.judged = 0
        """How often there was something to judge."""
        self.failed = False

    @property
    def verdict(self) -> Verdict:
        """What came of it."""
        if self.failed:
            return Verdict.FAIL
        return Verdict.PASS if self.judged else Verdict.UNKNOWN

    def violate(self, detail: str) -> None:
        """The invariant does not hold."""
        self.failed = True
        self.history.violate(self.invariant, detail)

    def explained(self, alarm: str, *, at: str = "") -> bool:
        """Whether something that has been done to the cluster explains an alarm of this kind.

        What a fault has done to one node may be noticed at every other one, and for ever. ``at`` is a slot where
        nothing explains it but a fault of just that place.
        """
        return alarm in self.history.expected_alarms or any(
            alarm in KINDS[fault.kind].alarms and (not at or at in fault.places)
            for fault in self.history.harm
        )

    def started(self, slot: Slot, engine: Engine) -> None:
        """A process has been made; it has not loaded anything yet."""

    def loaded(self, slot: Slot, records: Sequence[LogRecord]) -> None:
        """A process has loaded its state; ``records`` are what its journal holds."""

    def applied(self, slot: Slot, project: Project, change: Change, *, local: bool) -> None:
        """A change is in the journal and in the cells; the views do not show it yet."""

    def advanced(self, slot: Slot, project: Project) -> None:
        """A batch is visible."""

    def collected(self, slot: Slot, project: Project) -> None:
        """Garbage has been taken out of the project's state."""

    def alarm(self, slot: Slot, kind: str, detail: str) -> None:
        """An engine has raised an alarm."""

    def died(self, slot: Slot, error: BaseException) -> None:
        """A process ended by an error that is our own bug."""

    def read(self, read: Read) -> None:
        """A client has read, or has heard nothing."""

    def written(self, write: Write) -> None:
        """A write has been acknowledged, or refused for good."""

    def followed(self, standing: Standing) -> None:
        """The client of a service answers from another set, or the same one has another token; or it begins anew."""

    def silent(self, standing: Standing) -> None:
        """Bytes come to a client that has heard nothing for long; it stands as it stood while it waited."""

    def asked(self, service: str, slot: str) -> None:
        """A client tries to connect to a node."""

    def parted(self, services: Sequence[str], slot: str) -> None:
        """A process has died under the streams of these clients."""

    def checkpoint(self, cluster: SimulatedCluster) -> None:
        """A look at the cluster in the midst of the work."""

    def waited(self, cluster: SimulatedCluster, wait: Wait, *, in_time: bool) -> None:
        """The run has waited for something; it does not go on if that has not come in time."""

    def settled(self, cluster: SimulatedCluster) -> None:
        """The last look: nothing is broken, everything has converged, nobody sends anything."""


EVENTS: Final = (
    "started", "loaded", "applied", "advanced", "collected", "alarm", "died", "read", "written", "followed",
    "silent", "asked", "parted", "checkpoint", "waited", "settled",
)  # fmt: skip


class Checkers:
    """All checkers of a run as one ``Watcher``: each event goes to those that want it."""

    def __init__(self, checkers: Iterable[Checker]) -> None:
        """In the order in which they are told."""
        self.all = tuple(checkers)
        self._wanted: dict[str, tuple[Callable[..., Any], ...]] = {
            event: tuple(
                getattr(checker, event)
                for checker in self.all
                if getattr(type(checker), event) is not getattr(Checker, event)
            )
            for event in EVENTS
        }

    @property
    def verdicts(self) -> dict[str, Verdict]:
        """By invariant. Of several checkers of one: that it failed, else that one of them has judged it right."""
        found: dict[str, Verdict] = {}
        for checker in self.all:
            before = found.get(checker.invariant, Verdict.UNKNOWN)
            found[checker.invariant] = max(before, checker.verdict, key=WEIGHT.__getitem__)
        return found

    def _tell(self, event: str, *what: object, **how: object) -> None:
        for wanted in self._wanted[event]:
            wanted(*what, **how)

    def started(self, slot: Slot, engine: Engine) -> None:
        """`Checker.started`."""
        self._tell("started", slot, engine)

    def loaded(self, slot: Slot, records: Sequence[LogRecord]) -> None:
        """`Checker.loaded`."""
        self._tell("loaded", slot, records)

    def applied(self, slot: Slot, project: Project, change: Change, *, local: bool) -> None:
        """`Checker.applied`."""
        self._tell("applied", slot, project, change, local=local)

    def advanced(self, slot: Slot, project: Project) -> None:
        """`Checker.advanced`."""
        self._tell("advanced", slot, project)

    def collected(self, slot: Slot, project: Project) -> None:
        """`Checker.collected`."""
        self._tell("collected", slot, project)

    def alarm(self, slot: Slot, kind: str, detail: str) -> None:
        """`Checker.alarm`."""
        self._tell("alarm", slot, kind, detail)

    def died(self, slot: Slot, error: BaseException) -> None:
        """`Checker.died`."""
        self._tell("died", slot, error)

    def read(self, read: Read) -> None:
        """`Checker.read`."""
        self._tell("read", read)

    def written(self, write: Write) -> None:
        """`Checker.written`."""
        self._tell("written", write)

    def followed(self, standing: Standing) -> None:
        """`Checker.followed`."""
        self._tell("followed", standing)

    def silent(self, standing: Standing) -> None:
        """`Checker.silent`."""
        self._tell("silent", standing)

    def asked(self, service: str, slot: str) -> None:
        """`Checker.asked`."""
        self._tell("asked", service, slot)

    def parted(self, services: Sequence[str], slot: str) -> None:
        """`Checker.parted`."""
        self._tell("parted", services, slot)

    def checkpoint(self, cluster: SimulatedCluster) -> None:
        """`Checker.checkpoint`."""
        self._tell("checkpoint", cluster)

    def waited(self, cluster: SimulatedCluster, wait: Wait, *, in_time: bool) -> None:
        """`Checker.waited`."""
        self._tell("waited", cluster, wait, in_time=in_time)

    def settled(self, cluster: SimulatedCluster) -> None:
        """`Checker.settled`."""
        self._tell("settled", cluster)
