"""A joiner is served first and registered last: nobody waits for it while it holds the sponsor's older state."""

# A patch stands in for the inside of what it patches.
# ruff: noqa: SLF001

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final
from unittest.mock import patch

import trio

from vexil.chaos.planted.switched_off import SwitchedOff
from vexil.crdt.schema import SYSTEM_PROJECT
from vexil.node.engine import Engine
from vexil.node.gossip.peers import Peer
from vexil.node.gossip.service import JOIN, MEMBER_UNKNOWN
from vexil.node.membership import Joining
from vexil.node.seams import PeerRefused


@contextmanager
def _apply() -> Iterator[None]:
    sound_admit, sound_join, sound_refusal = Engine.admit_member, Joining._join, Engine.why_no_member
    served = False

    async def admit(self: Engine, **member: Any) -> None:
        if served:
            await sound_admit(self, **member)
        await trio.lowlevel.checkpoint()

    def refusal(self: Engine, node: str, registration: str) -> PeerRefused | None:
        found = sound_refusal(self, node, registration)
        return None if found is not None and found.code == MEMBER_UNKNOWN else found

    async def join(self: Joining, sponsor: Peer) -> None:
        nonlocal served
        urls = {"peer_url": self._peer_url, "http_url": self._http_url}
        answer, _, _ = await self._exchange.call(sponsor, JOIN, urls)
        sponsor.node, sponsor.region = answer.text("node"), answer.text("region")
        wanted = answer.vv_by_project("projects")
        for name in sorted(wanted, key=lambda n: n != SYSTEM_PROJECT):
            project = self._host.open_project(name)
            if project is not None and not project.replica.covers(wanted[name]):
                await self._bring(sponsor, project)
        served = True
        try:
            await sound_join(self, sponsor)
        finally:
            served = False

    with (
        patch.object(Engine, "admit_member", admit),
        patch.object(Engine, "why_no_member", refusal),
        patch.object(Joining, "_join", join),
    ):
        yield


SWITCH: Final = SwitchedOff(8, "joinfirst", _apply, profiles=frozenset(("members",)))
