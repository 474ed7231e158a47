"""Checks while the cluster runs: after every batch that any node applies, on that node, at that moment.

They look at cells and served documents, and judge by simple rules of their own: what a kill is, which fields were
written together. A reader at any node at any time sees exactly what is checked here.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from random import Random
from traceback import format_exception
from typing import Final

from vexil.chaos.record import Record
from vexil.chaos.simulated_cluster import Slot
from vexil.chaos.trace import Trace
from vexil.crdt.cell import Lane, live
from vexil.crdt.change import NO_GENERATION, Change, Dot
from vexil.crdt.change import decode as decode_change
from vexil.crdt.flag_document import document
from vexil.crdt.flag_reader import read_flag
from vexil.crdt.hlc import milliseconds
from vexil.crdt.payload import UNREADABLE, decode, is_tombstone
from vexil.crdt.schema import SYSTEM_PROJECT, flag_object, kill_field
from vexil.node.engine import Engine
from vexil.node.engine_types import CLOCK_SKEW_LIMIT_MS
from vexil.node.project import Project
from vexil.node.seams import LogRecord
from vexil.sdk.evaluation import evaluate

THOROUGH_ONE_IN: Final = 16
"""So many batches go by between two comparisons with everything computed from scratch."""


class LiveChecks:
    """``Watcher`` of a cluster: records, and judges what can be judged at once."""

    def __init__(
        self,
        record: Record,
        trace: Trace,
        rng: Random,
        *,
        pairs: Collection[tuple[str, str]] = (),
        expected_alarms: Collection[str] = (),
    ) -> None:
        """``pairs`` are flags whose ``owner`` and metadata are only ever written together."""
        self.pairs = pairs
        self.expected_alarms = expected_alarms
        self.alarms: list[tuple[str, str, str]] = []
        self._record = record
        self._trace = trace
        self._rng = rng
        self._roots: dict[tuple[str, frozenset[Dot]], tuple[str, str]] = {}
        self._applied: dict[str, set[tuple[str, Dot]]] = {}
        self._stamps: dict[str, _Stamps] = {}

    # -- Watcher

    def started(self, slot: Slot, engine: Engine) -> None:
        """A new process has applied nothing yet."""
        self._applied[slot.name] = set()
        self._stamps[slot.name] = _Stamps()

    def loaded(self, slot: Slot, records: Sequence[LogRecord]) -> None:
        """A crash may leave a write in the journal that nobody was told of; it counts from now on."""
        for name, _, _, raw in records:
            change = decode_change(raw)
            known = self._record.changes.setdefault(name, {}).setdefault(change.dot, change)
            if known.raw != raw:
                self._record.violate("P11", f"{slot.name}: {name} {change.id} is two changes")

    def applied(self, slot: Slot, project: Project, change: Change, *, local: bool) -> None:
        """P11: a dot names one change. P1: nothing is applied twice. Causes come before effects."""
        name = f"{project.name} {change.id}"
        self._trace.add("applied", slot.name, name, change.hlc)
        known = self._record.changes.setdefault(project.name, {}).setdefault(change.dot, change)
        if known.raw != change.raw:
            self._record.violate("P11", f"{slot.name}: {name} is two changes")
        applied = self._applied[slot.name]
        if (project.name, change.dot) in applied:
            self._record.violate("P1", f"{slot.name} applied {name} twice")
        applied.add((project.name, change.dot))
        self._stamps_make_sense(slot, change, local=local)
        if not project.replica.covers(dict(change.deps)) or (
            change.seq > 1 and (change.incarnation, change.seq - 1) not in self._record.changes[project.name]
        ):
            self._record.violate("P3", f"{slot.name} applied {name} before its causes")

    def advanced(self, slot: Slot, project: Project) -> None:
        """P2, P5, P7 on what is visible now; now and then all views against the cells."""
        stamps = self._stamps[slot.name]
        stamps.seen = max(stamps.seen, stamps.arrived)
        self._equal_vectors_equal_roots(slot, project)
        if project.name != SYSTEM_PROJECT:
            self._kills_hold(slot, project)
            self._pairs_agree(slot, project)
            if self._rng.randrange(THOROUGH_ONE_IN) == 0:
                self.thorough(slot, project)

    def alarm(self, slot: Slot, kind: str, detail: str) -> None:
        """An alarm that nothing in this run explains is a violation."""
        self.alarms.append((slot.name, kind, detail))
        if kind not in self.expected_alarms:
            invariant = {"fork": "P11", "divergence": "P2", "defect": "P12", "aside": "P3"}[kind]
            self._record.violate(invariant, f"{slot.name} raised the alarm {kind!r}: {detail}")

    def died(self, slot: Slot, error: BaseException) -> None:
        """An engine has met a bug of ours."""
        self._record.violate("crash", f"{slot.name}: {''.join(format_exception(error))}")

    # -- judging

    def thorough(self, slot: Slot, project: Project) -> None:
        """The incremental root and every served document are what the cells say (P2, P14)."""
        replica = project.replica
        if replica.root != replica.recomputed_root():
            self._record.violate(
                "P2", f"{slot.name}: the root hash of {project.name} is not that of its cells"
            )
        for key in project.flag_keys():
            state = read_flag(key, replica.cells(flag_object(key)), project.environments)
            for environment in project.environments:
                served = project.flag_set(environment).flags.get(key)
                fresh = None if state is None else document(state, environment)
                if served != fresh:
                    self._record.violate("P2", f"{slot.name} serves {key} as {served}, its cells say {fresh}")

    def _equal_vectors_equal_roots(self, slot: Slot, project: Project) -> None:
        replica = project.replica
        key = (project.name, frozenset(replica.vv.items()))
        root, first = self._roots.setdefault(key, (replica.root_hash(), slot.name))
        if root != replica.root_hash():
            self._record.violate(
                "P2", f"{first} and {slot.name} have equal vectors of {project.name}, unequal roots"
            )

    def _stamps_make_sense(self, slot: Slot, change: Change, *, local: bool) -> None:
        """P13: a stamp is above every stamp that its author believed, and never far above what its clock has shown."""
        stamps = self._stamps[slot.name]
        wall_ms = slot.clock.wall_ms()
        if local:
            if change.hlc <= stamps.seen:
                self._record.violate("P13", f"{slot.name} stamps {change.id} below what it had seen")
            if milliseconds(change.hlc) > slot.clock.shown_ms_max + CLOCK_SKEW_LIMIT_MS:
                self._record.violate("P13", f"{slot.name} stamps {change.id} with another node's wrong clock")
            stamps.seen = max(stamps.seen, change.hlc)
        elif milliseconds(change.hlc) <= wall_ms + CLOCK_SKEW_LIMIT_MS:
            # Decided in the same batch, a write has not seen it yet.
            stamps.arrived = max(stamps.arrived, change.hlc)

    def _kills_hold(self, slot: Slot, project: Project) -> None:
        for name, generations in project.replica.objects.items():
            switches = generations.get(NO_GENERATION)
            if not switches or not name.startswith("flag/"):
                continue
            key = name.partition("/")[2]
            for environment in project.environments:
                cell = switches.get(kill_field(environment))
                if cell is None or not any(_kills(lane) for lane in live(cell)):
                    continue
                flag_set = project.flag_set(environment)
                answer = evaluate(flag_set, key, {"targetingKey": "t"}, now_s=0.0)
                served = flag_set.flags.get(key)
                if answer.variant == "on" or (served is not None and served["enabled"]):
                    self._record.violate(
                        "P5", f"{slot.name} shows {key} on in {environment} in spite of a kill"
                    )

    def _pairs_agree(self, slot: Slot, project: Project) -> None:
        for left, right in self.pairs:
            states = [project.flag(left), project.flag(right)]
            owners = [None if state is None else state.owner for state in states]
            flags = [project.flag_set(environment).flags for environment in project.environments]
            served = [
                [shown[key].get("metadata") if key in shown else None for shown in flags]
                for key in (left, right)
            ]
            if owners[0] != owners[1] or served[0] != served[1]:
                self._record.violate("P7", f"{slot.name} shows half of a change set: {owners}, {served}")


def _kills(lane: Lane) -> bool:
    """What a switch that cannot be read says is a kill: it may be one that a newer version says more about."""
    value = decode(lane.payload).value
    return value is True or (value is UNREADABLE and not is_tombstone(lane.payload))


@dataclass(slots=True)
class _Stamps:
    """What one process may know of time."""

    seen: int = 0
    """The highest stamp that a write of it has seen and believed."""
    arrived: int = 0
    """The same with the batch that is not visible yet."""
