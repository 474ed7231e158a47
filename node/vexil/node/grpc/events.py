"""``EventStream`` of ``flagd.evaluation``: that flags have changed, for clients that keep what was evaluated for them.

More flags may be named than have changed, never less. A flag is named with everything that asks for it; whatever goes
by a rule is named when a segment, or what the rules share, has changed. An event is made once for all the streams that
have seen the same.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any, Final

from google.protobuf.struct_pb2 import Struct

from vexil.node.feed import Delta, Feed
from vexil.node.grpc.call import Call, Method, Methods
from vexil.node.grpc.framing import framed
from vexil.node.grpc.places import Place
from vexil.node.grpc.proto import evaluation_pb2 as pb
from vexil.node.grpc.selectors import HEADER, check_selector
from vexil.node.grpc.watching import watching
from vexil.sdk.model import FlagSet
from vexil.sdk.rules import has_logic

READY: Final = "provider_ready"
CHANGE: Final = "configuration_change"
KEEP_ALIVE: Final = "keep_alive"
FLAGS_PER_EVENT: Final = 1_000
"""Of the changes that a new stream begins with: what a client takes at once, and the loop makes in one turn."""
EVENTS_KEPT_MAX: Final = 32
"""Feeds whose last event is kept, encoded."""


class Events:
    """The last event of each feed; bounded."""

    __slots__ = ("_made",)

    def __init__(self) -> None:
        self._made: OrderedDict[Feed, tuple[int, int, bytes | None]] = OrderedDict()

    def since(self, feed: Feed, number: int) -> bytes | None:
        """What leads from the position ``number`` to the present one, framed; None if no flag is concerned."""
        now = feed.position.number
        made = self._made.get(feed)
        if made is None or made[:2] != (number, now):
            changed = changed_flags(feed.flag_set, feed.since(number))
            made = self._made[feed] = (number, now, _changed(changed) if changed else None)
            if len(self._made) > EVENTS_KEPT_MAX:
                self._made.popitem(last=False)
        self._made.move_to_end(feed)
        return made[2]


def changed_flags(flag_set: FlagSet, delta: Delta | None) -> dict[str, str]:
    """Flags that may answer otherwise after ``delta`` (None: any change), with what has become of each."""
    flags = flag_set.flags
    if delta is None:
        return dict.fromkeys(sorted(flags), "update")
    touched = set(delta.flags)
    if delta.settings:
        touched.update(flags)
    elif delta.segments:
        touched.update(key for key, document in flags.items() if has_logic(document))
    asked_by: dict[str, list[str]] = {}
    for key in flags:
        for asked in flag_set.prerequisites(key):
            asked_by.setdefault(asked, []).append(key)
    pending = list(touched)
    while pending:
        for key in asked_by.get(pending.pop(), ()):
            if key not in touched:
                touched.add(key)
                pending.append(key)
    return {key: "update" if key in flags else "delete" for key in sorted(touched)}


def everything(flag_set: FlagSet) -> Iterator[bytes]:
    """Changes that name every flag, framed, `FLAGS_PER_EVENT` at a time.

    Who comes back after a while has answers in a cache, and was not told what has changed meanwhile: stock clients
    empty theirs by what is named, and by nothing else.
    """
    changed = [*changed_flags(flag_set, None).items()]
    for start in range(0, len(changed), FLAGS_PER_EVENT):
        yield _changed(dict(changed[start : start + FLAGS_PER_EVENT]))


def methods() -> Methods:
    """The method, in both generations; what it returns keeps events."""
    events = Events()

    async def event_stream(call: Call, _: Any) -> None:
        """That it is ready, what has changed, and now and then that it is still there."""
        _check(call, call.place)
        async with watching(call) as watch:
            await watch.tell(READY, _event(READY))
            for page in everything(watch.feed.flag_set):
                await watch.tell(CHANGE, page)
            while True:
                changed = await watch.woken()
                _check(call, watch.look_again())
                if not changed:
                    await watch.tell(KEEP_ALIVE, _event(KEEP_ALIVE))
                    continue
                before = watch.seen
                watch.mark()
                event = events.since(watch.feed, before)
                if event is not None:
                    await watch.tell(CHANGE, event)

    method = Method(request=pb.EventStreamRequest, handler=event_stream, streams=True)
    return {f"/flagd.evaluation.{version}.Service/EventStream": method for version in ("v1", "v2")}


def _check(call: Call, place: Place) -> None:
    check_selector(call.metadata.get(HEADER), "", place.flag_set.metadata)


def _changed(flags: Mapping[str, str]) -> bytes:
    data = Struct()
    data.update({"flags": {key: {"type": kind} for key, kind in flags.items()}})
    return _event(CHANGE, data)


def _event(kind: str, data: Struct | None = None) -> bytes:
    return framed(pb.EventStreamResponse(type=kind, data=data).SerializeToString())
