"""A node of a version that does not exist yet, which speaks of things that this version has never heard of.

It is this version's engine with more in whatever it writes: beside each change of an object a field of the same object
that nobody knows, an item more in every payload, operation and change, and an unknown member in every message. Older
nodes have to keep, hash, store and pass on all of it, and so has the node itself after it was set back to this version.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import msgpack

from vexil.chaos.world.simulated_slot import Slot, WatchedEngine, Watcher
from vexil.crdt import cell as cells
from vexil.crdt.change import EXISTS, Change, decode
from vexil.crdt.payload import is_tombstone
from vexil.crdt.pen import CellWrite, Pen
from vexil.node.engine_types import EngineSettings, Seams
from vexil.node.gossip.messages import PROTOCOL_VERSION
from vexil.node.seams import PeerAddress, PeerTransport

MORE: Final = "of the next version"
"""What is added everywhere, and how the added field and member are called."""
_OPERATIONS, _BEFORE = 10, 11
"""Places in an encoded change, see `vexil.crdt.change`."""
_PAYLOAD = 4
"""Place in an encoded operation."""


class NextVersion(WatchedEngine):
    """This version's engine with the next one's pens."""

    def __init__(self, settings: EngineSettings, seams: Seams, slot: Slot, watcher: Watcher) -> None:
        """An engine of ``slot``."""
        super().__init__(settings, seams, slot, watcher)
        self.pipeline._pens = _NextPens(self)  # noqa: SLF001 - the product has no seam for what only a test writes


class _NextPens(dict[str, Pen]):
    """Gives a next version's pen for whatever project it is asked for."""

    def __init__(self, engine: NextVersion) -> None:
        super().__init__()
        self._engine = engine

    def get(self, name: str, default: Any = None) -> Any:
        """The project's pen, made if need be."""
        if name not in self:
            engine = self._engine
            project = engine.projects.get(name, engine.system)
            self[name] = NextPen(project.replica, engine.pipeline.incarnation)
        return self[name]


class NextPen(Pen):
    """Writes what this version would, and more."""

    __slots__ = ()

    def write(
        self,
        writes: Sequence[CellWrite],
        *,
        hlc: int,
        author: str,
        message: str = "",
        idempotency: tuple[str, bytes] | None = None,
        before: Callable[[CellWrite], object] | None = None,
    ) -> Change:
        """`Pen.write`."""
        change = super().write(
            writes, hlc=hlc, author=author, message=message, idempotency=idempotency, before=before
        )
        body = msgpack.unpackb(change.raw, timestamp=0)
        added = self._added(change, author)
        for operation in body[_OPERATIONS]:
            operation[_PAYLOAD] = _payload_with_more(operation[_PAYLOAD])
            operation.append(MORE)
        body[_OPERATIONS] += added
        if body[_BEFORE]:
            body[_BEFORE] += [None] * len(added)
        body.append({MORE: True})
        newer = decode(msgpack.packb(body))
        self._chain = newer.chain
        return newer

    def _added(self, change: Change, author: str) -> list[list[object]]:
        """For each object that the change writes and does not remove: a field of it that this version cannot know."""
        removed = {
            (o.object, o.generation)
            for o in change.operations
            if o.field == EXISTS and is_tombstone(o.payload)
        }
        places = {
            o.object: (o.object, *o.generation)
            for o in reversed(change.operations)
            if (o.object, o.generation) not in removed
        }
        return [
            [*place, MORE, msgpack.packb([author, {"written by": change.id}]), self._replaced(*place)]
            for _, place in sorted(places.items())
        ]

    def _replaced(self, name: str, incarnation: int, seq: int) -> list[int]:
        live = cells.live_dots(self._replica.cell(name, (incarnation, seq), MORE), without=self.incarnation)
        return [number for dot in live for number in dot]


def _payload_with_more(payload: bytes) -> bytes:
    if is_tombstone(payload):
        return payload
    return bytes(msgpack.packb([*msgpack.unpackb(payload, timestamp=0), MORE]))


class NextTransport:
    """``PeerTransport`` of a node of the next version."""

    def __init__(self, transport: PeerTransport) -> None:
        """Calls through ``transport``."""
        self._transport = transport

    async def call(self, peer: PeerAddress, method: str, body: bytes, *, timeout_ms: int) -> bytes:
        """``PeerTransport.call``."""
        return await self._transport.call(peer, method, with_more(body), timeout_ms=timeout_ms)


def with_more(message: bytes) -> bytes:
    """A message as the next version would send it."""
    members = msgpack.unpackb(message, timestamp=0)
    return bytes(msgpack.packb({**members, "v": PROTOCOL_VERSION + 1, MORE: [MORE]}))
