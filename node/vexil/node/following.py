"""A node follows `_system`: it has the projects that exist, under their settings, and knows its peers.

A small project takes other settings at once. A large one is read again in many turns of the event loop, one project
after the other; until that is done it is served under the settings that it had.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import trio

from vexil.crdt.system_state import ProjectState
from vexil.node.directory import Directory
from vexil.node.engine_types import EngineSettings
from vexil.node.gossip.loops import Loops
from vexil.node.gossip.peers import Freshness, Peer
from vexil.node.project import TURN_OBJECTS, Project
from vexil.node.rereading import Rereading


class Follower(Protocol):
    """The node that follows."""

    settings: EngineSettings
    directory: Directory
    projects: dict[str, Project]
    peers: dict[str, Peer]
    freshness: Freshness

    def open_project(self, name: str) -> Project | None:
        """The project, made empty if it is not here yet; None if there cannot be one."""


class Following:
    """Brings a node's projects and peers in line with its directory. `run` must be running for large projects."""

    def __init__(self, node: Follower, loops: Loops, *, on_settled: Callable[[], None]) -> None:
        """Nothing is followed yet. ``on_settled()`` is called whenever `settled` has become true."""
        self._node = node
        self._loops = loops
        self._on_settled = on_settled
        self._waiting: dict[str, None] = {}
        """Large projects that must be read again, in order; at most one entry each."""
        self._wake = trio.Event()
        self._reading: str | None = None

    @property
    def settled(self) -> bool:
        """Whether every project is served under the settings that `_system` has for it."""
        return self._reading is None and not self._waiting

    async def load(self) -> None:
        """Read all that a start has loaded, in bounded turns. Nothing may be served or applied before it returns."""
        for name, project in self._node.projects.items():
            state = self._node.directory.projects.get(name)
            if state is not None and state.exists:
                project.set_up(state.environments, state.bucketing)
            for _ in project.refresh_in_turns():
                await trio.lowlevel.checkpoint()

    async def run(self) -> None:
        """Read large projects again, one after the other, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake = trio.Event()
            while self._waiting:
                name = self._reading = next(iter(self._waiting))
                del self._waiting[name]
                project, state = self._node.projects[name], self._node.directory.projects[name]
                if _differs(project, state):
                    await Rereading(project, state.environments, state.bucketing).run()
                self._reading = None
            self._on_settled()

    def configure(self, name: str) -> None:
        """Give a project the settings that the directory has for it: now, or soon if it is large."""
        state = self._node.directory.projects.get(name)
        project = self._node.projects.get(name)
        if state is None or project is None or not state.exists:
            return
        large = len(project.replica.objects) > TURN_OBJECTS
        if name == self._reading or (large and _differs(project, state)):
            # What is being read may be out of date by now: it is looked at once more.
            self._waiting[name] = None
            self._wake.set()
        elif not large:
            project.configure(state.environments, state.bucketing)

    def follow(self) -> None:
        """The directory has changed."""
        node = self._node
        for name, state in node.directory.projects.items():
            if state.exists:
                node.open_project(name)
                self.configure(name)
        known = {
            slot: member
            for slot, member in node.directory.members.items()
            if member.registered and slot != node.settings.name
        }
        for slot in [s for s in node.peers if s not in known]:
            del node.peers[slot]
        for slot, member in known.items():
            peer = node.peers.get(slot)
            if peer is None or peer.registration != member.registration:
                gossip = node.settings.gossip
                near = member.region == node.settings.region
                interval_ms = gossip.interval_region_ms if near else gossip.interval_remote_ms
                node.peers[slot] = Peer(
                    slot,
                    member.region,
                    member.peer_url,
                    member.registration,
                    interval_s=interval_ms / 1000,
                    known_s=trio.current_time(),
                )
            else:
                peer.region, peer.url = member.region, member.peer_url
        node.freshness.follow([*known, node.settings.name])
        self._loops.peers_changed()


def _differs(project: Project, state: ProjectState) -> bool:
    return (project.environments, project.bucketing) != (state.environments, state.bucketing)
