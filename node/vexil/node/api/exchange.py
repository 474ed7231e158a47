"""One request and its answer, as a handler meets them.

A handler is ``async def handler(call: Call) -> Answer``. By the time it is called the caller is known and may do what
the route is for, the project is there, the body has been read, and the state includes the request's token or
``behind`` says that it does not.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

from trio import CapacityLimiter

from vexil.node import errors
from vexil.node.api import event_stream, json_body
from vexil.node.api.auth import Authenticator, Caller
from vexil.node.api.documents import Documents
from vexil.node.api.flag_set_documents import FlagSetDocuments
from vexil.node.api.flag_set_patches import FlagSetPatches
from vexil.node.api.limits import ApiLimits
from vexil.node.api.port import Links, Node
from vexil.node.api.query import Query
from vexil.node.api.request_body import BoundedRequest
from vexil.node.api.tickets import Tickets
from vexil.node.api.tokens import Seen, TokenMint
from vexil.node.metrics import Metrics
from vexil.node.project import Project
from vexil.node.seams import Clock, Entropy
from vexil.node.telemetry import Log

JSON: Final = "application/json"
PROJECT: Final = "project"
"""The name under which routes have the project in their path."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """What every request of one app shares."""

    node: Node
    clock: Clock
    entropy: Entropy
    rng: Random
    log: Log
    metrics: Metrics
    limits: ApiLimits
    authenticator: Authenticator
    documents: Documents
    flag_sets: FlagSetDocuments
    patches: FlagSetPatches
    tickets: Tickets
    links: Links | None
    """None: this node is not in dev mode."""
    mint: TokenMint = field(default_factory=TokenMint)
    token_waits: CapacityLimiter
    imports: CapacityLimiter

    def new_id(self) -> str:
        """An id for a rule that came without one."""
        return self.entropy.token_bytes(RULE_ID_BYTES).hex()


RULE_ID_BYTES: Final = 6


@dataclass(slots=True)
class Answer:
    """What goes back. ``body`` is JSON data, bytes that are encoded already, or an async iterable of such bytes.

    Of the last kind nothing is held in memory. Once its first piece was asked for it is closed, whatever becomes of the
    request: it has an ``aclose``.
    """

    body: object = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    content_type: str = JSON
    live_piece_s: float | None = None
    """It goes on until one side ends it: it ends when a piece is not taken in this time, or the caller goes away."""

    def encoded(self) -> bytes:
        """The body's bytes."""
        return self.body if isinstance(self.body, bytes) else json_body.encode(self.body)


@dataclass(slots=True)
class Call:
    """One request. ``arguments`` are the named parts of its path."""

    services: Services
    request: BoundedRequest
    route: Route
    arguments: Mapping[str, str]
    query: Query
    body: bytes = b""
    behind: bool = False
    wanted: Seen | None = None
    """What its token has, if it was made to wait for it."""
    resumes: Seen | None = None
    """What the last event says that its caller was sent of a stream."""
    wrote: int | None = None
    """The incarnation under which the last change of this request was written."""
    _caller: Caller | None = None
    _project: Project | None = None

    @property
    def node(self) -> Node:
        """The node that answers."""
        return self.services.node

    @property
    def caller(self) -> Caller:
        """Who calls. Not on open routes."""
        assert self._caller is not None, "an open route has no caller"
        return self._caller

    @property
    def is_identified(self) -> bool:
        """Whether the caller is known."""
        return self._caller is not None

    @property
    def project(self) -> Project:
        """The project that the request is about."""
        assert self._project is not None, "this route is about no project"
        return self._project

    @property
    def has_project(self) -> bool:
        """Whether the request is about a project that is there."""
        return self._project is not None

    def identify(self, caller: Caller) -> None:
        """Say who calls."""
        self._caller = caller

    def enter(self, project: Project | None) -> None:
        """Say what project the request is about."""
        self._project = project

    def header(self, name: str) -> str | None:
        """A request header; None if it was not sent."""
        value: str | None = self.request.headers.get(name)
        return value

    @property
    def if_match(self) -> str | None:
        """The ``If-Match`` header as it came."""
        return self.header("If-Match")

    def json(self) -> Any:
        """The body as JSON. Raises Malformed."""
        return json_body.decode(self.body)

    def stream(self, pieces: AsyncIterator[bytes]) -> Answer:
        """The answer that is this stream of events; to HEAD its headers alone.

        ``pieces`` is to begin to hold something when it is asked for the first one: the answer may never be sent.
        """
        headers = dict(event_stream.HEADERS)
        if self.request.method == "HEAD":
            return Answer(b"", headers=headers, content_type=event_stream.CONTENT_TYPE)
        limit_s = self.services.limits.stream_piece_timeout_s
        return Answer(pieces, headers=headers, content_type=event_stream.CONTENT_TYPE, live_piece_s=limit_s)

    def environment(self, name: str) -> str:
        """``name`` if it is an environment of the project. Raises NotFound."""
        if name not in self.project.environments:
            raise errors.NotFound("environment", name)
        return name


Handler = Callable[[Call], Awaitable[Answer]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Who may use a route: admin keys of at least ``role``, or keys of one of ``kinds``; everybody if neither."""

    role: str = ""
    kinds: frozenset[str] = frozenset()
    everywhere: bool = False
    """The role is needed for all projects, not only for the one in the path."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One row of the interface."""

    method: str
    path: str
    handler: Handler
    access: Access
    writes: bool = False
    """It may change state: a token that is not reached refuses it."""
    any_project: bool = False
    """It may write `_system` too, though it is asked for it by name."""
    query: frozenset[str] = frozenset()
    """Names of the query fields that it knows; another one is refused."""
    any_query: bool = False
    """Query fields that it does not know are passed over (protocols of others)."""
    while_loading: bool = False
    """It answers before the node is ready."""
    bulky: bool = False
    """Its body may be very large: only ``imports_max`` of such requests are taken at one time."""
    system: bool = False
    """It is about `_system`, though its path does not say so."""
    resumes: bool = False
    """It goes on where its ``Last-Event-ID``, a token, says."""
    creates_project: bool = False
    """The project in its path need not be there."""


Routes = Sequence[Route]
