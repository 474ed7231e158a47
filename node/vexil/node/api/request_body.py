"""Request bodies with a bound of their own route, and what becomes of the rest of a body that is over it.

A sender who is still writing when he is refused does not read the answer; and a server that closes on unread bytes
resets the connection, so that the answer is lost. So the rest is read on for a while and thrown away.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, ClassVar

import trio
from quart.wrappers.request import Body
from quart_trio.wrappers import TrioRequest
from werkzeug.exceptions import RequestTimeout

from vexil.node.api.limits import ApiLimits
from vexil.node.errors import LimitExceeded, Malformed

IMPORT_PREFIX = "/api/v1/projects/"
IMPORT_SUFFIX = "/import"
RESTORE_SUFFIX = "/restore"
IMPORT_TIMEOUT_FACTOR = 10


class BoundedBody(Body):
    """A body as it arrives: kept up to its limit, and from there on only counted as on its way."""

    def __init__(self, expected_content_length: int | None, max_content_length: int | None) -> None:
        """Made by the framework; a declared length over the limit is over it at once."""
        # None of what the base class would make is used: it is asyncio's.
        self._parts: list[bytes] = []
        self._size = 0
        self._limit = max_content_length or 0
        self.over = (expected_content_length or 0) > self._limit
        self._decided = trio.Event()
        self.arrived = trio.Event()
        if self.over:
            self._decided.set()

    def append(self, data: bytes) -> None:
        """Take the next part."""
        if self.over or not data:
            return
        self._size += len(data)
        self._parts.append(data)
        if self._size > self._limit:
            self.over = True
            self._parts.clear()
            self._decided.set()

    def set_complete(self) -> None:
        """The last part has arrived."""
        self.arrived.set()
        self._decided.set()

    def clear(self) -> None:
        """Let go of what has been read."""
        self._parts.clear()

    def __await__(self) -> Generator[Any, None, bytes]:
        """The whole body, once it is here or known to be over its limit; nothing of one that is."""
        yield from self._decided.wait().__await__()
        return self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)


class BoundedRequest(TrioRequest):
    """A request whose body has the limit of its path."""

    body_class = BoundedBody  # type: ignore[assignment]  # the framework names the concrete class
    limits: ClassVar[ApiLimits] = ApiLimits()

    def __init__(self, method: str, scheme: str, path: str, *rest: Any, **options: Any) -> None:
        """Made by the framework."""
        limits = self.limits
        self.body_limit_bytes = limits.request_body_bytes_max
        self._body_timeout_s = limits.body_timeout_s
        if path.startswith(IMPORT_PREFIX) and path.endswith((IMPORT_SUFFIX, RESTORE_SUFFIX)):
            is_import = path.endswith(IMPORT_SUFFIX)
            self.body_limit_bytes = (
                limits.import_body_bytes_max if is_import else limits.restore_body_bytes_max
            )
            self._body_timeout_s *= IMPORT_TIMEOUT_FACTOR
        options["max_content_length"] = self.body_limit_bytes
        super().__init__(method, scheme, path, *rest, **options)

    async def read(self) -> bytes:
        """The body. Raises LimitExceeded, Malformed (it is compressed) or RequestTimeout."""
        body: Any = self.body
        encoding = self.headers.get("Content-Encoding", "identity")
        if encoding != "identity":
            raise Malformed(f"Content-Encoding {encoding!r} is not taken: send the body as it is")
        data = b""
        with trio.move_on_after(self._body_timeout_s) as waiting:
            data = await body
        if waiting.cancelled_caught:
            raise RequestTimeout
        if body.over:
            limit = self.body_limit_bytes
            raise LimitExceeded("request_body_bytes", f"the body of this request has at most {limit} bytes")
        body.clear()
        return data

    async def drain(self) -> None:
        """Give the sender of a body over its limit some time to finish."""
        body: Any = self.body
        if body.over:
            with trio.move_on_after(self.limits.drain_timeout_s):
                await body.arrived.wait()


def bounded(limits: ApiLimits) -> type[BoundedRequest]:
    """The request class of an app with these limits."""
    return type("Request", (BoundedRequest,), {"limits": limits})
