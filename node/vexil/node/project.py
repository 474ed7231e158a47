"""One project on one node: the replica, and the views of it that are read.

A view is a pure function of the cells. After every batch of changes the objects that were touched are read again,
each once, and put into the flag sets, the conflict list and the quarantine list; nothing else is ever served. An
object that cannot be read for a reason of ours is quarantined alone.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, cast

import trio

from vexil.crdt import schema
from vexil.crdt.cell import live
from vexil.crdt.change import Change, Dot
from vexil.crdt.flag_document import document
from vexil.crdt.flag_reader import read_flag, read_switches, switches_among
from vexil.crdt.flag_state import FlagState
from vexil.crdt.flagd_state import read_flagd
from vexil.crdt.limits import SEGMENT_MEMBERS_MAX
from vexil.crdt.materialise import ConflictRecord
from vexil.crdt.payload import TOMBSTONE, UNREADABLE, decode
from vexil.crdt.pen import NEW_GENERATION
from vexil.crdt.policy import latest
from vexil.crdt.replica import Replica
from vexil.crdt.segment_state import SegmentState, read_segment, segment_document, update_members
from vexil.node.idempotency import IdempotencyIndex
from vexil.node.parked_conflicts import ParkedConflicts
from vexil.node.requirers import Requirers
from vexil.node.segment_views import document_of, only_members
from vexil.node.served_changes import EVALUATORS, METADATA, ServedChanges, same
from vexil.sdk.model import BUCKETING, FlagDocument, FlagSet, SegmentDocument

WAITING_MAX = 4_096
"""Changes that came before what they depend on; beyond it they are left to the next pull."""
WAITING_CHANGE_BYTES_MAX = 16 << 10
"""A larger change does not wait: it is left to the next pull. Together they bound the memory of what waits."""
TURN_OBJECTS = 512
"""Of a project that is read as a whole so many objects are read in one turn of the event loop (some 15 ms)."""
INTERNAL_DEFECT = "internal"
"""Why an object is quarantined that our own reader failed on."""

_PREFIX = len(schema.MEMBER_PREFIX)

OnDefect = Callable[[str, str, Exception], None]


class Views(NamedTuple):
    """What is read of a project: the owner's own objects, not copies."""

    flag_sets: dict[str, FlagSet]
    flag_keys: list[str]
    segments: dict[str, SegmentState]
    segment_keys: list[str]
    conflicts: dict[str, tuple[ConflictRecord, ...]]
    quarantined: dict[str, str]


class Project:
    """State and views of one project. Not thread-safe; no method gives the event loop a turn."""

    def __init__(self, name: str, replica: Replica, *, on_defect: OnDefect) -> None:
        """A project over ``replica``, without environments yet. ``on_defect(project, object, error)`` counts."""
        self.name = name
        self.replica = replica
        self.environments: tuple[str, ...] = ()
        self.bucketing = "v3"
        self.idempotency = IdempotencyIndex(self.has)
        self.waiting: dict[Dot, Change] = {}
        self.forked: set[int] = set()
        """Incarnations of which two histories are known in the cluster; the engine's own set."""
        self.stopped: set[int] = set()
        """Incarnations of which nothing more is taken: see `vexil.node.gossip.intake`."""
        self.pulling = False
        self.offered_until_s = -1.0
        """Until then (`trio.current_time()`) a peer is expected to push us more pages."""
        self.merging = False
        """A snapshot is being merged: until it is through, nobody else may take anything out of the replica."""
        self.snapshots_taken = 0
        self.log_turn = trio.Lock()
        """Whoever drops rows at the old end of the log, or adds some there, has it."""
        self.changes_applied = 0
        self.digest_cache: tuple[int, bytes] | None = None
        self.quarantined: dict[str, str] = {}
        """Object -> the defect that puts it on the off path."""
        self.followed_by: Callable[[str], None] | None = None
        """Told of every object that was read again; see `vexil.node.rereading`."""
        self.served_changes: ServedChanges | None = None
        """Told what becomes of what is served, while somebody follows it; `vexil.node.feeds` takes it."""
        self.on_defect = on_defect
        self._flag_sets: dict[str, FlagSet] = {}
        self._flag_keys: list[str] = []
        self._requirers = Requirers()
        self._segments: dict[str, SegmentState] = {}
        self._segment_keys: list[str] = []
        self.not_exportable = 0
        """How many flags flagd documents leave out, over all environments; `vexil.node.upkeep` keeps it."""
        self._conflicts: dict[str, tuple[ConflictRecord, ...]] = {}
        self._parked = ParkedConflicts()

    # -- reading

    def has(self, dot: Dot) -> bool:
        """Whether the change is in this state."""
        return self.replica.known(dot[0]) >= dot[1]

    def flag(self, key: str) -> FlagState | None:
        """The flag as its cells say now; None if there is none."""
        return read_flag(key, self.replica.cells(schema.flag_object(key)), self.environments)

    def flag_keys(self) -> Sequence[str]:
        """Keys of all flags, sorted. Do not change it."""
        return self._flag_keys

    def requirers(self, key: str) -> Collection[str]:
        """Keys of the flags that have a prerequisite on the flag ``key``, in no order. Do not keep it."""
        return self._requirers.of(key)

    def segment(self, key: str) -> SegmentState | None:
        """The segment; None if there is none."""
        return self._segments.get(key)

    def segment_keys(self) -> Sequence[str]:
        """Keys of all segments, sorted. Do not change it."""
        return self._segment_keys

    def flag_set(self, environment: str) -> FlagSet:
        """What is evaluated in ``environment``. Raises KeyError for an unknown one."""
        return self._flag_sets[environment]

    def conflicts(self) -> list[ConflictRecord]:
        """Every race and defect, by object; behind them every parked change."""
        races = [record for name in sorted(self._conflicts) for record in self._conflicts[name]]
        return [*races, *self._parked.records(self.replica)]

    @property
    def conflict_count(self) -> int:
        """How many records `conflicts` has."""
        return sum(map(len, self._conflicts.values())) + self._parked.count(self.replica)

    def shown_value(self, name: str, generation: Dot, field: str) -> object:
        """What the newest live lane of a cell says; None where nothing is shown. For the audit trail."""
        if generation == NEW_GENERATION:
            return None
        lane = latest(live(self.replica.cell(name, generation, field)))
        if lane is None:
            return None
        value = decode(lane.payload).value
        return None if value is TOMBSTONE or value is UNREADABLE else value

    # -- following the replica

    def wait(self, change: Change) -> None:
        """Keep a change until what it depends on is here; bounded by `WAITING_MAX`. None of a stopped incarnation."""
        small = len(change.raw) <= WAITING_CHANGE_BYTES_MAX
        if small and len(self.waiting) < WAITING_MAX and change.incarnation not in self.stopped:
            self.waiting[change.dot] = change

    def configure(self, environments: Sequence[str], bucketing: str) -> bool:
        """Take the project's settings from `_system`; reads everything again, at once, if they are others now."""
        if not self.set_up(environments, bucketing):
            return False
        self.refresh_all()
        return True

    def set_up(self, environments: Sequence[str], bucketing: str) -> bool:
        """Take settings; False if they are none other. What they change is to be read before anything is served."""
        wanted = tuple(sorted(environments))
        if wanted == self.environments and bucketing == self.bucketing:
            return False
        self._settle(wanted, bucketing, {e: self._flag_sets.get(e) or FlagSet() for e in wanted})
        return True

    def refresh_all(self) -> None:
        """Read every object."""
        for _ in self.refresh_in_turns():
            pass

    def refresh_in_turns(self) -> Iterator[None]:
        """Read every object that is there now, step by step, each step `TURN_OBJECTS` at most.

        Between two steps changes may be applied and `refresh`ed; nothing may be served before the last step.
        """
        names = list(self.replica.objects)
        for start in range(0, len(names), TURN_OBJECTS):
            for name in names[start : start + TURN_OBJECTS]:
                self._refresh(name, ())
            yield
        self._stamp()

    def views(self) -> Views:
        """What has been read, for `vexil.node.rereading`."""
        return Views(
            self._flag_sets,
            self._flag_keys,
            self._segments,
            self._segment_keys,
            self._conflicts,
            self.quarantined,
        )

    def take_over(
        self,
        environments: tuple[str, ...],
        bucketing: str,
        *,
        added: Mapping[str, FlagSet],
        conflicts: dict[str, tuple[ConflictRecord, ...]],
        quarantined: dict[str, str],
    ) -> None:
        """Take settings with everything that was read for them elsewhere; ``environments`` are sorted.

        Environments that stay keep their flag sets: what is in them does not depend on the others.
        """
        self._settle(environments, bucketing, {e: self._flag_sets.get(e) or added[e] for e in environments})
        self._conflicts = conflicts
        self.quarantined = quarantined
        self._stamp()

    def _settle(self, environments: tuple[str, ...], bucketing: str, flag_sets: dict[str, FlagSet]) -> None:
        if self.served_changes is not None and bucketing != self.bucketing:
            self.served_changes.everything()
        self.environments = environments
        self.bucketing = bucketing
        self._flag_sets = flag_sets
        for flag_set in flag_sets.values():
            flag_set.bucketing = bucketing

    def refresh(self, changes: Iterable[Change]) -> None:
        """Read what ``changes``, just applied, have touched; each object once."""
        touched: dict[str, list[str]] = {}
        for change in changes:
            for operation in change.operations:
                touched.setdefault(operation.object, []).append(operation.field)
        for name, fields in touched.items():
            self._refresh(name, fields)
            if self.followed_by is not None:
                self.followed_by(name)
        self._stamp()

    def refresh_objects(self, names: Iterable[str]) -> None:
        """Read these objects wholly, whatever has become of them; the sets' version stays as it was."""
        for name in names:
            self._refresh(name, ())

    def aside(self, replica: Replica) -> Project:
        """Views of ``replica`` under this project's settings, empty so far, to be made while this one goes on."""
        views = Project(self.name, replica, on_defect=self.on_defect)
        views.environments, views.bucketing = self.environments, self.bucketing
        views._flag_sets = {e: FlagSet(bucketing=self.bucketing) for e in self.environments}
        return views

    def adopt(self, views: Project) -> list[FlagSet]:
        """Show from now on what ``views`` (from `aside`) has read: the replica has just become what it was made of.

        Returns what was shown, for the caller to let go of piece by piece: to free it at once would take long.
        """
        views.configure(self.environments, self.bucketing)
        shown = list(self._flag_sets.values())
        self._flag_sets = views._flag_sets
        self._flag_keys, self._segment_keys = views._flag_keys, views._segment_keys
        self._requirers = views._requirers
        self._segments = views._segments
        self._conflicts, self.quarantined = views._conflicts, views.quarantined
        self._parked = views._parked
        if self.served_changes is not None:
            self.served_changes.everything()
        self._stamp()
        return shown

    def _stamp(self) -> None:
        if self._flag_sets:
            version = self.replica.root_hash()
            if self.bucketing != BUCKETING:
                # The same documents, and other answers.
                version += f"-{self.bucketing}"
            for flag_set in self._flag_sets.values():
                flag_set.version = version

    def _refresh(self, name: str, fields: Sequence[str]) -> None:
        self._parked.touched(name)
        parsed = schema.parse_object(name)
        if parsed is None:
            return
        kind, key = parsed
        try:
            if kind == schema.FLAG:
                if not self._refresh_switches(name, key, fields):
                    self._refresh_flag(name, key)
            elif kind == schema.PARKED:
                self._parked.read(name, self.replica)
            elif kind == schema.SEGMENT:
                self._refresh_segment(name, key, fields)
            elif kind == schema.FLAGD:
                self._refresh_flagd(name, key)
        except Exception as error:  # noqa: BLE001 - a bug of ours in one object's reading must not stop the others
            self.quarantined[name] = INTERNAL_DEFECT
            self.on_defect(self.name, name, error)

    def _refresh_flag(self, name: str, key: str) -> None:
        state = read_flag(key, self.replica.cells(name), self.environments)
        self._requirers.read(key, () if state is None else state.prerequisites)
        if state is None:
            self._forget(name, key, self._flag_keys)
            for environment in self._flag_sets:
                self._serve_flag(environment, key, None)
            return
        _add_sorted(self._flag_keys, key)
        for environment in self._flag_sets:
            self._serve_flag(environment, key, cast(FlagDocument, document(state, environment)))
        broken = state.broken or next((e.broken for e in state.environments.values() if e.broken), None)
        self._record(name, (*state.conflicts, *state.problems), broken)

    def _refresh_switches(self, name: str, key: str, fields: Sequence[str]) -> bool:
        """Flip what ``fields`` have switched in the documents as they are; False if more may be another now."""
        switches = switches_among(fields)
        if switches is None or name in self._conflicts or name in self.quarantined:
            return False
        read = read_switches(self.replica.cells(name), switches)
        served = [flag_set.flags.get(key) for flag_set in self._flag_sets.values()]
        if read is None or not all(served) or any(d["type"] != read.type for d in served if d):
            return False
        for environment, enabled in read.enabled.items():
            flag_set = self._flag_sets.get(environment)
            if flag_set is not None:
                self._serve_flag(environment, key, {**flag_set.flags[key], "enabled": enabled})
        return bool(served)

    def _serve_flag(self, environment: str, key: str, made: FlagDocument | None) -> None:
        flag_set = self._flag_sets[environment]
        if self.served_changes is not None:
            self.served_changes.flag(environment, key, flag_set.flags.get(key), made)
        flag_set.replace_flag(key, made)

    def _refresh_segment(self, name: str, key: str, fields: Sequence[str]) -> None:
        cells = self.replica.cells(name)
        state = self._segments.get(key)
        if state is not None and any(f.lends_members(key) for f in self._flag_sets.values()):
            # An answer that is being made goes on with the members that it has begun with.
            state = self._segments[key] = replace(state, members=set(state.members))
        noted = self.served_changes
        if noted is not None and state is not None:
            noted.members(
                key, [f[_PREFIX:] for f in fields if f.startswith(schema.MEMBER_PREFIX)], state.members
            )
        if (
            state is not None
            and name not in self._conflicts
            and name not in self.quarantined
            and only_members(state, cells, fields)
            and update_members(state.members, cells, shown=state.generation, fields=fields)
            and len(state.members) <= SEGMENT_MEMBERS_MAX
        ):
            self._serve_segment(key, segment_document(state))
            return
        before, state = state, read_segment(key, cells)
        if noted is not None:
            noted.segment(key, document_of(before), document_of(state))
        if state is None:
            self._segments.pop(key, None)
            self._forget(name, key, self._segment_keys)
            self._serve_segment(key, None)
            return
        self._segments[key] = state
        _add_sorted(self._segment_keys, key)
        self._serve_segment(key, segment_document(state))
        self._record(name, (*state.conflicts, *state.problems), state.rules_broken)

    def _serve_segment(self, key: str, made: dict[str, Any] | None) -> None:
        for flag_set in self._flag_sets.values():
            flag_set.replace_segment(key, cast(SegmentDocument | None, made))

    def _refresh_flagd(self, name: str, environment: str) -> None:
        state = read_flagd(environment, self.replica.cells(name))
        flag_set = self._flag_sets.get(environment)
        if flag_set is not None:
            evaluators, metadata = dict(flag_set.evaluators), dict(flag_set.metadata)
            if self.served_changes is not None:
                self.served_changes.setting(environment, EVALUATORS, evaluators, state.evaluators)
                self.served_changes.setting(environment, METADATA, metadata, state.metadata)
            if not same(evaluators, state.evaluators):
                flag_set.set_evaluators(state.evaluators)
            flag_set.set_metadata(state.metadata)
        self._record(name, (*state.conflicts, *state.problems), None)

    def _record(self, name: str, records: tuple[ConflictRecord, ...], broken: str | None) -> None:
        if records:
            self._conflicts[name] = records
        else:
            self._conflicts.pop(name, None)
        if broken is not None:
            self.quarantined[name] = broken
        else:
            self.quarantined.pop(name, None)

    def _forget(self, name: str, key: str, keys: list[str]) -> None:
        self._conflicts.pop(name, None)
        self.quarantined.pop(name, None)
        at = bisect_left(keys, key)
        if at < len(keys) and keys[at] == key:
            del keys[at]


def _add_sorted(keys: list[str], key: str) -> None:
    if not keys or key > keys[-1]:
        keys.append(key)
        return
    at = bisect_left(keys, key)
    if keys[at] != key:
        insort(keys, key)
