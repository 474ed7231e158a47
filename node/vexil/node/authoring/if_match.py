"""ETags of flags, segments and the like, and what a stale one means.

An ETag says what its reader has seen of one object: the generation that was shown, and per incarnation the highest
seq among the live lanes of the cells that hold a value. Changes of an incarnation are applied in the order of their
seq, so a lane that came later is above that, and each *field* can be judged by itself: it is stale iff one of its live
lanes is not covered. The ETag of an object is the same at every node with equal values of it, and does not move when
other objects change.

A cell that only says "removed" is garbage one day, at another moment on each node, so no ETag speaks of it. While it is
there, only a reader who has seen the object as it is now has certainly seen the removal.

Existence is judged beside the fields: another generation is shown, another one has appeared, or a delete has come in.
A re-touch of existence by an edit is no reason.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

import msgpack

from vexil.crdt.cell import Lane, has_value, live
from vexil.crdt.change import NO_GENERATION, Dot
from vexil.crdt.generation import Cells, visible
from vexil.crdt.payload import is_tombstone
from vexil.crdt.schema import EXISTS
from vexil.node.authoring.limits import IF_MATCH_BYTES_MAX
from vexil.node.authoring.sheet import Address
from vexil.node.errors import Malformed, Stale

INCARNATIONS_MAX: Final = 200
"""An object that more processes have written is told apart as a whole only: its ETag stays short of 4 KiB."""
_VERSION = 1
_DIGEST_BYTES = 16


@dataclass(frozen=True, slots=True)
class Seen:
    """What one ETag says. ``digest`` is there if the object has been written by too many processes to list them."""

    generation: Dot
    vv: dict[int, int]
    digest: bytes = b""
    values: bytes = b""
    """Tells values apart where a removal writes nothing beside it that would: in objects without a generation."""

    def covers(self, lane: Lane) -> bool:
        """Whether the reader has seen the lane."""
        return self.vv.get(lane.incarnation, 0) >= lane.seq


def etag_of(cells: Cells) -> str:
    """The quoted ETag of an object with these cells (`Replica.cells`); an object without any has one too."""
    seen = _seen_now(cells)
    flat = [item for pair in sorted(seen.vv.items()) for item in pair]
    packed = msgpack.packb([_VERSION, *seen.generation, flat, seen.digest, seen.values])
    return f'"{base64.urlsafe_b64encode(packed).decode().rstrip("=")}"'


def _seen_now(cells: Cells) -> Seen:
    vv: dict[int, int] = {}
    found = visible(cells)
    shown = found[0].generation if found else NO_GENERATION
    dots = [(lane.incarnation, lane.seq) for _, _, lane in _lanes(cells)]
    # Its create belongs to what has been seen of a generation, also when every lane of that change has been replaced.
    for incarnation, seq in (*dots, *(existence.generation for existence in found)):
        vv[incarnation] = max(seq, vv.get(incarnation, 0))
    values = b"" if found else _digest(cells)
    if len(vv) > INCARNATIONS_MAX:
        return Seen(shown, {}, _digest(cells), values)
    return Seen(shown, vv, b"", values)


class Condition:
    """An ``If-Match`` on one object: ``header`` as it came, None if there was none."""

    __slots__ = ("_any", "_cells", "_current", "_kind", "_seen", "given")

    def __init__(self, header: object, *, kind: str, cells: Cells, current: Callable[[], object]) -> None:
        """Raises Malformed if ``header`` is not an ``If-Match``; ``current`` describes what is there now."""
        self._kind = kind
        self._cells = cells
        self._current = current
        self.given = header is not None
        self._any = False
        self._seen: list[Seen] = []
        if header is not None:
            if not isinstance(header, str):
                raise Malformed("If-Match must be a text")
            self._any = header.strip() == "*"
            if not self._any:
                self._seen = parse_if_match(header)

    def check_existence(self, *, generation: Dot | None) -> None:
        """Raise Stale if the object was created, deleted or re-created since.

        ``generation`` is the one that is there, seen from the change that is being made; None if none is.
        """
        if not self.given:
            return
        if generation is None:
            raise self._stale("it is not there")
        if self._any:
            return
        self._seen = [s for s in self._seen if s.generation == generation and self._same_existence(s)]
        if not self._seen:
            raise self._stale("it was created, deleted or created again since")

    def check_touched(self, touched: Iterable[Address]) -> None:
        """Raise Stale if one of the cells has changed since."""
        if not self.given or self._any:
            return
        cells = set(touched)
        if not any(self._fresh(seen, cells) for seen in self._seen):
            fields = sorted(field for _, field in cells)
            raise self._stale(f"changed since: one or more of {', '.join(fields[:10])}")

    def _same_existence(self, seen: Seen) -> bool:
        if seen.digest:
            return True
        for existence in visible(self._cells):
            incarnation, seq = existence.generation
            if seen.vv.get(incarnation, 0) < seq:
                return False
        return all(
            seen.covers(lane)
            for generation, fields in self._cells.items()
            if generation != NO_GENERATION and EXISTS in fields and has_value(fields[EXISTS])
            for lane in live(fields[EXISTS])
            if is_tombstone(lane.payload)
        )

    def _fresh(self, seen: Seen, cells: set[Address]) -> bool:
        if seen.digest:
            return not cells or seen.digest == _digest(self._cells)
        unseen = [
            packed
            for generation, field in cells
            if (packed := self._cells.get(generation, {}).get(field)) is not None
            and not all(seen.covers(lane) for lane in live(packed))
        ]
        return not any(map(has_value, unseen)) and (not unseen or seen == _seen_now(self._cells))

    def _stale(self, detail: str) -> Stale:
        return Stale(self._kind, self._current(), detail)


def parse_if_match(header: str) -> list[Seen]:
    """The ETags of an ``If-Match`` header, weak ones taken for strong (proxies weaken them). Raises Malformed."""
    if len(header) > IF_MATCH_BYTES_MAX:
        raise Malformed("If-Match is too long")
    return [_parse(part.strip()) for part in header.split(",")]


def _parse(quoted: str) -> Seen:
    text = quoted.removeprefix("W/")
    if len(text) < 3 or text[0] != '"' or text[-1] != '"':
        raise Malformed("If-Match must be * or the ETag of an answer, in its quotes")
    try:
        packed = base64.b64decode(text[1:-1] + "=" * (-(len(text) - 2) % 4), altchars=b"-_", validate=True)
        version, incarnation, seq, flat, digest, values = msgpack.unpackb(packed)
        if (
            version != _VERSION
            or type(digest) is not bytes
            or type(values) is not bytes
            or type(flat) is not list
            or len(flat) % 2
        ):
            raise ValueError("not of this version")
        if not all(type(number) is int for number in (incarnation, seq, *flat)):
            raise ValueError("not numbers")
        return Seen((incarnation, seq), dict(zip(flat[::2], flat[1::2], strict=True)), digest, values)
    except (ValueError, TypeError, binascii.Error, msgpack.UnpackException):
        raise Malformed("If-Match is not an ETag that this service has given") from None


def _lanes(cells: Cells) -> Iterator[tuple[Dot, str, Lane]]:
    """The live lanes that an ETag covers: of cells with a value, in live generations and in none."""
    alive = {NO_GENERATION, *(existence.generation for existence in visible(cells))}
    for generation, fields in cells.items():
        if generation in alive:
            for field, packed in fields.items():
                lanes = live(packed)
                if not all(is_tombstone(lane.payload) for lane in lanes):
                    for lane in lanes:
                        yield generation, field, lane


def _digest(cells: Cells) -> bytes:
    lanes = sorted(
        (*generation, field, lane.incarnation, lane.seq) for generation, field, lane in _lanes(cells)
    )
    return sha256(msgpack.packb(lanes)).digest()[:_DIGEST_BYTES]
