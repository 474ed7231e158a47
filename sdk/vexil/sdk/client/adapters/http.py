"""HTTP by httpx on trio: the Transport of production.

The one idea: no byte is taken that nobody has room for. Bodies are read raw and counted (no compression, so that
small answers stay small), redirects are not followed (the key would go with them), every wait has an end.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Final

import httpx
import trio

from vexil.sdk.client.seams import (
    Answer,
    AnswerTooLarge,
    BrokenAnswer,
    StreamAnswer,
    TransportError,
    Unreachable,
)

_CHUNK_BYTES_MAX: Final = 64 * 1024
_CONNECTIONS_MAX: Final = 16
_IDLE_S: Final = 30.0


class HttpTransport:
    """To be used inside one trio run, and closed there."""

    def __init__(
        self, *, connect_timeout_s: float, tls: ssl.SSLContext | None, proxy_from_environment: bool
    ) -> None:
        self._client = httpx.AsyncClient(
            verify=tls if tls is not None else True,
            trust_env=proxy_from_environment,
            follow_redirects=False,
            timeout=httpx.Timeout(None, connect=connect_timeout_s),
            limits=httpx.Limits(max_connections=_CONNECTIONS_MAX, keepalive_expiry=_IDLE_S),
        )

    async def aclose(self) -> None:
        """See ``Transport``."""
        await self._client.aclose()

    async def get(self, url: str, headers: Mapping[str, str], *, bytes_max: int, timeout_s: float) -> Answer:
        """See ``Transport``."""
        with trio.move_on_after(timeout_s):
            async with self._open(url, headers) as response:
                parts: list[bytes] = []
                received = 0
                async for part in response.aiter_raw(_CHUNK_BYTES_MAX):
                    received += len(part)
                    if received > bytes_max:
                        raise AnswerTooLarge(f"an answer of more than {bytes_max} bytes")
                    parts.append(part)
                return Answer(response.status_code, _headers(response), b"".join(parts))
        raise Unreachable(f"no answer within {timeout_s:g} s")

    @asynccontextmanager
    async def stream(
        self, url: str, headers: Mapping[str, str], *, timeout_s: float
    ) -> AsyncIterator[StreamAnswer]:
        """See ``Transport``."""
        with trio.CancelScope() as scope:
            scope.deadline = trio.current_time() + timeout_s
            async with self._open(url, headers) as response:
                scope.deadline = float("inf")
                try:
                    yield _HttpStream(response)
                finally:
                    _hang_up(response)
        if scope.cancelled_caught:
            raise Unreachable(f"no answer within {timeout_s:g} s", connected=True)

    @asynccontextmanager
    async def _open(self, url: str, headers: Mapping[str, str]) -> AsyncIterator[httpx.Response]:
        try:
            async with self._client.stream("GET", url, headers=dict(headers)) as response:
                yield response
        except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
            raise _translated(error) from error


class _HttpStream:
    """See ``StreamAnswer``."""

    def __init__(self, response: httpx.Response) -> None:
        self.status = response.status_code
        self.headers = _headers(response)
        self._parts = response.aiter_raw()

    async def receive(self) -> bytes:
        try:
            return await anext(self._parts, b"")
        except (httpx.HTTPError, httpx.StreamError) as error:
            raise _translated(error) from error


def _translated(error: Exception) -> TransportError:
    what = str(error) or type(error).__name__
    if isinstance(
        error, httpx.ConnectError | httpx.ConnectTimeout | httpx.UnsupportedProtocol | httpx.InvalidURL
    ):
        return Unreachable(f"no connection: {what}")
    return BrokenAnswer(f"the connection broke: {what}")


def _headers(response: httpx.Response) -> dict[str, str]:
    return {name.lower(): value for name, value in response.headers.items()}


def _hang_up(response: httpx.Response) -> None:
    """End the connection for the node too, even while a forked child still holds a copy of the socket."""
    stream = response.extensions.get("network_stream")
    found = stream.get_extra_info("socket") if stream is not None else None
    if found is not None:
        with suppress(OSError):
            found.shutdown(socket.SHUT_RDWR)
