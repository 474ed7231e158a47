"""The serving side of the peer protocol: what a node answers when a peer calls."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

import trio

from vexil.crdt import version_vector
from vexil.crdt.change import peek_dot
from vexil.crdt.schema import SYSTEM_PROJECT
from vexil.node.gossip import announce, messages
from vexil.node.gossip.announce import ANNOUNCE
from vexil.node.gossip.digest import project_hash
from vexil.node.gossip.host import Host
from vexil.node.gossip.intake import take
from vexil.node.gossip.links import Links
from vexil.node.gossip.messages import Malformed, Message
from vexil.node.gossip.past_pages import PAST, serve_past
from vexil.node.gossip.peers import Freshness, Peer
from vexil.node.gossip.repair import CELLS, TREE, RepairService
from vexil.node.gossip.snapshots import SNAPSHOT, SnapshotService
from vexil.node.project import Project
from vexil.node.seams import JournalFull, PeerIdentity, PeerRefused, StoreError

JOIN: Final = "join"
DIGEST: Final = "digest"
PULL: Final = "pull"
PUSH: Final = "push"

MEMBER_UNKNOWN: Final = "member.unknown"
"""The caller is not a member here; perhaps we have not heard of it yet."""
MEMBER_EVICTED: Final = "member.evicted"
MEMBER_ASTRAY: Final = "member.astray"
"""The caller comes with the state of a node that was evicted and did not know it."""
MEMBER_REPLACED: Final = "member.replaced"
"""As evicted, and somebody else is the slot's member now."""
MEMBER_EXISTS: Final = "member.exists"
ENDED: Final = frozenset((MEMBER_EVICTED, MEMBER_REPLACED))
"""What is for ever: whoever is told one of these may believe it, because the answer is authenticated."""

OFFER_GRACE_S = 2.0
"""So long after a page that a peer pushes with more to come we do not pull the same from anybody."""


DIGEST_BYTES_MAX = 2 << 20
"""Heads in one answer, roughly: well inside a frame."""
HEAD_BYTES = 40


class PeerService:
    """Answers peers. Every method either answers or raises PeerRefused; nothing it is sent can do more harm."""

    def __init__(
        self,
        host: Host,
        links: Links,
        freshness: Freshness,
        peers: dict[str, Peer],
        *,
        on_gap: Callable[[str, str], None],
    ) -> None:
        """``on_gap(peer, project)`` asks for a pull from the peer."""
        self._host = host
        self._links = links
        self._freshness = freshness
        self._peers = peers
        self._on_gap = on_gap
        self.snapshots = SnapshotService(host)
        self.repairs = RepairService(host)
        """Both are to be run beside the node."""

    async def serve(self, caller: PeerIdentity, method: str, body: bytes) -> bytes:
        """A `PeerHandler`. Raises PeerRefused."""
        if self._links.blocked(self._host.identity, caller):
            raise PeerRefused("link.cut", "this link is cut on purpose")
        if not self._host.serving_peers:
            raise PeerRefused("node.not_ready", "this node has not loaded its state yet")
        try:
            message = Message.decode(body)
            if method == JOIN:
                return await self._join(caller, message)
            refusal = self._host.why_no_member(caller.node, message.text_or("as", ""))
            if refusal is not None:
                raise refusal
            return await self._answer(caller, method, message, len(body))
        except Malformed as error:
            raise PeerRefused("request.malformed", str(error)) from None
        except JournalFull as error:
            raise PeerRefused("node.storage_full", str(error)) from None
        except StoreError as error:
            raise PeerRefused("node.log_unavailable", str(error)) from None

    async def _answer(self, caller: PeerIdentity, method: str, message: Message, size: int) -> bytes:
        if method == DIGEST:
            return self._digest(caller, message, size)
        if method == PULL:
            return await self._pull(message)
        if method == PUSH:
            return await self._push(caller, message)
        if method == ANNOUNCE:
            return announce.serve(self._host, message)
        if method == SNAPSHOT:
            return await self.snapshots.serve(caller, message)
        if method == PAST:
            return await serve_past(self._host, message)
        if method in {TREE, CELLS}:
            return await self.repairs.serve(caller, method, message)
        raise PeerRefused("method.unknown", method)

    async def _join(self, caller: PeerIdentity, message: Message) -> bytes:
        if not self._host.is_member(self._host.identity.node, self._host.registration):
            raise PeerRefused("node.not_ready", "this node is not a member itself")
        if caller.node == self._host.identity.node:
            raise PeerRefused(MEMBER_EXISTS, f"{caller.node} runs: it is who you are asking")
        await self._host.admit_member(
            node=caller.node,
            region=caller.region,
            registration=message.text_or("as", ""),
            peer_url=message.text("peer_url", limit_bytes=messages.URL_BYTES_MAX),
            http_url=message.text("http_url", limit_bytes=messages.URL_BYTES_MAX),
            # An earlier version says only what it has of `_system`.
            seen={
                **message.vv_by_project_or_none("seen_by_project"),
                SYSTEM_PROJECT: message.vv_or("seen", {}),
            },
        )
        return messages.encode(
            {
                "as": self._host.registration,
                "node": self._host.identity.node,
                "region": self._host.identity.region,
                "projects": {n: messages.flat_vv(p.replica.vv) for n, p in self._host.projects.items()},
            }
        )

    def _digest(self, caller: PeerIdentity, message: Message, size: int) -> bytes:
        told = message.hashes("projects")
        wall_ms = message.integer("wall_ms")
        peer = self._peers.get(caller.node)
        if peer is not None:
            peer.heard(offset_ms=wall_ms - self._host.wall_ms())
        for forked in message.incarnations("forked"):
            self._host.fork_seen(SYSTEM_PROJECT, forked, caller.node)
        for stranded in message.incarnations("below_floor"):
            self._host.stranded.note(stranded)
        differing: dict[str, object] = {}
        partial = False
        room = DIGEST_BYTES_MAX
        for name, project in self._host.projects.items():
            if told.get(name) == project_hash(project):
                continue
            room -= HEAD_BYTES * len(project.replica.vv) + len(name)
            if differing and room < 0:
                # The rest comes with a later digest, when these are level.
                partial = True
                break
            heads = messages.flat_heads(project.replica.vv, project.replica.heads())
            differing[name] = [heads, project.replica.root_hash()]
        ages = self._freshness.ages_ms(self._host.identity.node)
        if not differing and all(name in self._host.projects for name in told):
            self._freshness.merge(message.ages("ages"), asked_s=trio.current_time())
        answer = messages.encode(
            {
                "as": self._host.registration,
                "wall_ms": self._host.wall_ms(),
                "ages": ages,
                "incarnation": self._host.incarnation,
                "projects": differing,
                "partial": partial,
                "stopped": {n: sorted(p.stopped) for n, p in self._host.projects.items() if p.stopped},
                "forked": sorted(self._host.forks.incarnations),
                "below_floor": self._host.stranded.incarnations,
                "evicted": self._host.evicted,
                "promises": self._host.announcements.digest(),
                "pulling": [
                    n for n, project in self._host.projects.items() if project.pulling or project.merging
                ],
            }
        )
        self._host.count_bytes("received", "digest", size)
        self._host.count_bytes("sent", "digest", len(answer))
        return answer

    async def _pull(self, message: Message) -> bytes:
        name = message.text("project")
        after = message.vv("vv")
        project = self._host.projects.get(name)
        if project is None:
            return self._page([], {})
        through = dict(project.replica.vv)
        left_out = message.incarnations("skip")
        for incarnation in left_out:
            through.pop(incarnation, None)
        page_bytes = min(message.integer_or("page_bytes", messages.PAGE_BYTES), messages.PAGE_BYTES)
        records = await self._host.own_log.read_missing(
            project, after=after, through=through, limit_bytes=page_bytes, left_out=left_out
        )
        if not records and not version_vector.covers(after, through):
            return self._page([], {}, behind=True)
        changes: list[bytes] = []
        size = 0
        reached: dict[int, int] = {}
        for record in records:
            over = size + len(record.raw) > page_bytes or len(changes) >= messages.CHANGES_MAX
            if changes and over:
                break
            changes.append(record.raw)
            size += len(record.raw)
            reached[record.incarnation] = record.seq
        self._host.count_bytes("sent", "payload", size)
        more = not version_vector.covers(version_vector.join(after, reached), through)
        return self._page(changes, reached, more=more)

    def _page(
        self, changes: list[bytes], reached: dict[int, int], *, more: bool = False, behind: bool = False
    ) -> bytes:
        return messages.encode(
            {
                "as": self._host.registration,
                "changes": changes,
                "more": more,
                "reached": messages.flat_vv(reached),
                "behind": behind,
            }
        )

    async def _push(self, caller: PeerIdentity, message: Message) -> bytes:
        have: dict[str, list[int]] = {}
        gaps: list[str] = []
        more = message.flag("more")
        pushed = message.changes_by_project("changes")
        projects: dict[str, Project] = {}
        admit = self._host.while_member(caller.node, message.text_or("as", ""))
        for name in pushed:
            # All of them before anything is taken: what is refused has changed nothing.
            project = self._host.open_project(name)
            if project is None:
                raise PeerRefused("project.refused", f"{name!r} cannot be a project here")
            projects[name] = project
        for name, project in projects.items():
            raws = pushed[name]
            self._host.count_bytes("received", "payload", messages.total_bytes(raws))
            if more:
                project.offered_until_s = trio.current_time() + OFFER_GRACE_S
            taken = await take(self._host, project, raws, caller.node, admit)
            if taken.forked and self._host.is_astray({name: _reached(raws)}):
                raise PeerRefused(
                    MEMBER_ASTRAY, f"{caller.node} pushes what an evicted node wrote beyond its end"
                )
            if taken.gap:
                gaps.append(name)
                self._on_gap(caller.node, name)
            have[name] = messages.flat_vv(project.replica.vv)
        below_floor = self._host.stranded.incarnations
        return messages.encode({"have": have, "gaps": gaps, "below_floor": below_floor})


def _reached(raws: Iterable[bytes]) -> dict[int, int]:
    """The highest seq of each incarnation among encoded changes."""
    reached: dict[int, int] = {}
    for dot in map(peek_dot, raws):
        if dot is not None:
            reached[dot[0]] = max(dot[1], reached.get(dot[0], 0))
    return reached
