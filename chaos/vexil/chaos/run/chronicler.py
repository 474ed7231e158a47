"""Writes the history: it is told first of everything that engines do, notes it, and tells the checkers.

Which process lived when, which slot had which change since when, and which had one and lost it again. It judges
nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from vexil.chaos.run.history import Absence, History, Life
from vexil.chaos.world.simulated_slot import Slot, Watcher
from vexil.chaos.world.trace import Trace
from vexil.crdt.change import Change, Dot, decode
from vexil.node.engine import Engine
from vexil.node.project import Project
from vexil.node.seams import LogRecord


class Chronicler:
    """A ``Watcher`` that fills the history and passes everything on."""

    def __init__(self, history: History, listener: Watcher, trace: Trace) -> None:
        """Nothing has happened yet. ``listener`` is told after history and trace have been written."""
        self.over = False
        """Set at the end of the run: what dies from then on is taken down with the simulation."""
        self._history = history
        self._listener = listener
        self._trace = trace
        self._lives: dict[str, Life] = {}
        self._totals: dict[tuple[str, str], int] = {}
        """By slot and project: how many changes the slot has, as far as the history knows."""
        self._absent: dict[tuple[str, Dot, str], Absence] = {}

    # -- lives: `SimulatedCluster.on_life`

    def life(self, slot: Slot, what: str) -> None:
        """A process is ``ready``, is ``stopping`` as planned, has ``ended``, or is ``returning`` with nothing."""
        life = self._lives.get(slot.name)
        if self.over or life is None:
            return
        now_s, said = self._history.now_s(), _SAID[what]
        if slot.process is not None:
            life.registration = slot.process.engine.registration
        if what == "ready":
            life.ready_s = now_s
        elif what == "returning":
            self._history.ended.setdefault((slot.name, life.registration), now_s)
        else:
            if life.ended_s is None:
                life.ended_s, life.how = now_s, life.how or ("stop" if what == "stopping" else "crash")
            said = "has stopped" if what == "ended" and life.how == "stop" else said
        self._history.tell(slot.name, what, said)

    # -- Watcher

    def started(self, slot: Slot, engine: Engine) -> None:
        """`Watcher.started`."""
        life = Life(slot.name, slot.region, engine.incarnation, self._history.now_s())
        if any(other.incarnation == life.incarnation for other in self._history.lives):
            self._history.forked.add(life.incarnation)
        self._lives[slot.name] = life
        self._history.authors.setdefault(life.incarnation, life)
        self._history.lives.append(life)
        self._history.tell(slot.name, "start", f"starts as {engine.incarnation:016x}")
        self._listener.started(slot, engine)

    def loaded(self, slot: Slot, records: Sequence[LogRecord]) -> None:
        """`Watcher.loaded`. What a crash has left in the journal counts from now on, though nobody was told of it."""
        for name, incarnation, seq, raw in records:
            known = self._history.changes.setdefault(name, {}).get((incarnation, seq))
            if known is None or known.raw != raw:
                self._note(name, decode(raw))
        if slot.engine is not None:
            for name in self._history.changes:
                self._compare(slot, name, slot.engine.projects.get(name))
        self._listener.loaded(slot, records)

    def applied(self, slot: Slot, project: Project, change: Change, *, local: bool) -> None:
        """`Watcher.applied`."""
        history, name, dot = self._history, project.name, change.dot
        if local and slot.name in self._lives:
            history.authors.setdefault(change.incarnation, self._lives[slot.name])
        self._note(name, change)
        history.applied_s.setdefault((name, dot), {}).setdefault(slot.name, history.now_s())
        if self._absent:
            self._found_again(name, dot, slot.name)
        self._totals[slot.name, name] = self._totals.get((slot.name, name), 0) + 1
        self._trace.add("applied", slot.name, name, change.id, change.hlc)
        self._listener.applied(slot, project, change, local=local)

    def advanced(self, slot: Slot, project: Project) -> None:
        """`Watcher.advanced`."""
        # A snapshot brings many changes at once, and nobody says which.
        if self._totals.get((slot.name, project.name), 0) != _total(project):
            self._compare(slot, project.name, project)
        self._trace.add("shows", slot.name, project.name, project.replica.root_hash())
        self._listener.advanced(slot, project)

    def collected(self, slot: Slot, project: Project) -> None:
        """`Watcher.collected`."""
        self._listener.collected(slot, project)

    def alarm(self, slot: Slot, kind: str, detail: str) -> None:
        """`Watcher.alarm`."""
        self._history.alarms.append((slot.name, kind, detail))
        self._history.tell(slot.name, "alarm", f"{kind} {detail}")
        self._listener.alarm(slot, kind, detail)

    def died(self, slot: Slot, error: BaseException) -> None:
        """`Watcher.died`."""
        life = self._lives.get(slot.name)
        if life is not None and life.ended_s is None:
            life.how = "error"
        self._history.tell(slot.name, "error", repr(error))
        self._listener.died(slot, error)

    # -- who has what

    def _note(self, name: str, change: Change) -> None:
        known = self._history.changes.setdefault(name, {}).setdefault(change.dot, change)
        if known.raw != change.raw:
            self._history.forked.add(change.incarnation)

    def _compare(self, slot: Slot, name: str, project: Project | None) -> None:
        """Note what the slot has, and what it had and has no more."""
        now_s = self._history.now_s()
        for dot in self._history.changes.get(name, ()):
            had = self._history.applied_s.setdefault((name, dot), {})
            if project is not None and project.replica.known(dot[0]) >= dot[1]:
                had.setdefault(slot.name, now_s)
                self._found_again(name, dot, slot.name)
            elif slot.name in had and (name, dot, slot.name) not in self._absent:
                absence = self._absent[name, dot, slot.name] = Absence(name, dot, slot.name, now_s)
                self._history.absences.append(absence)
        self._totals[slot.name, name] = 0 if project is None else _total(project)

    def _found_again(self, name: str, dot: Dot, slot: str) -> None:
        absence = self._absent.pop((name, dot, slot), None)
        if absence is not None:
            absence.until_s = self._history.now_s()


_SAID: Final = {
    "ready": "serves",
    "stopping": "stops as planned",
    "ended": "dies",
    "returning": "puts its state aside and begins anew",
}


def _total(project: Project) -> int:
    return sum(project.replica.vv.values()) + sum(project.replica.retired.values())
