"""What a node holds in memory, before anything is done with it: who it is, its clock, its projects, its peers.

Here is only what needs nobody around it, and what can be asked of it: which projects there are, who is a member.
How it changes is said one layer up each: `pipeline_observer` (a change has come in), `gossip_host` (a peer wants
something), `engine` (a process begins and ends).
"""

from __future__ import annotations

from collections.abc import Callable

import trio

from vexil.crdt import hlc as hlcs
from vexil.crdt import schema
from vexil.crdt.change import Change
from vexil.crdt.replica import Replica
from vexil.node.alarms import Alarms
from vexil.node.clock_guard import ClockGuard
from vexil.node.directory import Directory
from vexil.node.engine_types import EngineSettings, Seams
from vexil.node.enrolment import EVICTED, Enrolment
from vexil.node.following import Following
from vexil.node.forks import Forks, fresh_incarnation
from vexil.node.gossip.links import Links
from vexil.node.gossip.messages import PROJECTS_MAX
from vexil.node.gossip.peers import Freshness, Peer
from vexil.node.gossip.service import ENDED
from vexil.node.membership import refusal, registration_of
from vexil.node.own_log import OwnLog
from vexil.node.project import Project
from vexil.node.region_writer import RegionWriter
from vexil.node.seams import PeerIdentity, PeerRefused
from vexil.node.stranded import Stranded


class NodeState:
    """A node that has not loaded anything yet; the layers above fill it and keep it up."""

    enrolment: Enrolment
    following: Following

    def __init__(
        self,
        settings: EngineSettings,
        seams: Seams,
        *,
        on_fork: Callable[[int], None],
        on_stranded: Callable[[int], None],
    ) -> None:
        """Under a fresh incarnation, with an empty `_system`.

        ``on_fork`` and ``on_stranded`` are called with an incarnation of which another history is known, or whose
        author has to begin anew.
        """
        self.settings = settings
        self.seams = seams
        self.alarms = Alarms(seams.telemetry, seams.log)
        self.identity = PeerIdentity(settings.name, settings.region)
        self.incarnation = fresh_incarnation(seams.entropy)
        self.registration = registration_of(self.incarnation)
        self.stored_registration: str | None = None
        self.clock = hlcs.HybridClock(ahead_limit_ms=settings.clock_skew_limit_ms)
        self.projects: dict[str, Project] = {}
        self.system = Project(schema.SYSTEM_PROJECT, Replica(), on_defect=self.alarms.defect)
        self.forks = Forks(self.alarms, on_fork)
        self.system.forked = self.forks.incarnations
        self.stranded = Stranded(on_stranded)
        self.directory = Directory(self.system)
        self.peers: dict[str, Peer] = {}
        self.links = Links()
        self.freshness = Freshness()
        self.clock_guard = ClockGuard(
            self.clock,
            seams.clock,
            self.directory,
            self.peers,
            seams.telemetry,
            skew_limit_ms=settings.clock_skew_limit_ms,
        )
        self._system_changes: list[Change] = []
        """Those of the batch that is being applied."""
        self.own_log = OwnLog(seams.journal, seams.store, self.forks)
        self.writer: RegionWriter | None = None
        self.ready = False
        self.serving_peers = False
        self._nursery: trio.Nursery | None = None
        """Of the process that runs; None while the node only loads."""

    @property
    def name(self) -> str:
        """The slot."""
        return self.settings.name

    def wall_ms(self) -> int:
        """Our wall clock."""
        return self.seams.clock.wall_ms()

    @property
    def last_hlc(self) -> int:
        """The highest stamp that this node has given or believed."""
        return self.clock.last

    # -- who is who

    def is_member(self, node: str, registration: str) -> bool:
        """Whether ``node`` is registered in our state, under just this registration."""
        member = self.directory.members.get(node)
        return member is not None and member.holds(registration)

    def why_no_member(self, node: str, registration: str) -> PeerRefused | None:
        """What a caller is told of whom nothing is taken; None for a member."""
        return refusal(self.directory, node, registration)

    def while_member(self, node: str, registration: str) -> Callable[[], None]:
        """A check that raises PeerRefused once the ``registration`` under which ``node`` calls or answers is over.

        For what is on its way from it. Of whom nothing is known here, as of a sponsor, is not checked.
        """

        def check() -> None:
            refused = self.why_no_member(node, registration)
            if refused is not None and refused.code in ENDED:
                raise refused

        return check

    @property
    def evicted(self) -> bool:
        """We are no member any more."""
        return self.enrolment.standing == EVICTED

    @property
    def returning(self) -> bool:
        """There is a state of an earlier registration of this slot."""
        return bool(self.seams.archives)

    # -- projects

    def project(self, name: str) -> Project | None:
        """The project, if it exists for users (or is `_system`)."""
        state = self.directory.projects.get(name)
        if name == schema.SYSTEM_PROJECT or (state is not None and state.exists):
            return self.projects.get(name) or self.open_project(name)
        return None

    def project_names(self) -> list[str]:
        """Projects that exist, sorted, without `_system`."""
        return sorted(name for name, state in self.directory.projects.items() if state.exists)

    def open_project(self, name: str) -> Project | None:
        """The project, made empty if it is not here yet; None if there are too many or the name cannot be one."""
        project = self.projects.get(name)
        if project is None:
            if name == schema.SYSTEM_PROJECT:
                project = self.system
            elif len(self.projects) < PROJECTS_MAX and schema.parse_object(schema.project_object(name)):
                project = self.make_project(name, Replica())
            else:
                return None
            self.projects[name] = project
            if self.writer is not None:
                self.writer.replicas[name] = project.replica
            self.following.configure(name)
        return project

    def make_project(self, name: str, replica: Replica) -> Project:
        """A project that is not here yet, put among the others."""
        project = Project(name, replica, on_defect=self.alarms.defect)
        project.forked = self.forks.incarnations
        self.projects[name] = project
        return project

    def _own_writer(self) -> RegionWriter:
        assert self.writer is not None, "the node has loaded"
        return self.writer
