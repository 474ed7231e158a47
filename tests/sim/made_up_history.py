"""A run that nobody ran: its history is told by a test, moment by moment, so that it is known what must be said of it.

The work begins at 10 s of virtual time, so that nobody mistakes the one clock for the other.
"""

from __future__ import annotations

from vexil.chaos.checkers.checker import Verdict
from vexil.chaos.clients.operations import PROJECT
from vexil.chaos.run.history import (
    Absence,
    Attempt,
    Event,
    History,
    Life,
    Outcome,
    Read,
    Violation,
    Window,
    Write,
)
from vexil.chaos.run.plan import Client, Fault, Operation, Plan
from vexil.chaos.run.simulation import Report
from vexil.crdt.change import Dot

BEGAN_S = 10.0
INCARNATION = 0xABCDEF0123456789


class MadeUp:
    """Moments are seconds since the work began."""

    def __init__(self, *nodes: str, seed: int = 1) -> None:
        layout: dict[str, int] = {}
        for node in nodes:
            region = node.rpartition("-")[0]
            layout[region] = layout.get(region, 0) + 1
        self.history = History(lambda: 0.0, began_s=BEGAN_S)
        self.faults: list[Fault] = []
        self.operations: list[Operation] = []
        self.seed, self.layout = seed, layout
        for node in nodes:
            self.life(node, -2.0)

    def life(self, node: str, ready_s: float, ended_s: float | None = None) -> None:
        lives = self.history.lives
        began_s, end = BEGAN_S + ready_s, None if ended_s is None else BEGAN_S + ended_s
        region = node.rpartition("-")[0]
        lives.append(
            Life(node, region, INCARNATION + len(lives), began_s, began_s, end, "crash" if end else "")
        )

    def dies(self, node: str, at_s: float) -> None:
        life = [life for life in self.history.lives if life.slot == node][-1]
        life.ended_s, life.how = BEGAN_S + at_s, "crash"
        self.event(at_s, node, "ended", "dies")

    def fault(self, kind: str, at_s: float, until_s: float | None, *places: str) -> None:
        lasts_s = 0.0 if until_s is None else until_s - at_s
        fault = Fault(len(self.faults) + 1, kind, at_s, places, lasts_s)
        self.faults.append(fault)
        end = None if until_s is None else BEGAN_S + until_s
        self.history.windows.append(Window(fault, BEGAN_S + at_s, end))
        self.history.fired[kind] += 1

    def write(
        self,
        node: str,
        at_s: float,
        answer: str = "ok",
        *,
        told_s: float | None = None,
        flag: str = "a",
        what: str = "",
    ) -> Write:
        number = len(self.operations) + 1
        self.operations.append(Operation(number, "ann", at_s, "patch", flag, "prod"))
        write = Write(f"ann/{number}", what or f"patch {flag}", "ann", number, slot=node)
        ended_s = BEGAN_S + (at_s if told_s is None else told_s)
        write.attempts.append(Attempt(node, BEGAN_S + at_s, ended_s, answer))
        if answer == "ok":
            write.outcome, write.acknowledged_s, write.dot = (
                Outcome.ACKNOWLEDGED,
                ended_s,
                (INCARNATION, number),
            )
            self.has(node, write, ended_s - BEGAN_S)
        self.history.writes.append(write)
        return write

    def has(self, node: str, write: Write, at_s: float) -> None:
        self.history.applied_s.setdefault((PROJECT, self.dot(write)), {})[node] = BEGAN_S + at_s

    def loses(self, node: str, write: Write, at_s: float, until_s: float) -> None:
        absence = Absence(PROJECT, self.dot(write), node, BEGAN_S + at_s, BEGAN_S + until_s)
        self.history.absences.append(absence)

    def read(self, node: str, at_s: float, answer: str = "ok", flag: str = "a") -> None:
        row = Read("ann", 1_000, node, flag, "prod", BEGAN_S + at_s, BEGAN_S + at_s, answer, variant="on")
        self.history.reads.append(row)

    def event(self, at_s: float, place: str, kind: str, text: str) -> None:
        self.history.events.append(Event(BEGAN_S + at_s, place, kind, text))

    def violation(self, at_s: float, detail: str) -> None:
        self.history.violations.append(Violation("P3", detail, BEGAN_S + at_s))

    @property
    def plan(self) -> Plan:
        return Plan(
            self.seed,
            self.layout,
            faults=tuple(self.faults),
            clients=(Client("ann", next(iter(self.layout))),),
            operations=tuple(self.operations),
        )

    @property
    def report(self) -> Report:
        verdict = Verdict.FAIL if self.history.violations else Verdict.PASS
        return Report(self.plan, self.history, {"P3": verdict}, "hash", (), 60.0)

    @staticmethod
    def dot(write: Write) -> Dot:
        assert write.dot is not None
        return write.dot
