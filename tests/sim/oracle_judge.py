"""P13 and P4: what nodes hold and show, judged by the event graph, which shares no code with the kernel.

The graph is told every change with what its author had seen. For the workload's writes that is the vector that the
client's decision saw with its own eyes, so that an error in ``deps`` cannot hide itself. Vectors leave out what is
retired; whoever has seen a retirement has seen all of what it retires, and is judged so. What a node has collected as
garbage (up to its floor: tombstones, and all of a deleted generation) need not be held any more.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from tests.oracle import EXISTENCE, OUTSIDE, REMOVED, Address, Event, Operation, Oracle, dots
from vexil.chaos import junk
from vexil.chaos.record import Record
from vexil.chaos.simulated_cluster import Slot
from vexil.crdt import cell as cells
from vexil.crdt.change import Change, Dot
from vexil.crdt.flag_state import FlagState
from vexil.crdt.payload import UNREADABLE, decode
from vexil.crdt.replica import Replica
from vexil.crdt.schema import RETIRED_OBJECT, SYSTEM_PROJECT
from vexil.node.engine import Engine
from vexil.node.project import Project

EXTENSIONS = frozenset((0xC7, 0xC8, 0xC9, 0xD4, 0xD5, 0xD6, 0xD7, 0xD8))


class OracleJudge:
    """Judges the nodes of one simulation."""

    def __init__(self) -> None:
        self.judged = 0
        self._oracles: dict[str, Oracle] = {}
        self._payloads: dict[tuple[Address, Dot], bytes] = {}
        self._seen: dict[tuple[str, Dot], dict[int, int]] = {}
        self._junk: set[Dot] = set()
        self._retirements: dict[str, list[tuple[Dot, int, int]]] = {}
        self._known_good: set[tuple[str, frozenset[Dot], str]] = set()

    def node(self, slot: Slot, engine: Engine, record: Record) -> None:
        """Compare every live lane of every cell, and what the flags show."""
        for name in sorted(engine.projects):
            project = engine.projects[name]
            oracle = self._follow(name, record)
            replica = project.replica
            key = (name, frozenset({**replica.retired, **replica.vv}.items()), replica.root_hash())
            if key in self._known_good:
                continue
            found = list(self._differences(oracle, project))
            for difference in found[:3]:
                record.violate("P13", f"{slot.name}, {name}: {difference}")
            if not found:
                self._known_good.add(key)
            self.judged += 1

    # -- telling the graph

    def _follow(self, name: str, record: Record) -> Oracle:
        oracle = self._oracles.setdefault(name, Oracle())
        for dot, change in record.changes.get(name, {}).items():
            if dot not in oracle.events:
                for o in change.operations:
                    if o.object == RETIRED_OBJECT:
                        final = decode(o.payload).value
                        assert isinstance(final, int)
                        self._retirements.setdefault(name, []).append((dot, int(o.field, 16), final))
        for dot, change in sorted(record.changes.get(name, {}).items()):
            if dot not in oracle.events:
                oracle.add(self._event(name, change, record))
        return oracle

    def _event(self, name: str, change: Change, record: Record) -> Event:
        before = self._seen.get((name, (change.incarnation, change.seq - 1)), {})
        claimed = self._with_retired(name, {**before, **dict(change.deps)})
        self._seen[name, change.dot] = claimed
        seen: Mapping[int, int] = claimed
        if change.idempotency is not None:
            seen = self._with_retired(name, record.authored_on[name, change.idempotency[0]])
            if claimed != {i: seq for i, seq in seen.items() if i != change.incarnation}:
                record.violate("P13", f"{change.id} says that its author had seen {claimed}; it was {seen}")
        if change.author == junk.AUTHOR:
            self._junk.add(change.dot)
        operations = []
        for o in change.operations:
            said = decode(o.payload)
            # A removal is told by its first byte alone: any msgpack extension.
            value = REMOVED if o.payload[:1] and o.payload[0] in EXTENSIONS else said.value
            if o.field.startswith("kill/") and value is not REMOVED:
                value = value is not False  # what cannot be read kills
            operations.append(Operation(o.object, o.generation, o.field, said.author, value))
            self._payloads[Address(o.object, o.generation, o.field), change.dot] = o.payload
        return Event(change.dot, change.hlc, seen, tuple(operations))

    def _with_retired(self, name: str, seen: Mapping[int, int]) -> dict[int, int]:
        """``seen``, and all of what the retirements in it have retired."""
        whole = dict(seen)
        before = -1
        while before != len(whole):
            before = len(whole)
            for (by, seq), incarnation, final in self._retirements.get(name, ()):
                if whole.get(by, 0) >= seq:
                    whole[incarnation] = final
        return whole

    # -- comparing

    def _differences(self, oracle: Oracle, project: Project) -> Iterable[str]:
        replica = project.replica
        covered = dots({**replica.retired, **replica.vv})
        unknown = [dot for dot in covered if dot not in oracle.events]
        if unknown:
            yield f"changes that nobody wrote are covered: {unknown[:3]}"
            return
        missing = oracle.missing_pasts(covered)
        if missing:
            yield f"effects without causes: {missing[:3]}"
        for address in oracle.addresses():
            expected = {
                dot: (write.hlc, self._payloads[address, dot])
                for dot, write in oracle.survivors(address, covered).items()
            }
            held = {
                (ln.incarnation, ln.seq): (ln.hlc, ln.payload) for ln in cells.live(replica.cell(*address))
            }
            wrong = [dot for dot, said in held.items() if expected.get(dot) != said]
            gone = expected.keys() - held.keys()
            if wrong or not all(_collected(oracle, address, dot, replica, covered) for dot in gone):
                yield f"{address} holds {sorted(held)}, the graph says {sorted(expected)}"
        if project.name != SYSTEM_PROJECT:
            for key in sorted(
                {a.object.partition("/")[2] for a in oracle.addresses() if a.object.startswith("flag/")}
            ):
                yield from self._shown(oracle, project, key, covered)

    def _shown(self, oracle: Oracle, project: Project, key: str, covered: Collection[Dot]) -> Iterable[str]:
        name = f"flag/{key}"
        state = project.flag(key)
        generations = oracle.generations(name, covered)
        if state is None or not generations:
            if (state is None) != (not generations):
                yield f"{name} is shown: {state is not None}; the graph has {generations}"
            return
        if state.generation != generations[0].generation:
            yield f"{name} shows {state.generation}, the graph {generations[0]}"
            return
        yield from self._fields(oracle, project, state, name, covered)

    def _fields(
        self, oracle: Oracle, project: Project, state: FlagState, name: str, covered: Collection[Dot]
    ) -> Iterable[str]:
        def winner(field: str) -> object:
            write = oracle.winner(Address(name, state.generation, field), covered)
            if write is not None and write.dot in self._junk:
                return UNREADABLE
            return None if write is None else write.value

        shown: dict[str, object] = {"description": state.description, "owner": state.owner}
        for environment in project.environments:
            part = state.environments[environment]
            shown[f"env/{environment}/enabled"] = part.enabled
            shown[f"env/{environment}/default"] = part.default
            if part.kill != oracle.killed(Address(name, OUTSIDE, f"kill/{environment}"), covered):
                yield f"{name} in {environment} is killed: {part.kill}"
        for field, value in shown.items():
            expected = winner(field)
            if expected is not UNREADABLE and (value or None) != (expected or None):
                yield f"{name} {field} is {value!r}, the graph says {expected!r}"
        tags = {
            a.field.removeprefix("tag/")
            for a in oracle.addresses(name)
            if a.generation == state.generation and a.field.startswith("tag/") and oracle.present(a, covered)
        }
        if set(state.tags) != tags:
            yield f"{name} has tags {sorted(state.tags)}, the graph says {sorted(tags)}"
        if state.needs_review != oracle.needs_review(name, state.generation, covered):
            yield f"{name} needs review: {state.needs_review} ({EXISTENCE})"


def _collected(
    oracle: Oracle, address: Address, dot: Dot, replica: Replica, covered: Collection[Dot]
) -> bool:
    """Whether a node may have taken a surviving write out of its state."""
    if replica.floor.get(dot[0], 0) < dot[1] and dot[0] not in replica.retired:
        return False
    survivors = oracle.survivors(address, covered)
    if all(write.value is REMOVED for write in survivors.values()):
        return True
    existence = oracle.survivors(Address(address.object, address.generation, EXISTENCE), covered)
    return bool(existence) and all(write.value is REMOVED for write in existence.values())
