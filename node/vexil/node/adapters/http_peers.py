"""Calls to other nodes over HTTP: the PeerTransport of production.

The one idea: every peer has a link of its own (connections, session, bounds), so a peer that hangs can use up its
own link and nobody else's. A call waits for a place on its link before it is signed, so that signed requests never
queue here and their counters reach the peer about in order; the whole of it, opening a session too, happens within
the call's ``timeout_ms``.

A session that the peer does not know any more (it was restarted) is replaced and the call repeated, once: such a
refusal says that nothing was handled.
"""

from __future__ import annotations

import ssl
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

import h11
import httpx
import msgpack
import trio

from vexil.node.adapters.peer_app import CONTENT_TYPE, PATH_PREFIX, PEER_METHODS, SESSION_PATH
from vexil.node.adapters.peer_auth import (
    ANSWER_HEADER,
    FRAME_LIMIT_BYTES,
    OPEN_HEADER,
    REFUSAL_CODES,
    REPLAYED,
    REQUEST_HEADER,
    SESSION_UNKNOWN,
    ForgedAnswer,
    PeerKeys,
    PeerSession,
    SessionOpening,
)
from vexil.node.seams import Entropy, PeerAddress, PeerIdentity, PeerNonsense, PeerRefused, PeerUnreachable

REFUSAL_LIMIT_BYTES = 8 * 1024
_RENEW_CODES = frozenset({SESSION_UNKNOWN, REPLAYED})

OnBytes = Callable[[PeerAddress, str, int, int], None]
"""Told ``(peer, method, sent, received)`` after every exchange, also a failed one: bytes of the bodies, without HTTP
framing. ``method`` is a peer method or ``session``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerClientLimits:
    """Bounds of ``HttpPeerTransport``."""

    frame_limit_bytes: int = FRAME_LIMIT_BYTES
    connections_per_peer_max: int = 4
    """Calls to one peer at one time; more of them wait within their own timeouts. One of each kind is the normal
    case; more connections make a call dearer, for the pool asks the system about every idle one each time."""
    links_max: int = 512
    """Peers with open connections; beyond it the longest unused link without a call on it is closed."""
    idle_connection_ms: int = 30_000
    """Shorter than what a server allows, so that we are the ones who close."""


class _Answer(NamedTuple):
    status: int
    signature: str | None
    body: bytes


class _Link:
    """What we hold for one peer URL."""

    __slots__ = ("calls", "host", "opening", "places", "pool", "session", "urls")

    def __init__(self, url: httpx.URL, tls: ssl.SSLContext, limits: PeerClientLimits) -> None:
        self.host = url.netloc.decode("ascii")
        paths = (SESSION_PATH, *(PATH_PREFIX + method for method in PEER_METHODS))
        self.urls = {path: url.copy_with(raw_path=path.encode()) for path in paths}
        # The transport below httpx.AsyncClient: the client would add redirects, cookies and a log line a
        # call, and their time. It reads no environment variable: proxies are not for peers.
        self.pool = httpx.AsyncHTTPTransport(
            verify=tls,
            trust_env=False,
            limits=httpx.Limits(
                max_connections=limits.connections_per_peer_max,
                max_keepalive_connections=limits.connections_per_peer_max,
                keepalive_expiry=limits.idle_connection_ms / 1000,
            ),
        )
        self.places = trio.CapacityLimiter(limits.connections_per_peer_max)
        self.opening = trio.Lock()
        self.session: PeerSession | None = None
        self.calls = 0


class HttpPeerTransport:
    """A PeerTransport over HTTP/1.1. Use it inside the trio run that made it, and ``aclose`` it at the end.

    ``caller`` is who we say we are; ``secret`` is the cluster's; ``tls`` checks the certificates of peers whose URL
    begins with https (default: the system's authorities). Raises SecretTooShort.
    """

    def __init__(
        self,
        *,
        caller: PeerIdentity,
        secret: bytes,
        entropy: Entropy,
        on_bytes: OnBytes | None = None,
        limits: PeerClientLimits | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._caller = caller
        self._keys = PeerKeys(secret)
        self._entropy = entropy
        self._on_bytes = on_bytes
        self._limits = limits or PeerClientLimits()
        self._tls = tls
        self._links: OrderedDict[str, _Link] = OrderedDict()

    async def aclose(self) -> None:
        """Close all connections; calls in flight fail."""
        links = list(self._links.values())
        self._links.clear()
        for link in links:
            await link.pool.aclose()

    async def call(self, peer: PeerAddress, method: str, body: bytes, *, timeout_ms: int) -> bytes:
        """See ``PeerTransport.call``."""
        assert method in PEER_METHODS, method
        if len(body) > self._limits.frame_limit_bytes:
            detail = f"a request of {len(body)} bytes is over the limit of {self._limits.frame_limit_bytes}"
            raise PeerRefused("limit.frame", detail)
        with trio.move_on_after(timeout_ms / 1000):
            link = self._link(peer)
            link.calls += 1
            try:
                await self._close_surplus()
                async with link.places:
                    return await self._call(link, peer, method, body)
            finally:
                link.calls -= 1
        raise PeerUnreachable(f"{peer.url}: no answer to {method} within {timeout_ms} ms")

    async def _call(self, link: _Link, peer: PeerAddress, method: str, body: bytes) -> bytes:
        session = await self._session(link, peer, unless=None)
        try:
            return await self._attempt(link, session, peer, method, body)
        except PeerRefused as refused:
            if refused.code not in _RENEW_CODES:
                raise
        session = await self._session(link, peer, unless=session)
        return await self._attempt(link, session, peer, method, body)

    async def _attempt(
        self, link: _Link, session: PeerSession, peer: PeerAddress, method: str, body: bytes
    ) -> bytes:
        path = PATH_PREFIX + method
        request = session.sign("POST", path, body)
        answer = await self._exchange(link, peer, method, path, (REQUEST_HEADER, request.header), body)
        if answer.signature is None:
            raise _unsigned(peer, answer)
        try:
            session.check_answer(request, answer.status, answer.body, answer.signature)
        except ForgedAnswer as error:
            raise PeerNonsense(f"{peer.url}: {error}") from error
        if answer.status == 200:
            return answer.body
        raise _refusal(peer, answer)

    async def _session(self, link: _Link, peer: PeerAddress, *, unless: PeerSession | None) -> PeerSession:
        """The link's session, if it is another than ``unless``; else a new one, opened by one call for all."""
        if link.session is not None and link.session is not unless:
            return link.session
        async with link.opening:
            if link.session is None or link.session is unless:
                opening = SessionOpening(self._keys, self._caller, self._entropy)
                header = (OPEN_HEADER, opening.header)
                answer = await self._exchange(link, peer, "session", SESSION_PATH, header, b"")
                if answer.status != 200:
                    raise _unsigned(peer, answer)
                try:
                    link.session = opening.finish(answer.body)
                except ForgedAnswer as error:
                    raise PeerNonsense(f"{peer.url}: {error}") from error
            return link.session

    async def _exchange(
        self, link: _Link, peer: PeerAddress, method: str, path: str, header: tuple[str, str], body: bytes
    ) -> _Answer:
        headers = [("Host", link.host), ("Content-Type", CONTENT_TYPE), header]
        request = httpx.Request("POST", link.urls[path], headers=headers, content=body)
        received = 0
        try:
            response = await link.pool.handle_async_request(request)
            try:
                limit = self._limits.frame_limit_bytes if response.status_code == 200 else REFUSAL_LIMIT_BYTES
                _check_length(peer, response, limit)
                parts: list[bytes] = []
                assert isinstance(response.stream, httpx.AsyncByteStream)
                async for part in response.stream:
                    received += len(part)
                    parts.append(part)
            finally:
                await response.aclose()
        except httpx.RemoteProtocolError as error:
            # Nothing at all before the connection was closed is no answer; something that is not HTTP is nonsense.
            if _is_nonsense(error):
                raise PeerNonsense(f"{peer.url}: {error}") from error
            raise PeerUnreachable(f"{peer.url}: {error}") from error
        except httpx.TransportError as error:
            raise PeerUnreachable(f"{peer.url}: {str(error) or type(error).__name__}") from error
        finally:
            if self._on_bytes is not None:
                self._on_bytes(peer, method, len(body), received)
        return _Answer(response.status_code, response.headers.get(ANSWER_HEADER), b"".join(parts))

    def _link(self, peer: PeerAddress) -> _Link:
        link = self._links.get(peer.url)
        if link is None:
            try:
                url = httpx.URL(peer.url)
            except (httpx.InvalidURL, TypeError) as error:
                raise PeerUnreachable(f"{peer.url!r} is not a URL: {error}") from error
            if url.scheme not in {"http", "https"} or not url.host:
                raise PeerUnreachable(f"{peer.url!r} is not an http or https URL")
            link = self._links[peer.url] = _Link(url, self._tls_for(url), self._limits)
        self._links.move_to_end(peer.url)
        return link

    async def _close_surplus(self) -> None:
        """Close the longest unused link, if there are too many and one has no call on it."""
        if len(self._links) > self._limits.links_max:
            unused = next((url for url, link in self._links.items() if not link.calls), None)
            if unused is not None:
                await self._links.pop(unused).pool.aclose()

    def _tls_for(self, url: httpx.URL) -> ssl.SSLContext:
        if url.scheme == "http":
            # Never used; given because loading the system's authorities takes tens of milliseconds a link.
            return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if self._tls is None:
            self._tls = ssl.create_default_context()
        return self._tls


def _check_length(peer: PeerAddress, response: httpx.Response, limit: int) -> None:
    """Every answer of the protocol says its length; with it the HTTP layer never reads more than that."""
    length = response.headers.get("content-length", "")
    if not (length.isascii() and length.isdigit()):
        raise PeerNonsense(f"{peer.url}: the answer (HTTP {response.status_code}) does not say its length")
    if int(length) > limit:
        raise PeerNonsense(f"{peer.url}: the answer has {length} bytes, more than {limit}")


def _is_nonsense(error: BaseException) -> bool:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, h11.RemoteProtocolError):
            return True
        cause = cause.__cause__ or cause.__context__
    return False


def _unsigned(peer: PeerAddress, answer: _Answer) -> PeerRefused | PeerNonsense:
    """What an answer without a signature may say: that we are not let in. Anything else is not of the protocol."""
    if answer.status == 401:
        refusal = _refusal(peer, answer)
        if isinstance(refusal, PeerRefused) and refusal.code in REFUSAL_CODES:
            return refusal
    return PeerNonsense(f"{peer.url}: HTTP {answer.status} without a signature: not a peer of this cluster")


def _refusal(peer: PeerAddress, answer: _Answer) -> PeerRefused | PeerNonsense:
    with suppress(ValueError, msgpack.UnpackException, msgpack.exceptions.ExtraData):
        refusal = msgpack.unpackb(answer.body, max_map_len=8)
        if isinstance(refusal, dict):
            code, detail = refusal.get("code"), refusal.get("detail")
            if isinstance(code, str) and isinstance(detail, str):
                return PeerRefused(code, detail)
    return PeerNonsense(f"{peer.url}: HTTP {answer.status} with a body that is not a refusal")
