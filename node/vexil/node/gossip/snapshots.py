"""A state as a whole, for a node that the log no longer reaches: serving cuts, page by page.

A cut is taken at one instant and kept while somebody reads it. Its reader says itself where it goes on (`Cursor`), so
a page that was lost on the way is asked for again, in another size if need be, and a broken connection costs one page.
Nothing is sent before the region's store holds what the cut says: a peer must never know more than this node after a
crash. The parts of a snapshot are its header, its cells by object, and the idempotency keys.

==========  ==============================================================================
part        page
==========  ==============================================================================
(none yet)  a new cut: its number, its sizes and the sender's last stamp
header      a piece of the header's bytes; the cursor counts bytes
objects     `vexil.crdt.snapshot_page`; the cursor names the last whole object and how many cells of the next were sent
keys        msgpack ``[[key, incarnation, seq, hlc, fingerprint], …]``; the cursor counts keys
==========  ==============================================================================
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import msgpack
import trio

from vexil.crdt.change import TEXT_CHARACTERS_MAX
from vexil.crdt.cut import Cut, TooManyCuts
from vexil.crdt.snapshot_page import encode_page, pages
from vexil.node.gossip import messages
from vexil.node.gossip.host import Host
from vexil.node.gossip.messages import Malformed, Message
from vexil.node.idempotency import KEYS_MAX, Remembered
from vexil.node.project import Project
from vexil.node.seams import PeerIdentity, PeerRefused

SNAPSHOT: Final = "snapshot"
EXPIRED: Final = "snapshot.expired"
HEADER: Final = "header"
OBJECTS: Final = "objects"
KEYS: Final = "keys"
PAGE_BYTES: Final = 512 << 10
"""Smaller than a page of changes: every page is made in one turn of the event loop (some ten milliseconds)."""
CUTS_SERVED_MAX: Final = 4
"""Of all projects together: each may come to hold the state of its project a second time."""
CUT_KEPT_S: Final = 30.0
"""A cut that nobody has asked for so long is dropped."""
CUT_AGE_S_MAX: Final = 3_600.0
STORED_WAIT_MS: Final = 3_000
"""How long a request waits for the region's store to hold the cut; less than the caller waits for its answer."""
HEADER_BYTES_MAX: Final = 256 << 20
OBJECT_BYTES_MAX: Final = 4 * TEXT_CHARACTERS_MAX + 1
"""Of an object's name in UTF-8."""
_AT_MAX: Final = 1 << 62
_KEY_ITEMS: Final = 5
_KEY_BYTES_MAX: Final = 64 << 10
_INTEGER_MAX: Final = (1 << 64) - 1


class Cursor(NamedTuple):
    """Where a part of a snapshot goes on: behind the object that ``after`` names, ``skip`` items on.

    ``after`` is `_NAMED` and the name, or empty for the very beginning: junk may have an object without a name.
    """

    after: str = ""
    skip: int = 0


START: Final = Cursor()
_NAMED: Final = "/"


def cursor_of(message: Message) -> Cursor:
    """The cursor in a request or an answer. Raises Malformed."""
    try:
        after = message.blob("after", limit_bytes=OBJECT_BYTES_MAX).decode()
    except UnicodeDecodeError:
        raise Malformed("after: not the name of an object") from None
    at = message.integer("at")
    if at > _AT_MAX:
        raise Malformed("at: beyond any item")
    return Cursor(after, at)


@dataclass(slots=True)
class _Served:
    """One cut and its reader."""

    reader: str
    project: str
    cut: Cut
    keys: Sequence[tuple[str, Remembered]]
    hlc: int
    taken_s: float = field(default_factory=trio.current_time)
    asked_s: float = field(default_factory=trio.current_time)
    read: bool = False
    """Its last page has been sent. It is kept all the same, in case that was lost, unless its place is needed."""

    @property
    def expired(self) -> bool:
        now = trio.current_time()
        return now - self.asked_s > CUT_KEPT_S or now - self.taken_s > CUT_AGE_S_MAX


class SnapshotService:
    """Answers ``snapshot``. `run` must be running, so that cuts do not outlive their readers."""

    def __init__(self, host: Host) -> None:
        """No cut yet."""
        self._host = host
        self._served: dict[int, _Served] = {}
        self._last = 0

    @property
    def open_cuts(self) -> int:
        """How many cuts are kept."""
        return len(self._served)

    async def run(self) -> None:
        """Drop what nobody reads any more, until cancelled; then drop the rest."""
        try:
            while True:
                await trio.sleep(CUT_KEPT_S / 2)
                self._expire()
        finally:
            for number in list(self._served):
                self._close(number)

    async def serve(self, caller: PeerIdentity, message: Message) -> bytes:
        """One request of a member. Raises PeerRefused, Malformed.

        Codes: ``node.not_ready``, ``node.busy`` (too many cuts, or the store is behind: later), ``project.unknown``,
        ``snapshot.expired`` (begin again).
        """
        if not self._host.ready:
            raise PeerRefused("node.not_ready", "this node is not level with the others yet")
        self._expire()
        name = message.text("project")
        number = message.integer_or("cut", 0)
        if not number:
            return await self._begin(caller, name)
        served = self._served.get(number)
        if served is None or (served.reader, served.project) != (caller.node, name):
            raise PeerRefused(EXPIRED, "this cut is not kept any more: begin again")
        served.asked_s = trio.current_time()
        return self._page(served, message)

    async def _begin(self, caller: PeerIdentity, name: str) -> bytes:
        project = self._host.projects.get(name)
        if project is None:
            raise PeerRefused("project.unknown", f"{name!r} is not here")
        for number in [n for n, s in self._served.items() if (s.reader, s.project) == (caller.node, name)]:
            # It begins again: nobody reads the old one.
            self._close(number)
        if len(self._served) >= CUTS_SERVED_MAX:
            # Whoever has just read to the end does not keep the next one waiting.
            self._close(next((n for n, s in self._served.items() if s.read), 0))
        if len(self._served) >= CUTS_SERVED_MAX:
            raise PeerRefused("node.busy", f"{CUTS_SERVED_MAX} snapshots are being read here")
        number, served = self._take(caller, project)
        complete = False
        try:
            if not await self._host.stored(name, served.cut.vv, timeout_ms=STORED_WAIT_MS):
                raise PeerRefused("node.busy", "the region's store does not hold this state yet")
            for _ in served.cut.sort():
                await trio.lowlevel.checkpoint()
            complete = True
        finally:
            if not complete:
                self._close(number)
        served.asked_s = trio.current_time()
        return messages.encode(
            {
                "as": self._host.registration,
                "cut": number,
                "header_bytes": len(served.cut.header),
                "objects": served.cut.size,
                "keys": len(served.keys),
                "hlc": served.hlc,
            }
        )

    def _take(self, caller: PeerIdentity, project: Project) -> tuple[int, _Served]:
        try:
            cut = project.replica.cut()
        except TooManyCuts:
            raise PeerRefused("node.busy", f"too many cuts of {project.name!r} are in use") from None
        self._last += 1
        served = self._served[self._last] = _Served(
            caller.node,
            project.name,
            cut,
            project.idempotency.entries(),
            self._host.last_hlc,
        )
        return self._last, served

    def _page(self, served: _Served, message: Message) -> bytes:
        part = message.text("part")
        cursor = cursor_of(message)
        wanted = message.integer_or("page_bytes", PAGE_BYTES)
        page_bytes = max(messages.PAGE_BYTES_MIN, min(wanted, PAGE_BYTES))
        following: Cursor | None
        if part == HEADER:
            header = served.cut.header
            page = header[cursor.skip : cursor.skip + page_bytes]
            end = cursor.skip + len(page)
            following = Cursor("", end) if end < len(header) else None
        elif part == OBJECTS:
            page, following = _object_page(served.cut, cursor, page_bytes)
        elif part == KEYS:
            page, following = key_page(served.keys, cursor.skip, page_bytes)
        else:
            raise Malformed(f"part: {part!r} is no part of a snapshot")
        served.read = served.read or (part == KEYS and following is None)
        self._host.count_bytes("sent", "payload", len(page))
        members: dict[str, object] = {"page": page, "more": following is not None}
        if following is not None:
            members |= {"after": following.after.encode(), "at": following.skip}
        return messages.encode(members)

    def _expire(self) -> None:
        for number in [n for n, served in self._served.items() if served.expired]:
            self._close(number)

    def _close(self, number: int) -> None:
        served = self._served.pop(number, None)
        if served is not None:
            served.cut.close()


def _object_page(cut: Cut, cursor: Cursor, page_bytes: int) -> tuple[bytes, Cursor | None]:
    objects = cut.objects(cursor.after.removeprefix(_NAMED) if cursor.after else None)
    page = next(pages(objects, page_bytes=page_bytes, skip=cursor.skip), None)
    if page is None:
        return encode_page(()), None
    after = cursor.after if page.after is None else _NAMED + page.after
    return page.raw, Cursor(after, page.skip) if page.more else None


def key_page(
    keys: Sequence[tuple[str, Remembered]], start: int, page_bytes: int
) -> tuple[bytes, Cursor | None]:
    """A page of keys from the ``start``-th on, and where the next one begins; None at the end."""
    items: list[object] = []
    size = 0
    at = start
    while at < len(keys) and size < page_bytes:
        key, remembered = keys[at]
        items.append([key, *remembered.dot, remembered.hlc, remembered.fingerprint])
        size += len(key.encode()) + len(remembered.fingerprint) + 4 * 9
        at += 1
    return bytes(msgpack.packb(items)), Cursor("", at) if at < len(keys) else None


def decode_keys(page: bytes) -> list[tuple[str, Remembered]]:
    """The keys of a page. Raises Malformed: nothing else, whatever the bytes."""
    try:
        items = msgpack.unpackb(
            page, timestamp=0, max_array_len=KEYS_MAX, max_str_len=_KEY_BYTES_MAX, max_bin_len=_KEY_BYTES_MAX
        )
    except Exception as error:  # noqa: BLE001 - msgpack raises a dozen types on junk; all mean the same here
        raise Malformed(f"keys: not msgpack: {type(error).__name__}") from None
    if not isinstance(items, list):
        raise Malformed("keys: not an array")
    return [_key(item) for item in items]


def _key(item: object) -> tuple[str, Remembered]:
    if isinstance(item, list) and len(item) == _KEY_ITEMS:
        key, incarnation, seq, hlc, fingerprint = item
        if (
            type(key) is str
            and type(fingerprint) is bytes
            and all(type(number) is int and 0 < number <= _INTEGER_MAX for number in (incarnation, seq))
            and type(hlc) is int
            and 0 <= hlc <= _INTEGER_MAX
        ):
            return key, Remembered((incarnation, seq), hlc, fingerprint)
    raise Malformed("keys: an item is not a key, a dot, a stamp and a fingerprint")
