"""P3: what was written is everywhere in the end, as the one change that its client was told of.

Three things excuse a change that nobody has any more: a fault has destroyed every disk that it was on; the registration
of its node has ended and it has come back, and the change was issued again, parked, or says what somebody else has said
too; its incarnation has two histories.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from random import Random
from typing import Final

from vexil.chaos.checkers.checker import Checker, Scene
from vexil.chaos.checkers.returned import is_issued_again, only_parks, says_nothing_new
from vexil.chaos.clients.operations import PROJECT
from vexil.chaos.run.history import Outcome, Write
from vexil.chaos.world.convergence import engines
from vexil.chaos.world.simulated_cluster import SimulatedCluster
from vexil.chaos.world.simulated_slot import Slot
from vexil.crdt.change import Change, Dot, render_id
from vexil.crdt.schema import SYSTEM_PROJECT
from vexil.node.engine import Engine
from vexil.node.project import Project

DISKS: Final = {"node": 1, "peer": 2}
"""How many disks of nodes a durability names. A region's store is on none of them."""
Changes = Mapping[Dot, Change]


class AcknowledgedIsKept(Checker):
    """Looks at causes while changes are applied, and for everything that was ever written at the end."""

    invariant = "P3"
    claim = "an acknowledged write is at every node after the heal, once, or what has become of it is"

    def __init__(self, scene: Scene, rng: Random) -> None:
        """Nobody has anything."""
        super().__init__(scene, rng)
        self._reached: dict[tuple[str, str], dict[int, int]] = {}

    # -- nothing before its causes

    def started(self, slot: Slot, engine: Engine) -> None:
        """`Checker.started`. What its journal holds may be more than the process before it has shown."""
        for key in [key for key in self._reached if key[0] == slot.name]:
            del self._reached[key]

    def applied(self, slot: Slot, project: Project, change: Change, *, local: bool) -> None:
        """`Checker.applied`."""
        forked = self.history.forked
        missing = [
            render_id((i, seq))
            for i, seq in change.deps
            if i not in forked and not project.replica.covers({i: seq})
        ]
        if missing:
            self.violate(f"{slot.name} applied {change.id} of {project.name} before {missing}")
        reached = self._reached.setdefault((slot.name, project.name), {})
        if change.incarnation in reached and change.seq > reached[change.incarnation] + 1:
            self.violate(
                f"{slot.name} applied {change.id} of {project.name} after {reached[change.incarnation]}"
            )
        reached[change.incarnation] = change.seq

    def advanced(self, slot: Slot, project: Project) -> None:
        """`Checker.advanced`. A state may have come as a whole: one is as far as that."""
        self._reached[slot.name, project.name] = dict(project.replica.vv)

    def alarm(self, slot: Slot, kind: str, detail: str) -> None:
        """`Checker.alarm`."""
        if kind == "aside" and not self.explained(kind):
            self.violate(f"{slot.name} has put a change aside: {detail}")

    # -- everything in the end

    def settled(self, cluster: SimulatedCluster) -> None:
        """`Checker.settled`."""
        kept = {name: self._kept(cluster, name) for name in self.history.changes}
        for name in self.history.changes:
            self._everywhere(cluster, name, kept[name])
            self._one_change_a_key(name, kept[name])
        for write in self.history.writes:
            self._as_told(write, kept.get(PROJECT, {}))

    def _kept(self, cluster: SimulatedCluster, name: str) -> Changes:
        """The changes of a project that every node has; what only some have is a violation."""
        replicas = {
            slot.name: engine.projects[name].replica
            for slot, engine in engines(cluster)
            if name in engine.projects
        }
        kept = {}
        for dot, change in self.history.changes[name].items():
            lacking = [slot for slot, replica in replicas.items() if replica.known(dot[0]) < dot[1]]
            if not lacking or (self.history.may_stay_apart and len(lacking) < len(replicas)):
                kept[dot] = change
            elif len(lacking) < len(replicas) and dot[0] not in self.history.forked:
                self.violate(f"{', '.join(lacking)} never got {change.id} of {name}")
        return kept

    def _everywhere(self, cluster: SimulatedCluster, name: str, kept: Changes) -> None:
        keys = {change.idempotency[0] for change in kept.values() if change.idempotency}
        destroyed = self.history.destroyed.get(name, set())
        again = [c for dot, c in self.history.changes[name].items() if dot not in kept and c.idempotency]
        # What was issued again may be issued again itself: its node was let in by one that had been evicted, too.
        over = {c.dot: self.history.registration_ended_s(c.dot) is not None for c in again}
        while (
            more := {
                c.idempotency[0]
                for c in again
                if c.idempotency and is_issued_again(c, keys, over=over[c.dot])
            }
            - keys
        ):
            keys |= more
        for dot, change in self.history.changes[name].items():
            if dot in kept or dot in destroyed or dot[0] in self.history.forked:
                continue
            if self._is_of_a_place_that_is_gone(name, change):
                continue
            is_over = self.history.registration_ended_s(dot) is not None
            if not is_issued_again(change, keys, over=is_over) and not (
                is_over and says_nothing_new(change, name, kept.values(), cluster)
            ):
                self.violate(f"nobody has {change.id} of {name}, nor anything that has become of it")

    def _is_of_a_place_that_is_gone(self, name: str, change: Change) -> bool:
        """Whether it only says of a process that it runs, and the disk of its place was destroyed since.

        Another node may have had it, and have given up its state.
        """
        author = self.history.authors.get(change.incarnation)
        gone = author is not None and any(author.slot == each.slot for each in self.history.destructions)
        return gone and name == SYSTEM_PROJECT and change.idempotency is None

    def _one_change_a_key(self, name: str, kept: Changes) -> None:
        keys = Counter(c.idempotency[0] for c in kept.values() if c.idempotency and not only_parks(c))
        for key, count in keys.items():
            if count > 1:
                self.violate(f"{key} became {count} changes of {name}")

    def _as_told(self, write: Write, kept: Changes) -> None:
        named = [c for c in kept.values() if c.idempotency and c.idempotency[0] == write.key]
        if write.outcome is Outcome.REFUSED and all(a.answer != "none" for a in write.attempts):
            self.judged += 1
            if named:
                self.violate(f"{write.what} ({write.key}) was refused for good, and written")
        if write.outcome is not Outcome.ACKNOWLEDGED or write.dot is None:
            return
        self.judged += 1
        if write.dot[0] in self.history.forked:
            return
        if write.dot not in kept:
            # What was on its way when its disk was destroyed has come through.
            self._on_enough_disks(write, write.dot)
        change = self.history.changes.get(PROJECT, {}).get(write.dot)
        if change is None or change.idempotency is None or change.idempotency[0] != write.key:
            self.violate(f"{write.what} ({write.key}) was acknowledged and is in no log under its dot")

    def _on_enough_disks(self, write: Write, dot: Dot) -> None:
        """What was destroyed must have been on no disk that is left: on as many as its durability names, at least.

        One of them is its author's. Who is evicted may have nothing of it beside what is laid aside for the return,
        whatever its region's log and its peers still hold: from then on one disk is enough to lose it.
        """
        history = self.history
        last = next((d for d in reversed(history.destructions) if dot in d.gone.get(PROJECT, ())), None)
        if last is None:
            return
        ended_s = history.registration_ended_s(dot)
        if (ended_s is not None and ended_s <= last.at_s) or (
            write.durability == "region" and self.plan.embedded
        ):
            return
        author = history.authors[dot[0]].slot if dot[0] in history.authors else ""
        written_s = history.applied_s.get((PROJECT, dot), {}).get(author, 0.0)
        lost = [d for d in history.destructions if written_s <= d.at_s <= last.at_s]
        slots, members = {d.slot for d in lost}, {d.member for d in lost}
        if (author and author not in slots) or len(members) < DISKS.get(write.durability, len(members) + 1):
            self.violate(f"{write.what} was durable at a {write.durability}, and went with {sorted(slots)}")
