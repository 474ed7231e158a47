"""What the HTTP interface needs of the node behind it; the engine is the one implementation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from vexil.crdt.change import Dot
from vexil.node.authoring.intent import Intent
from vexil.node.backup import BackupStream
from vexil.node.directory import Directory
from vexil.node.feeds import Feeds
from vexil.node.project import Project


class Outcome(Protocol):
    """A write's outcome. ``change_id`` is None if there was nothing to write."""

    @property
    def change_id(self) -> str | None:
        """The change as the API names it."""

    @property
    def hlc(self) -> int | None:
        """Its stamp."""

    @property
    def dot(self) -> Dot | None:
        """Its name."""

    @property
    def durability(self) -> str:
        """What has been reached."""

    @property
    def replayed(self) -> bool:
        """An earlier try with the same idempotency key had made it."""


class Pages(Protocol):
    """The audit trail."""

    async def page(
        self,
        project: Project,
        *,
        flag: str | None = None,
        author: str | None = None,
        after_ms: int | None = None,
        until_ms: int | None = None,
        page_size: int = 100,
        page_token: str | None = None,
    ) -> tuple[list[dict[str, Any]], str | None]:
        """Items newest first and the next page's token. Raises StoreError, ValueError for a token that is none."""


class Backups(Protocol):
    """Makes the files of backups."""

    async def begin(self, project: Project) -> BackupStream:
        """The file of the project as it is now. Raises ApiError."""


class Restoring(Protocol):
    """Takes the files of backups in."""

    async def restore(self, name: str, data: bytes, *, author: str, dry_run: bool) -> dict[str, Any]:
        """Restore a file as the project ``name``; what was done, or would be. Raises ApiError."""


class Node(Protocol):
    """One node, as its HTTP interface meets it."""

    @property
    def ready(self) -> bool:
        """The state is loaded and one try to catch up has been made."""

    @property
    def directory(self) -> Directory:
        """Projects, keys, members."""

    @property
    def history(self) -> Pages:
        """The audit trail."""

    @property
    def backups(self) -> Backups:
        """Files from projects."""

    @property
    def feeds(self) -> Feeds:
        """Who follows which environment."""

    @property
    def restoring(self) -> Restoring:
        """Projects from files."""

    def project(self, name: str) -> Project | None:
        """A project that exists, `_system` among them."""

    def project_names(self) -> list[str]:
        """Projects that exist, sorted, without `_system`."""

    async def write(
        self,
        project: str,
        decide: Callable[[Project], Intent],
        *,
        author: str,
        message: str = "",
        idempotency: tuple[str, bytes] | None = None,
        durability: str = "",
        retry_of: Dot | None = None,
    ) -> Outcome:
        """Decide and write one change; ``decide`` may run more than once. Raises ApiError."""

    async def wait_for(self, project: str, vv: Mapping[int, int], timeout_ms: float) -> bool:
        """Wait until the project's state covers ``vv``; False if time ran out."""

    def as_of_ms(self) -> dict[str, int | None]:
        """Per region, how old the oldest knowledge of one of its members is; None: never heard."""

    def status(self) -> dict[str, Any]:
        """What ``GET /api/v1/status`` answers."""

    @property
    def name(self) -> str:
        """Its slot."""

    def members(self) -> list[dict[str, Any]]:
        """What ``GET /api/v1/members`` lists."""

    def return_now(self) -> None:
        """Begin anew as a new registration, soon. Raises MemberRefused for a member."""


class Links(Protocol):
    """Peer links that a drill may cut."""

    def set(self, a: str, b: str, *, cut: bool) -> None:
        """Cut the link between two places, or mend it. Raises ValueError if too many are cut."""
