"""What gossip needs of the node around it; the engine is the one implementation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from vexil.crdt.change import Change
from vexil.node.forks import Forks
from vexil.node.pipeline import RemoteJob
from vexil.node.project import Project
from vexil.node.seams import LogRecord, PeerIdentity


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

    def open_project(self, name: str) -> Project | None:
        """The project, made empty if it is not here yet; None if there are too many or the name is not one."""

    def is_member(self, node: str) -> bool:
        """Whether ``node`` is registered in our state: from others nothing is taken."""

    def wall_ms(self) -> int:
        """Our wall clock."""

    async def receive(self, project: Project, changes: Sequence[Change], sender: str) -> RemoteJob:
        """Journal and apply what fits. Raises JournalFull."""

    async def read_log(
        self, project: str, *, after: Mapping[int, int], through: Mapping[int, int], limit_bytes: int
    ) -> Sequence[LogRecord]:
        """A page of the log, from the journal or else from the store. Raises StoreError."""

    async def keep_aside(self, project: str, reason: str, sender: str, raw: bytes) -> None:
        """Keep a change that cannot be taken in, once, and raise the alarm."""

    def fork_seen(self, project: str, incarnation: int, sender: str) -> None:
        """A peer has another history of ``incarnation`` than we have."""

    @property
    def forks(self) -> Forks:
        """Incarnations of which two histories are known."""

    def divergence_seen(self, project: str, peer: str) -> None:
        """Equal vectors, equal chains, unequal root hashes."""

    def count_bytes(self, direction: str, kind: str, count: int) -> None:
        """``direction`` is ``sent`` or ``received``; ``kind`` is ``payload`` or ``digest``."""

    def call_failed(self, peer: str, method: str, error: Exception) -> None:
        """A call to a peer brought nothing; counted, and logged when the peer's state changes."""

    def call_succeeded(self, peer: str) -> None:
        """A call to a peer went through."""

    async def admit_member(self, *, node: str, region: str, peer_url: str, http_url: str) -> None:
        """Register a member by a change of ours, durably. Raises PeerRefused."""
