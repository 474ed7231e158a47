"""What has changed in an environment since a position, as the ``patch`` of a stream; encoded once for all of them.

Most streams are where the last patch has brought them, so one encoding serves them; whoever lags behind shares his with
those who lag alike. A patch leads to the state in which it is begun, however many turns of the event loop it takes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any, Final, NamedTuple
from weakref import WeakKeyDictionary

import trio

from vexil.node.api import event_stream, json_body
from vexil.node.api.flag_set_documents import TURN_BYTES, TURN_NAMES, segment_pieces
from vexil.node.api.made_once import MadeOnce
from vexil.node.feed import Delta, Feed, Position
from vexil.node.served_changes import EVALUATORS, METADATA

PATCHES_MAX: Final = 64
"""Kept of one feed, all to one state, from different ones; the one that was asked for first goes first."""


class Patch(NamedTuple):
    """One patch: the whole event in pieces, and the position to which it leads."""

    position: Position
    pieces: tuple[bytes, ...]


class _ToPosition(NamedTuple):
    """Patches to one position, by where they begin; None where the whole set has to be taken."""

    number: int
    patches: MadeOnce[int, Patch | None]


class FlagSetPatches:
    """The patches that streams share."""

    __slots__ = ("_feeds",)

    def __init__(self) -> None:
        """None yet."""
        self._feeds: WeakKeyDictionary[Feed, _ToPosition] = WeakKeyDictionary()

    async def since(self, feed: Feed, number: int, token: Callable[[], str]) -> Patch | None:
        """From the position ``number`` to where the feed is now; None if the whole set has to be taken.

        ``token`` gives the token of the project's present state; it is the event's id.
        """
        shared = self._feeds.get(feed)
        if shared is None or shared.number != feed.position.number:
            shared = self._feeds[feed] = _ToPosition(feed.position.number, MadeOnce(kept_max=PATCHES_MAX))
        return await shared.patches.of(
            number,
            None,  # not the feed, which would live as long as its patches
            lambda: _make(feed, number, token()),
            current=lambda _: True,  # to this position; who has gone on from there asks again
        )


async def _make(feed: Feed, number: int, token: str) -> Patch | None:
    delta = feed.since(number)
    if delta is None:
        return None
    position = feed.position
    event = [event_stream.head("patch", id_=token), *await _encoded(feed, delta, position)]
    return Patch(position, _joined([*event, event_stream.TAIL]))


async def _encoded(feed: Feed, delta: Delta, position: Position) -> list[bytes]:
    flag_set = feed.flag_set
    documents = {key: flag_set.flags.get(key) for key in delta.flags}
    changed: dict[str, dict[str, list[str]]] = {}
    whole: dict[str, Any] = {}
    gone: list[str] = []
    for key, touched in delta.segments.items():
        document = flag_set.segments.get(key)
        if document is None:
            gone.append(key)
        elif touched is None:
            whole[key] = document
        else:
            now = document["members"]
            add = sorted(m for m, belonged in touched.items() if not belonged and m in now)
            remove = sorted(m for m, belonged in touched.items() if belonged and m not in now)
            if add or remove:
                changed[key] = {"add": add, "remove": remove}
    settings: dict[str, object] = {}
    if EVALUATORS in delta.settings:
        settings["evaluators"] = dict(flag_set.evaluators)
    if METADATA in delta.settings:
        settings["metadata"] = dict(flag_set.metadata)
    # From here on others may have turns. Documents are never changed; large member sets are, unless they are lent.
    large = any(len(document["members"]) > TURN_NAMES for document in whole.values())
    with flag_set.cut() if large else nullcontext():
        head = {"from": delta.since.version, "version": position.version}
        pieces = [json_body.encode(head)[:-1] + b',"set":{']
        pieces += await _flags({key: d for key, d in documents.items() if d is not None})
        deleted = sorted(key for key, d in documents.items() if d is None)
        pieces.append(b'},"delete":' + json_body.encode(deleted))
        if whole or gone or changed:
            pieces.append(b',"segments":{"set":{')
            for number, (key, document) in enumerate(whole.items()):
                pieces.append((b"," if number else b"") + json_body.encode(key) + b":")
                pieces += [piece async for piece in segment_pieces(document)]
            others = {"delete": sorted(gone), "members": changed}
            pieces.append(b"}," + json_body.encode(others)[1:])
        pieces.append((b"," + json_body.encode(settings)[1:]) if settings else b"}")
    return pieces


async def _flags(documents: Mapping[str, object]) -> list[bytes]:
    pieces: list[bytes] = []
    size = 0
    for key, document in documents.items():
        comma = b"," if pieces else b""
        pieces.append(comma + json_body.encode(key) + b":" + json_body.encode(document))
        size += len(pieces[-1])
        if size > TURN_BYTES:
            await trio.lowlevel.checkpoint()
            size = 0
    return pieces


def _joined(pieces: list[bytes]) -> tuple[bytes, ...]:
    """Small pieces put together: each is sent, and waited for, on its own."""
    joined: list[bytes] = []
    part: list[bytes] = []
    size = 0
    for piece in pieces:
        part.append(piece)
        size += len(piece)
        if size > TURN_BYTES:
            joined.append(b"".join(part))
            part, size = [], 0
    return (*joined, b"".join(part)) if part else tuple(joined)
