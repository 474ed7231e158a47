"""What gossip needs of the node around it; the engine is the one implementation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from vexil.crdt.change import Change
from vexil.node.announcements import Announcement, Announcements
from vexil.node.forks import Forks
from vexil.node.own_log import OwnLog
from vexil.node.pipeline import RemoteJob
from vexil.node.project import Project
from vexil.node.seams import AsideRecord, PeerIdentity, PeerRefused
from vexil.node.stranded import Stranded


class Host(Protocol):
    """The node, as its peers' messages meet it."""

    @property
    def identity(self) -> PeerIdentity:
        """Who we are."""

    @property
    def incarnation(self) -> int:
        """Under which incarnation this process writes now."""

    @property
    def projects(self) -> Mapping[str, Project]:
        """Every project that has a replica here."""

    @property
    def serving_peers(self) -> bool:
        """The state is loaded: peers may be answered from it."""

    @property
    def announcements(self) -> Announcements:
        """What the members have promised, as far as it is known here; our own is up to date."""

    def take_announcements(self, announcements: Iterable[Announcement]) -> None:
        """Keep those that are newer and of places that count."""

    @property
    def ready(self) -> bool:
        """The node is level with what it had announced: its state may be given away as a whole."""

    @property
    def last_hlc(self) -> int:
        """The highest stamp that this node has given or believed."""

    def observe_hlc(self, hlc: int) -> None:
        """A peer's highest stamp: believed within the usual bounds."""

    async def stored(self, project: str, vv: Mapping[int, int], *, timeout_ms: float) -> bool:
        """Wait until the region's store holds ``project`` up to ``vv``; False if time ran out."""

    def open_project(self, name: str) -> Project | None:
        """The project, made empty if it is not here yet; None if there are too many or the name is not one."""

    @property
    def registration(self) -> str:
        """Under which registration we are a member, or want to be one."""

    def is_member(self, node: str, registration: str) -> bool:
        """Whether ``node`` is registered in our state, under just this registration."""

    def why_no_member(self, node: str, registration: str) -> PeerRefused | None:
        """What a caller is told of whom nothing is taken; None for a member."""

    def wall_ms(self) -> int:
        """Our wall clock."""

    def while_member(self, node: str, registration: str) -> Callable[[], None]:
        """A check that raises PeerRefused once the ``registration`` under which ``node`` calls or answers is over.

        For what is on its way from it. Of whom nothing is known here, as of a sponsor, is not checked.
        """

    async def receive(
        self, project: Project, changes: Sequence[Change], sender: str, admit: Callable[[], None]
    ) -> RemoteJob:
        """Journal and apply what fits, unless ``admit`` raises when its turn comes. Raises that, and JournalFull."""

    @property
    def own_log(self) -> OwnLog:
        """The log, as far as it reaches back here."""

    def put_aside(self, record: AsideRecord) -> None:
        """Keep a change that cannot be taken in, once, and raise the alarm."""

    def fork_seen(self, project: str, incarnation: int, sender: str) -> None:
        """A peer has another history of ``incarnation`` than we have."""

    @property
    def forks(self) -> Forks:
        """Incarnations of which two histories are known."""

    @property
    def stranded(self) -> Stranded:
        """Incarnations whose author has to begin anew: its state is below somebody's floor."""

    def accepted(self) -> None:
        """A member that is one in its own state too has answered us: it knows us."""

    @property
    def evicted(self) -> bool:
        """We are no member any more: what we answer says nothing about who is one."""

    def divergence_seen(self, project: str, peer: str) -> None:
        """Equal vectors, equal chains, unequal root hashes."""

    def count_bytes(self, direction: str, kind: str, count: int) -> None:
        """``direction`` is ``sent`` or ``received``; ``kind`` is ``payload`` or ``digest``."""

    def call_failed(self, peer: str, method: str, error: Exception) -> None:
        """A call to a peer brought nothing; counted, and logged when the peer's state changes."""

    def call_succeeded(self, peer: str) -> None:
        """A call to a peer went through."""

    def levelled(self, *, asked_s: float) -> None:
        """An exchange that began at ``asked_s`` has brought all that a peer had."""

    def was_evicted(self, node: str) -> bool:
        """Whether the slot ``node`` was evicted, and nobody has it since, as far as is known here."""

    def may_be_astray(self, seen: Mapping[str, Mapping[int, int]]) -> bool:
        """Whether a stranger's state, per project of the vector ``seen``, may hold what an evicted node wrote after."""

    def is_astray(self, seen: Mapping[str, Mapping[int, int]]) -> bool:
        """Whether ``seen`` names changes of an evicted node beyond the end at which it is retired here."""

    async def admit_member(
        self,
        *,
        node: str,
        region: str,
        registration: str,
        peer_url: str,
        http_url: str,
        seen: Mapping[str, Mapping[int, int]],
    ) -> None:
        """Register a member by a change of ours, durably; ``seen`` are the vectors that it has. Raises PeerRefused."""
