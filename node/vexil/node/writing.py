"""What a client's write goes through: let in, decided and journalled by the pipeline, waited for, and told about.

A write is made once. A retry that names the change of an earlier try is answered from that change, and never written
a second time; what a request has to have seen before it is waited for here as well.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from vexil.crdt import version_vector
from vexil.crdt.change import Dot, decode, render_id
from vexil.node import errors
from vexil.node.authoring.intent import Intent
from vexil.node.clock_guard import ClockGuard
from vexil.node.durability import LEVELS, Durability
from vexil.node.engine_types import Seams, Written
from vexil.node.enrolment import Enrolment
from vexil.node.following import Following
from vexil.node.own_log import OwnLog
from vexil.node.pipeline import LocalJob, Pipeline
from vexil.node.project import Project
from vexil.node.seams import StoreError
from vexil.node.signal import Signal

RETRY_WAIT_MS = 5_000
"""How long a retry that names its change waits for that change to arrive here."""
SETTLE_WAIT_MS = 10_000
"""How long a write of `_system` waits, once it is durable, until large projects are served under their new settings."""


class Node(Protocol):
    """The node that is written to."""

    seams: Seams
    projects: dict[str, Project]
    system: Project
    ready: bool
    clock_guard: ClockGuard
    own_log: OwnLog
    pipeline: Pipeline
    enrolment: Enrolment
    following: Following
    durability: Durability | None

    def project(self, name: str) -> Project | None:
        """The project, if it exists for users (or is `_system`)."""


class Writing:
    """Writes and waits of one node's clients."""

    def __init__(self, node: Node) -> None:
        """Nobody waits for anything yet."""
        self._node = node
        self._advanced: dict[str, Signal] = {}
        """By project, for those that somebody has waited for."""

    def advanced(self, project: str) -> None:
        """A project has more than before, or is served under other settings: whoever waits looks again."""
        signal = self._advanced.get(project)
        if signal is not None:
            signal.notify()

    async def wait_for(self, project: str, vv: Mapping[int, int], timeout_ms: float) -> bool:
        """Wait until the project's state covers ``vv``; False if time ran out.

        That of `_system` includes that every project is served under its settings.
        """
        node = self._node
        target = node.projects.get(project)
        if target is None:
            return not vv

        def holds() -> bool:
            covered = target.replica.covers(vv)
            return covered and (target is not node.system or node.following.settled)

        return await self._signal(project).until(holds, timeout_ms=timeout_ms)

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
    ) -> Written:
        """Decide and write one change; return when it is as durable as asked.

        ``decide`` runs synchronously against the exact state that the change will be based on and may run more than
        once before the write; it raises ApiError to refuse. ``retry_of`` is the change of an earlier try: if it is
        not here in `RETRY_WAIT_MS`, the outcome is still unknown. Raises ApiError.
        """
        node = self._node
        target = node.project(project)
        if not node.ready or target is None:
            if not node.ready:
                raise errors.NodeNotReady("the node is loading its state")
            raise errors.NotFound("project", project)
        node.enrolment.admit_write()
        assert node.durability is not None
        if durability and durability not in LEVELS:
            raise errors.Malformed(f"Vexil-Durability: {durability!r} is none of {', '.join(LEVELS)}")
        if retry_of is not None:
            return await self._retried(target, retry_of, idempotency, durability)
        if idempotency is not None:
            await target.idempotency.until_complete()
        guard = node.durability

        def admit(intent: Intent) -> None:
            if intent.writes:
                guard.admit(durability)
                node.clock_guard.admit(intent)

        committed = await node.pipeline.write(
            LocalJob(target, decide, author, message, idempotency, admit=admit)
        )
        if committed.dot is None:
            return Written(None, None, node.seams.store.durability, None, dict(target.replica.vv))
        # A key that a start has read in the region's log may stand for a change that has not come here yet.
        if committed.replayed and not await self.wait_for(project, dict([committed.dot]), RETRY_WAIT_MS):
            reached = guard.of_log(committed.dot, durability)
        else:
            reached = await guard.reached(project, committed.dot, durability)
        token = version_vector.join(target.replica.vv, dict([committed.dot]))
        if target is node.system:
            # Who has added an environment finds it there; see `Following`.
            await self.wait_for(project, {}, SETTLE_WAIT_MS)
        return Written(
            render_id(committed.dot), committed.hlc, reached, committed.dot, token, committed.replayed
        )

    async def _retried(
        self, project: Project, dot: Dot, idempotency: tuple[str, bytes] | None, durability: str
    ) -> Written:
        """The outcome of an earlier try that was given ``dot``: it is never written a second time."""
        assert self._node.durability is not None
        # Not `wait_for`: of a retired incarnation a vector may name anything, but a change is there or it is not.
        if not await self._signal(project.name).until(
            lambda: project.replica.known(dot[0]) >= dot[1], timeout_ms=RETRY_WAIT_MS
        ):
            raise errors.WriteIndeterminate(
                render_id(dot), "this node has not seen the change that is retried"
            )
        try:
            rows = await self._node.own_log.read(
                project.name, after={dot[0]: dot[1] - 1}, through={dot[0]: dot[1]}, limit_bytes=1
            )
        except StoreError as error:
            raise errors.WriteIndeterminate(render_id(dot), f"the log cannot be read now: {error}") from None
        change = decode(rows[0].raw) if rows else None
        if change is not None and idempotency is not None and change.idempotency != idempotency:
            raise errors.IdempotencyMismatch
        reached = await self._node.durability.reached(project.name, dot, durability)
        hlc = None if change is None else change.hlc
        # The vector leaves out what is retired; a token names it all the same.
        token = version_vector.join(project.replica.vv, dict([dot]))
        return Written(render_id(dot), hlc, reached, dot, token, replayed=True)

    def _signal(self, project: str) -> Signal:
        return self._advanced.setdefault(project, Signal())
