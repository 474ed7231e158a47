"""How announcements get to everybody: digests carry one hash over them; where it differs, both sides are levelled.

Announcements are passed on by nodes that did not make them, so that a member which cannot be reached from here is heard
through others. Every request says which versions its sender knows, and brings what the peer was found to lack; the
answer does the same. Both come in bounded pages: what is over is sent with the next request.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Protocol

from vexil.node.announcements import TWINS_MAX, Announcement, Announcements, Place, Version
from vexil.node.gossip import messages
from vexil.node.gossip.messages import Malformed, Message

ANNOUNCE: Final = "announce"
PAGE_ENTRIES_MAX: Final = 20_000
"""Vector entries of one message: a vector that goes over it is the last of its page."""
REQUESTS_MAX: Final = 64
"""In one exchange; what is over waits for a later digest."""
ROWS_MAX: Final = 4_000
REGISTRATION_BYTES_MAX: Final = 64
NUMBER_MAX: Final = 1 << 62
"""Starts and numbers of promises. Ours go on from what peers tell of us, and must stay what a message can carry."""
_HEAD: Final = ("slot", "registration", "start", "number", "life")
_ROW: Final = (*_HEAD, "hlc", "since", "projects", "twins")


class Promises(Protocol):
    """The node's announcements, and whose of them count."""

    @property
    def announcements(self) -> Announcements:
        """All that are known here; our own is up to date."""

    def take_announcements(self, announcements: Iterable[Announcement]) -> None:
        """Keep those that are newer and of places that count."""


class Call(Protocol):
    """Sends one request to the peer."""

    async def __call__(self, members: Mapping[str, object]) -> Message:
        """The peer's answer. Raises PeerError."""


def serve(promises: Promises, message: Message) -> bytes:
    """The answer to a peer: take what it tells, give what it lacks. Raises Malformed."""
    promises.take_announcements(_announcements(message))
    known = promises.announcements
    page, more = _page(known.newer_than(_versions(message)))
    return messages.encode(
        {"announcements": page, "more": more, "versions": _flat_versions(known.versions())}
    )


async def exchange(promises: Promises, call: Call, *, first: bool) -> None:
    """Level with a peer whose hash is another. Raises PeerError, Malformed.

    ``first`` of this process with this peer: it is asked what we have promised in an earlier life.
    """
    lacking: list[object] = []
    theirs: dict[Place, Version] | None = None
    for request in range(REQUESTS_MAX):
        versions = promises.announcements.versions(own=not first or request > 0)
        answer = await call({"versions": _flat_versions(versions), "announcements": lacking})
        promises.take_announcements(_announcements(answer))
        before, theirs = theirs, _versions(answer)
        lacking, _ = _page(promises.announcements.newer_than(theirs))
        given = bool(lacking) and theirs != before
        got = answer.flag("more") and promises.announcements.versions() != versions
        if not given and not got:
            return


def _page(announcements: Iterable[Announcement]) -> tuple[list[object], bool]:
    """Rows of at most `PAGE_ENTRIES_MAX` entries, and whether something is left."""
    page: list[object] = []
    room = PAGE_ENTRIES_MAX
    for told in announcements:
        if room <= 0 or len(page) >= ROWS_MAX:
            return page, True
        projects: list[object] = []
        count = told.version.number
        names = sorted(told.numbers, key=lambda name: told.numbers[name])
        for place, name in enumerate(names):
            vector = told.vectors[name]
            projects.append([name, told.numbers[name], messages.flat_vv(vector)])
            room -= 1 + len(vector)
            if room <= 0 and place + 1 < len(names):
                # The first of them, by number, are a promise too.
                count = told.numbers[name]
                break
        version = told.version._replace(number=count)
        page.append([*told.place, *version, told.hlc, told.since, projects, list(told.twins)])
        if count < told.version.number:
            return page, True
    return page, False


def _flat_versions(versions: Mapping[Place, Version]) -> list[list[object]]:
    return [[*place, *version] for place, version in sorted(versions.items())]


def _versions(message: Message) -> dict[Place, Version]:
    return {
        place: version
        for row in message.rows("versions", rows_max=ROWS_MAX)
        for place, version in [_head(row, "versions")]
    }


def _announcements(message: Message) -> Sequence[Announcement]:
    found = []
    for row in message.rows("announcements", rows_max=ROWS_MAX):
        place, version = _head(row, "announcements")
        if len(row) < len(_ROW):
            raise Malformed("announcements: a row is too short")
        told = Message(dict(zip(_ROW, row, strict=False)))
        twins = tuple(told.incarnations("twins"))
        if len(twins) > TWINS_MAX:
            raise Malformed("announcements: too many twins")
        vectors = {}
        numbers = {}
        for project in told.rows("projects", rows_max=messages.PROJECTS_MAX):
            if len(project) < 3:
                raise Malformed("announcements: a project is too short")
            one = Message(dict(zip(("name", "number", "vv"), project, strict=False)))
            vectors[one.text("name")] = one.vv("vv")
            numbers[one.text("name")] = one.integer("number")
            if numbers[one.text("name")] > version.number:
                raise Malformed("announcements: a number that is not reached yet")
        found.append(
            Announcement(place, version, told.integer("hlc"), vectors, numbers, told.integer("since"), twins)
        )
    return found


def _head(row: list[object], where: str) -> tuple[Place, Version]:
    if len(row) < len(_HEAD):
        raise Malformed(f"{where}: a row is too short")
    head = Message(dict(zip(_HEAD, row, strict=False)))
    place = Place(head.text("slot"), head.text("registration", limit_bytes=REGISTRATION_BYTES_MAX))
    version = Version(head.integer("start"), head.integer("number"), head.integer("life"))
    if max(version.start, version.number) > NUMBER_MAX:
        raise Malformed(f"{where}: a start or a number over {NUMBER_MAX}")
    return place, version
