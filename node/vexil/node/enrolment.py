"""A node's standing in the cluster: what it writes of itself and of others into `_system`.

A node becomes a member by a sponsor, or makes the cluster if it was told to; it says under which incarnation it runs;
it sponsors others. A bootstrap node on an empty disk cannot tell a new cluster from one whose other nodes are only
away: it begins, and goes on asking its seeds until each of them is a member, so that the two become one.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Protocol

import trio

from vexil.crdt import schema
from vexil.node import errors, membership
from vexil.node.authoring.intent import Intent
from vexil.node.directory import Directory
from vexil.node.engine_types import EngineSettings
from vexil.node.gossip.exchange import Exchange
from vexil.node.gossip.host import Host
from vexil.node.pipeline import LocalJob, Pipeline
from vexil.node.project import Project
from vexil.node.seams import PeerRefused

RETRY_MS = 500
REUNION_MS_MIN = 1_000
REUNION_MS_MAX = 60_000


class Place(Host, Protocol):
    """The node that has the standing."""

    @property
    def directory(self) -> Directory:
        """`_system`, read."""

    @property
    def system(self) -> Project:
        """`_system` itself."""


class Enrolment:
    """Writes a node's part of `_system`. ``run`` of the pipeline must be running."""

    def __init__(
        self, place: Place, exchange: Exchange, pipeline: Pipeline, settings: EngineSettings, rng: Random
    ) -> None:
        """The standing of ``place``; nothing is written yet."""
        self._place = place
        self._pipeline = pipeline
        self._settings = settings
        self._rng = rng
        self._begun: int | None = None
        self._joining = membership.Joining(
            place,
            exchange,
            seeds=settings.seeds,
            peer_url=settings.peer_url,
            http_url=settings.http_url,
            rng=rng,
        )

    async def become_member(self) -> None:
        """Return when this node is a member and `_system` says that its incarnation has begun."""
        settings = self._settings
        if not self._place.is_member(settings.name):
            # Only the bootstrap node, with nothing on its disk and nobody to sponsor it, may make a cluster.
            alone = settings.bootstrap and not self._place.system.replica.vv
            if not (await self._joining.try_once() or alone):
                await self._joining.until_joined()
        self._place.open_project(schema.SYSTEM_PROJECT)
        incarnation = self._place.incarnation

        def register(_: Project) -> Intent:
            intent = membership.registration(
                self._place.directory,
                node=settings.name,
                region=settings.region,
                peer_url=settings.peer_url,
                http_url=settings.http_url,
            )
            return Intent([*intent.writes, *self._begin(incarnation).writes])

        await self._until_written(register, "the node has started")
        self._begun = incarnation

    async def reunite(self) -> None:
        """Ask the seeds, ever more rarely, until each of them is a member here."""
        pause_ms = REUNION_MS_MIN
        while True:
            known = {m.peer_url for m in self._place.directory.members.values() if m.registered}
            if known.issuperset(self._settings.seeds):
                return
            await trio.sleep(pause_ms * self._rng.uniform(0.5, 1.5) / 1000)
            pause_ms = min(pause_ms * 2, REUNION_MS_MAX)
            await self._joining.try_once()

    async def begin_again(self, incarnation: int) -> None:
        """Say that this process goes on under ``incarnation``."""
        await self._until_written(lambda _: self._begin(incarnation), "a fork was met: a new incarnation")
        self._begun = incarnation

    async def admit(self, *, node: str, region: str, peer_url: str, http_url: str) -> None:
        """Register a member by a change of ours, durably. Raises PeerRefused."""
        try:
            await self._write(
                lambda _: membership.registration(
                    self._place.directory, node=node, region=region, peer_url=peer_url, http_url=http_url
                ),
                f"{node} joins",
            )
        except errors.ApiError as error:
            raise PeerRefused("node.not_ready", error.detail) from None

    def twin(self) -> int | None:
        """The incarnation of another process that has begun in our slot after us; None if there is none."""
        member = self._place.directory.members.get(self._settings.name)
        if self._begun is None or member is None or member.current is None:
            return None
        return None if member.current in (self._begun, self._place.incarnation) else member.current

    def _begin(self, incarnation: int) -> Intent:
        settings = self._settings
        return membership.begin(node=settings.name, region=settings.region, incarnation=incarnation)

    async def _until_written(self, decide: Callable[[Project], Intent], message: str) -> None:
        """Write to `_system`, however long the disk takes nothing: the node is not ready, but it is there."""
        while True:
            try:
                await self._write(decide, message)
            except errors.DurabilityUnavailable:  # counted and logged where the journal refused
                await trio.sleep(RETRY_MS * self._rng.uniform(0.5, 1.5) / 1000)
            except errors.WriteIndeterminate:
                # The pipeline has ended with JournalIndeterminate, which ends the node.
                await trio.sleep_forever()
            else:
                return

    async def _write(self, decide: Callable[[Project], Intent], message: str) -> None:
        job = LocalJob(self._place.system, decide, f"node:{self._settings.name}", message, None)
        await self._pipeline.write(job)
