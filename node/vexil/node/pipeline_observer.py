"""What a node does with what its pipeline tells it: a change has come in, a batch is visible, one was refused.

Nothing here yields or raises: the pipeline goes on with the next batch when these return.
"""

from __future__ import annotations

from vexil.crdt import retired
from vexil.crdt.change import Change
from vexil.node import astray
from vexil.node.astray import Vectors
from vexil.node.caretaker import Caretaker
from vexil.node.feeds import Feeds
from vexil.node.gossip.intake import stop
from vexil.node.gossip.loops import Loops
from vexil.node.node_state import NodeState
from vexil.node.project import Project
from vexil.node.seams import AsideRecord, JournalFull, StoreError
from vexil.node.writing import Writing


class PipelineObserver(NodeState):
    """`pipeline.Observer`, for a node that has loaded."""

    writing: Writing
    loops: Loops
    caretaker: Caretaker
    feeds: Feeds

    def tick(self) -> int:
        """The HLC of a new local change."""
        return self.clock_guard.tick()

    def observe(self, change: Change) -> None:
        """Take a received change's stamp and lag into account."""
        self.clock_guard.observe(change)

    def applied(self, project: Project, change: Change, *, local: bool) -> None:
        """A change is in the journal and in memory."""
        self._own_writer().note(project.name, change)
        self.caretaker.collector.note(project.name, change)
        self.seams.telemetry.count_applied(project.name, local=local)
        if project is self.system:
            self._system_changes.append(change)
        if not local and retired.of_change(change):
            self.look_for_the_end(project)
        if local:
            self.loops.push(project.name, change.raw)

    def advanced(self, project: Project) -> None:
        """A batch has been applied."""
        if project is self.system:
            changes, self._system_changes = self._system_changes, []
            self.directory.refresh(changes)
            self._forget_what_waits()
            self.caretaker.follow_members()
            self.following.follow()
            self.enrolment.look()
            twin = self.enrolment.twin()
            if twin is not None:
                self.caretaker.twin(twin)
        self.feeds.advanced(project)
        self.writing.advanced(project.name)

    def _forget_what_waits(self) -> None:
        """Of evicted nodes nothing goes on waiting: what a member has of it comes again, and the rest never may.

        The evicted node waits for us to know of its end, and issues it again under another name.
        """
        waiting = [project for project in self.projects.values() if project.waiting]
        ended = astray.evicted_incarnations(self.directory) if waiting else set[int]()
        for project in waiting:
            for dot in [dot for dot in project.waiting if dot[0] in ended]:
                del project.waiting[dot]

    def look_for_the_end(self, project: Project) -> None:
        """Whether we have what an evicted node wrote beyond its end: then this state is nobody's to go on from."""
        if astray.beyond_the_end(project.replica, self.forks.incarnations):
            self.enrolment.beyond_the_end()

    def is_astray(self, seen: Vectors) -> bool:
        """Whether ``seen`` names changes of an evicted node beyond the end at which it is retired here."""
        return astray.is_astray(seen, self.projects, self.directory)

    def forked(self, project: Project, change: Change, sender: str) -> None:
        """A change contradicts what is known of its incarnation."""
        if change.incarnation != self.incarnation:
            stop(project, change.incarnation)
        if self.is_astray({project.name: {change.incarnation: change.seq}}):
            # No copy runs: its sender has it of a node that was evicted, and hears or sees that it has to begin anew.
            return
        self.fork_seen(project.name, change.incarnation, sender)

    def fork_seen(self, project: str, incarnation: int, sender: str) -> None:
        """Another history of ``incarnation`` is about."""
        self.forks.note(project, incarnation, sender)

    def below_floor(self, project: Project, change: Change) -> None:
        """The author of a change had not seen all that has been collected here: it has to begin anew."""
        stop(project, change.incarnation)
        self.stranded.note(change.incarnation)

    def put_aside(self, record: AsideRecord) -> None:
        """Keep a change for a person, once."""
        if self.alarms.aside(record) and self._nursery is not None:
            self._nursery.start_soon(self.store_aside, record)

    async def store_aside(self, record: AsideRecord) -> None:
        """Keep a change for a person; a store that fails is counted."""
        try:
            await self.seams.store.put_aside(record)
        except StoreError as error:
            self.alarms.store_failed(error)

    def journalled(self, records: int, seconds: float) -> None:
        """One append went through."""
        self.seams.telemetry.observe_journal(records, seconds)

    def journal_full(self, error: JournalFull) -> None:
        """An append failed for good."""
        self.alarms.journal_full(error)
