"""Server-sent events as bytes.

Every end of a stream that the node knows of is said: an ``end`` event with the reason, and when to come back, drawn so
that a crowd that is ended together does not come back together.
"""

from __future__ import annotations

from random import Random
from typing import Final

from vexil.node.api import json_body
from vexil.node.api.limits import ApiLimits

CONTENT_TYPE: Final = "text/event-stream"
HEARTBEAT: Final = b": heartbeat\n\n"
HEADERS: Final = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
"""Nothing in between may keep a stream, or hold its events back."""


def head(event: str, *, id_: str = "") -> bytes:
    """An event up to its data, which must have no line end in it; `TAIL` comes behind that."""
    identified = f"id: {id_}\n" if id_ else ""
    return f"event: {event}\n{identified}data: ".encode()


TAIL: Final = b"\n\n"


def event(name: str, data: object, *, id_: str = "") -> bytes:
    """A whole event."""
    return head(name, id_=id_) + json_body.encode(data) + TAIL


def retry(rng: Random, limits: ApiLimits, *, times: int = 1) -> bytes:
    """How long the client waits before it comes back, in milliseconds; ``times`` as long as others do."""
    return b"retry: %d\n\n" % (times * rng.randint(limits.stream_retry_ms_min, limits.stream_retry_ms_max))


def end(reason: str, rng: Random, limits: ApiLimits) -> bytes:
    """The last words of a stream."""
    return retry(rng, limits) + event("end", {"reason": reason})
