"""``flagd.sync.v1.FlagSyncService``: the environment's flagd document, whole, now and after every change of it.

A document is put into a message once for all the streams and calls that want it. Where changes never stop, documents
are made for a part of the time only, however large they are: streams skip what comes in between.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, Final

import trio

from vexil.node.grpc.call import Call, Method, Methods
from vexil.node.grpc.framing import framed
from vexil.node.grpc.places import Place
from vexil.node.grpc.proto import sync_pb2 as pb
from vexil.node.grpc.selectors import HEADER, check_selector
from vexil.node.grpc.watching import watching

CALM_FACTOR: Final = 4
"""How much longer than a document was made the next one is waited for."""
CALM_S_MAX: Final = 2.0


@dataclass(frozen=True, slots=True)
class _Kept:
    tag: str
    frame: bytes
    calm_until_s: float
    """Before then (`trio.current_time()`) no stream asks for another one."""


class _Documents:
    """The last document of each environment as a message, which `SyncFlags` and `FetchAllFlags` have alike; bounded."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, str], _Kept] = OrderedDict()

    async def of(self, call: Call, place: Place) -> tuple[str, bytes]:
        """The entity tag and the frame of the document at one moment since the call began."""
        begun_s = trio.current_time()
        made = await call.services.documents.of(place.project, place.environment)
        address = (place.project.name, place.environment)
        kept = self._kept.get(address)
        if kept is None or kept.tag != made.etag:
            message = pb.SyncFlagsResponse(flag_configuration=made.body.decode())
            frame = framed(message.SerializeToString())
            now_s = trio.current_time()
            calm_s = min(CALM_FACTOR * (now_s - begun_s), CALM_S_MAX)
            kept = self._kept[address] = _Kept(made.etag, frame, now_s + calm_s)
            if len(self._kept) > call.services.limits.documents_cached_max:
                self._kept.popitem(last=False)
        self._kept.move_to_end(address)
        return kept.tag, kept.frame

    async def calm(self, place: Place) -> None:
        """Wait until the streams of an environment may ask for another document of it."""
        kept = self._kept.get((place.project.name, place.environment))
        if kept is not None:
            await trio.sleep_until(kept.calm_until_s)


def methods() -> Methods:
    """The service; what it returns keeps documents."""
    documents = _Documents()

    async def sync_flags(call: Call, request: Any) -> None:
        """The document, and again whenever it is another one."""
        _check(call, request, call.place)
        async with watching(call) as watch:
            place, sent = call.place, ""
            while True:
                watch.mark()
                tag, frame = await documents.of(call, place)
                if tag != sent:
                    await watch.tell("document", frame)
                    sent = tag
                while not await watch.woken():
                    _check(call, request, watch.look_again())
                await documents.calm(place)
                place = watch.look_again()
                _check(call, request, place)

    async def fetch_all_flags(call: Call, request: Any) -> None:
        """The document."""
        _check(call, request, call.place)
        _, frame = await documents.of(call, call.place)
        await call.send_frame(frame)

    prefix = "/flagd.sync.v1.FlagSyncService/"
    return {
        prefix + "SyncFlags": Method(request=pb.SyncFlagsRequest, handler=sync_flags, streams=True),
        prefix + "FetchAllFlags": Method(request=pb.FetchAllFlagsRequest, handler=fetch_all_flags),
        prefix + "GetMetadata": Method(request=pb.GetMetadataRequest, handler=get_metadata),
    }


async def get_metadata(call: Call, _: Any) -> None:
    """What clients are to put into every context: nothing. It is there all the same, for they look into it."""
    response = pb.GetMetadataResponse()
    response.metadata.SetInParent()
    await call.send(response)


def _check(call: Call, request: Any, place: Place) -> None:
    check_selector(call.metadata.get(HEADER), request.selector, place.flag_set.metadata)
