"""The calling side of the peer protocol: one digest exchange that mends both directions.

A node that calls a peer pulls what it lacks and pushes what the peer lacks, so a link that carries calls in one
direction only is enough for both to converge. Every page that is applied advances the vector: an exchange that breaks
off keeps its progress, and the next one, with whatever peer, goes on from there.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Final

import trio

from vexil.crdt import version_vector
from vexil.crdt.schema import SYSTEM_PROJECT
from vexil.node.gossip import announce, messages
from vexil.node.gossip.digest import project_hash
from vexil.node.gossip.host import Host
from vexil.node.gossip.intake import take
from vexil.node.gossip.links import Links
from vexil.node.gossip.messages import Heads, Malformed, Message
from vexil.node.gossip.peers import Freshness, Peer
from vexil.node.gossip.service import DIGEST, PULL, PUSH
from vexil.node.project import Project
from vexil.node.seams import (
    LogRecord,
    PeerAddress,
    PeerError,
    PeerIdentity,
    PeerNonsense,
    PeerRefused,
    PeerTransport,
    PeerUnreachable,
    SeamError,
)

CALL_TIMEOUT_MS = 5_000
PAGES_PER_PULL_MAX: Final = 100_000
"""A bound on one pull: at a page of one change each, more than any backlog."""


class Exchange:
    """Calls to peers, and what follows from their answers. Errors are `PeerError`; JournalFull passes through."""

    def __init__(
        self,
        host: Host,
        transport: PeerTransport,
        links: Links,
        freshness: Freshness,
        *,
        on_ack: Callable[[], None],
    ) -> None:
        """``on_ack`` is called when a peer has told that it has more of our changes."""
        self._host = host
        self._transport = transport
        self._links = links
        self._freshness = freshness
        self._on_ack = on_ack
        self._heard_of_us: set[str] = set()
        """Peers that have been asked what they know of our promises: at most as many as there ever were members."""
        self.on_behind: Callable[[Peer, Project], Awaitable[object]] | None = None
        """Takes a peer's state as a whole, because its log does not reach back to ours; set by the engine."""

    async def call(self, peer: Peer, method: str, members: Mapping[str, object]) -> tuple[Message, int, int]:
        """One request: the answer, and the bytes sent and received."""
        identity = PeerIdentity(peer.node, peer.region)
        if self._links.blocked(self._host.identity, identity):
            raise PeerUnreachable("the link is cut")
        body = messages.encode({"as": self._host.registration, **members})
        raw = await self._transport.call(
            PeerAddress(peer.node, peer.region, peer.url), method, body, timeout_ms=CALL_TIMEOUT_MS
        )
        if self._links.blocked(self._host.identity, identity):
            raise PeerUnreachable("the link is cut")
        try:
            answer = Message.decode(raw)
        except Malformed as error:
            raise PeerNonsense(str(error)) from None
        self._host.call_succeeded(peer.node)
        peer.answers_as = answer.text_or("as", peer.answers_as)
        return answer, len(body), len(raw)

    def while_member(self, peer: Peer) -> Callable[[], None]:
        """A check that raises PeerNonsense once the registration is over under which ``peer`` answers.

        For what it has been asked for: an old copy may answer at its address, as one that was evicted. Not PeerRefused:
        it is not we who are none any more.
        """

        def check() -> None:
            try:
                self._host.while_member(peer.node, peer.answers_as or peer.registration)()
            except PeerRefused as refused:
                raise PeerNonsense(f"nothing is taken of what it sends: {refused.detail}") from None

        return check

    async def sync(self, peer: Peer) -> None:
        """One anti-entropy exchange with ``peer``, all projects. Raises PeerError, JournalFull, StoreError."""
        try:
            await self._sync(peer)
        except Malformed as error:
            raise PeerNonsense(str(error)) from None

    async def _sync(self, peer: Peer) -> None:
        asked_s = trio.current_time()
        asked_wall_ms = self._host.wall_ms()
        answer, sent, received = await self.call(
            peer,
            DIGEST,
            {
                "wall_ms": asked_wall_ms,
                "incarnation": self._host.incarnation,
                "ages": self._freshness.ages_ms(self._host.identity.node),
                "projects": {name: project_hash(project) for name, project in self._host.projects.items()},
                "forked": sorted(self._host.forks.incarnations),
                "below_floor": self._host.stranded.incarnations,
                "promises": self._host.announcements.digest(),
            },
        )
        self._host.count_bytes("sent", "digest", sent)
        self._host.count_bytes("received", "digest", received)
        middle_ms = asked_wall_ms + (trio.current_time() - asked_s) * 500
        peer.heard(offset_ms=int(answer.integer("wall_ms") - middle_ms))
        for forked in answer.incarnations("forked"):
            self._host.fork_seen(SYSTEM_PROJECT, forked, peer.node)
        self._note_stranded(answer)
        if not answer.flag("evicted"):
            self._host.accepted()
        ages = answer.ages("ages")
        complete = level = not answer.flag("partial")
        pulling = set(answer.names("pulling"))
        stopped = answer.incarnations_by_project("stopped")
        for name, (heads, root) in answer.heads_by_project("projects").items():
            project = self._host.open_project(name)
            if project is None:
                complete = level = False
                continue
            self._note_vector(peer, name, {i: seq for i, (seq, _) in heads.items()})
            self._compare(peer, project, heads, root)
            theirs = {i: seq for i, (seq, _) in heads.items()}
            wanted = {i: seq for i, seq in theirs.items() if i not in project.stopped}
            if not project.replica.covers(wanted):
                await self.pull(peer, project)
            complete = complete and project.replica.covers(theirs)
            # The other history of a forked incarnation never comes.
            forks = self._host.forks.incarnations
            level = level and project.replica.covers({i: n for i, n in theirs.items() if i not in forks})
            if name not in pulling:
                await self._offer(peer, project, theirs, stopped.get(name, ()))
            await self._take_stranded(peer, project, theirs, author=answer.integer_or("incarnation", 0))
        # Last: what is promised of a change is of use to whoever has the change.
        own = self._host.announcements.digest()
        if answer.blob_or("promises", own) != own:
            ask = partial(self._ask, peer, announce.ANNOUNCE)
            await announce.exchange(self._host, ask, first=peer.node not in self._heard_of_us)
            self._heard_of_us.add(peer.node)
        if complete:
            self._freshness.merge(ages, asked_s=asked_s)
        if level:
            self._host.levelled(asked_s=asked_s)

    async def _ask(self, peer: Peer, method: str, members: Mapping[str, object]) -> Message:
        """As `call`; its bytes are overhead, as a digest's are."""
        answer, sent, received = await self.call(peer, method, members)
        self._host.count_bytes("sent", "digest", sent)
        self._host.count_bytes("received", "digest", received)
        return answer

    def _note_stranded(self, answer: Message) -> None:
        for incarnation in answer.incarnations("below_floor"):
            self._host.stranded.note(incarnation)

    async def _take_stranded(
        self, peer: Peer, project: Project, theirs: Mapping[int, int], *, author: int
    ) -> None:
        """Take the state of a peer that has applied what we have refused as below our floor; not of its author.

        It had not collected the same by then. That change cannot be applied here, and everything that builds on it
        would wait for ever; but two states that both have all that the other has collected can always be joined.
        """
        replica = project.replica
        refused = project.stopped.intersection(self._host.stranded.incarnations)
        lacking = [i for i in refused if theirs.get(i, 0) > replica.known(i)]
        has = version_vector.join(theirs, peer.vv.get(project.name, {}))
        # What the peer does not name is perhaps retired there, and then it has all of it: its snapshot tells.
        named = {i: seq for i, seq in replica.floor.items() if i in has}
        if not lacking or author in lacking or not version_vector.covers(has, named):
            return
        if self.on_behind is not None:
            await self.on_behind(peer, project)
            project.stopped.difference_update(i for i in lacking if replica.known(i) >= theirs[i])

    def _note_vector(self, peer: Peer, project: str, vv: dict[int, int]) -> None:
        peer.vv[project] = version_vector.join(peer.vv.get(project, {}), vv)
        self._on_ack()

    def _compare(self, peer: Peer, project: Project, heads: Heads, root: str) -> None:
        """Raise the alarms that two digests can tell."""
        replica = project.replica
        forked = False
        for incarnation, (seq, chain) in heads.items():
            known = replica.vv.get(incarnation, 0)
            ours = incarnation == self._host.incarnation
            if (seq == known and chain != replica.head(incarnation)) or (ours and seq > known):
                forked = True
                self._host.fork_seen(project.name, incarnation, peer.node)
        same = len(heads) == len(replica.vv) and all(
            replica.vv.get(i) == seq and replica.head(i) == chain for i, (seq, chain) in heads.items()
        )
        if same and not forked and root != replica.root_hash():
            self._host.divergence_seen(project.name, peer.node)

    async def pull(self, peer: Peer, project: Project) -> None:
        """Fetch what ``peer`` has and we have not, page by page.

        Nothing if that is under way already, by a pull of ours or by pages that a peer pushes.
        """
        if project.pulling or trio.current_time() < project.offered_until_s:
            return
        project.pulling = True
        behind = False
        admit = self.while_member(peer)
        try:
            page: Message | None = await self._ask_page(peer, project, project.replica.vv)
            for _ in range(PAGES_PER_PULL_MAX):
                if page is None:
                    break
                if page.flag("behind"):
                    behind = True
                    break
                page = await self._take_and_ask_on(peer, project, page, admit)
        except Malformed as error:
            raise PeerNonsense(str(error)) from None
        finally:
            project.pulling = False
        if behind and self.on_behind is not None:
            await self.on_behind(peer, project)

    async def _ask_page(self, peer: Peer, project: Project, have: Mapping[int, int]) -> Message:
        members = {
            "project": project.name,
            "vv": messages.flat_vv(have),
            "skip": sorted(project.stopped),
            "page_bytes": peer.page_bytes,
        }
        try:
            answer, _, _ = await self.call(peer, PULL, members)
        except PeerUnreachable:
            peer.page_did_not_fit()
            raise
        peer.page_fitted()
        return answer

    async def _take_and_ask_on(
        self, peer: Peer, project: Project, page: Message, admit: Callable[[], None]
    ) -> Message | None:
        """Take ``page`` while the next one is on its way; None if there is none, or this one brought nothing."""
        raws = page.changes("changes")
        reached = page.vv("reached") if page.flag("more") else {}
        asked: list[Message | PeerError] = []

        async def ask(have: Mapping[int, int]) -> None:
            try:
                asked.append(await self._ask_page(peer, project, have))
            except PeerError as error:
                asked.append(error)

        progress = False
        stopped = len(project.stopped)
        failure: SeamError | None = None
        async with trio.open_nursery() as nursery:
            if reached:
                nursery.start_soon(ask, version_vector.join(project.replica.vv, reached))
            try:
                progress = await self._take_page(peer, project, raws, admit)
            except SeamError as error:  # told outside the nursery, which would wrap it
                failure = error
            if not progress or len(project.stopped) > stopped:
                # What was asked for supposes that this page is here, whole.
                nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure
        if not progress or not page.flag("more"):
            return None
        if not asked:
            return await self._ask_page(peer, project, project.replica.vv)
        if isinstance(asked[0], PeerError):
            raise asked[0]
        return asked[0]

    async def _take_page(
        self, peer: Peer, project: Project, raws: list[bytes], admit: Callable[[], None]
    ) -> bool:
        """Apply what fits of a page; whether that was anything."""
        self._host.count_bytes("received", "payload", messages.total_bytes(raws))
        stopped = len(project.stopped)
        taken = await take(self._host, project, raws, peer.node, admit)
        return taken.applied > 0 or len(project.stopped) > stopped

    async def _offer(
        self, peer: Peer, project: Project, theirs: Mapping[int, int], stopped: Iterable[int] = ()
    ) -> None:
        """Push what the peer lacks, page by page, for as long as it takes them; nothing of what it has stopped."""
        reached = dict(theirs)
        through = dict(project.replica.vv)
        for incarnation in stopped:
            through.pop(incarnation, None)
        while not version_vector.covers(reached, through):
            # What does not fit there, because our log does not reach back, is not sent: the peer takes a snapshot.
            records = await self._host.own_log.read_missing(
                project, after=reached, through=through, limit_bytes=peer.page_bytes
            )
            if not records:
                return
            before = dict(reached)
            page = _within(records[: messages.CHANGES_MAX], peer.page_bytes)
            sent = version_vector.join(reached, {r.incarnation: r.seq for r in page})
            more = not version_vector.covers(sent, through)
            await self.push(peer, {project.name: [r.raw for r in page]}, more=more)
            reached = version_vector.join(reached, peer.vv.get(project.name, {}))
            if reached == before:
                return

    async def push(self, peer: Peer, changes: Mapping[str, list[bytes]], *, more: bool = False) -> None:
        """Send encoded changes; what the peer then says it has is noted. ``more`` says that more will follow.

        Raises PeerError.
        """
        try:
            self._host.count_bytes(
                "sent", "payload", sum(messages.total_bytes(raws) for raws in changes.values())
            )
            try:
                answer, _, _ = await self.call(peer, PUSH, {"changes": dict(changes), "more": more})
            except PeerUnreachable:
                peer.page_did_not_fit()
                raise
            peer.heard(offset_ms=None)
            self._note_stranded(answer)
            for name, vv in answer.vv_by_project("have").items():
                self._note_vector(peer, name, vv)
        except Malformed as error:
            raise PeerNonsense(str(error)) from None


def _within(records: Sequence[LogRecord], limit_bytes: int) -> Sequence[LogRecord]:
    """The first of ``records``, up to ``limit_bytes`` of raw bytes, but at least one."""
    size = 0
    for count, record in enumerate(records):
        size += len(record.raw)
        if count and size > limit_bytes:
            return records[:count]
    return records
