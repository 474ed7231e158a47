"""How two nodes of one cluster prove to each other that they know the cluster secret. Pure: no I/O, no clock.

The one idea: a caller opens a *session* with a server process, and from then on every request carries the session,
a counter and a MAC. Freshness comes from the server's nonce and from the counter, never from wall time, so a node
whose clock is a year ahead still gets in::

    caller                                                   server
      POST /peer/v1/session
      vexil-peer-open: nonce_c node region MAC(open)   →     knows the secret? then a fresh nonce_s
                                                       ←     nonce_s MAC(opened; nonce_c, nonce_s, node, region)
      POST /peer/v1/push
      vexil-peer: nonce_s counter SHA256(body) MAC(request)  →   known session, MAC right, counter not seen before
                                                       ←     vexil-peer-answer: MAC(answer; MAC(request), status, body)

- Every MAC is HMAC-SHA256 under a key of its own purpose and direction, derived from the secret with labels; those
  of requests and answers are derived from both nonces and the caller's name as well. A MAC made for one purpose,
  session or direction is worth nothing for another.
- The request's MAC covers the *claimed* body hash, so a server refuses a stranger before it has read any body.
- A session lives in one server process only. After a restart the caller is told ``auth.session_unknown``.
- A counter is accepted once. Concurrent requests overtake each other, so a window of counters below the highest one
  is remembered bit by bit; what has fallen out of the window is refused.

All nodes know one secret: this keeps strangers out, it does not keep one member from claiming another's name. The
bodies are not encrypted; a link that crosses untrusted networks needs TLS beneath this.

Errors::

    PeerAuthError
    ├── SecretTooShort     the cluster secret is not usable
    ├── AuthRefused        server side: ``code`` is one of REFUSAL_CODES
    └── ForgedAnswer       caller's side: the answer was not made by a holder of the secret, or was altered
"""

from __future__ import annotations

import hashlib
import hmac
from collections import OrderedDict
from dataclasses import dataclass
from typing import NamedTuple
from urllib.parse import quote, unquote

from vexil.node.seams import Entropy, PeerIdentity

FRAME_LIMIT_BYTES = 4 * 1024 * 1024
"""The largest body of a request or an answer between nodes."""
SECRET_MIN_BYTES = 16
NONCE_BYTES = 16
MAC_BYTES = 32
REPLAY_WINDOW_COUNTERS = 1024
COUNTER_MAX = 2**63 - 1
NAME_LIMIT_BYTES = 200
HEADER_LIMIT_CHARACTERS = 2048

OPEN_HEADER = "vexil-peer-open"
REQUEST_HEADER = "vexil-peer"
ANSWER_HEADER = "vexil-peer-answer"

AUTH_FAILED = "auth.failed"
SESSION_UNKNOWN = "auth.session_unknown"
REPLAYED = "auth.replayed"
REFUSAL_CODES = frozenset({AUTH_FAILED, SESSION_UNKNOWN, REPLAYED})

_EXTRACT_LABEL = b"vexil peer protocol 1"


class PeerAuthError(Exception):
    """Root of what this module raises."""


class SecretTooShort(PeerAuthError):
    """The cluster secret has fewer than ``SECRET_MIN_BYTES`` bytes."""


class AuthRefused(PeerAuthError):
    """The server does not take the request. ``code`` says no more than a stranger may know."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


class ForgedAnswer(PeerAuthError):
    """The answer does not carry the MAC that only a holder of the secret could have made for this request."""


def body_hash(body: bytes | bytearray) -> bytes:
    """SHA-256 of a body: what the MACs cover in its place."""
    return hashlib.sha256(body).digest()


def _mac(key: bytes, *parts: bytes) -> bytes:
    """HMAC-SHA256 over ``parts``, each behind its length, so that no two lists of parts read alike."""
    text = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
    return hmac.digest(key, text, "sha256")


class SessionKeys(NamedTuple):
    """The two keys of one session: requests of the caller, answers of the server."""

    request: bytes
    answer: bytes


class PeerKeys:
    """What is derived from the cluster secret once; the secret itself is not kept."""

    __slots__ = ("_session", "open", "opened")

    def __init__(self, secret: bytes) -> None:
        if len(secret) < SECRET_MIN_BYTES:
            raise SecretTooShort(
                f"the cluster secret has {len(secret)} bytes; at least {SECRET_MIN_BYTES} are needed"
            )
        root = hmac.digest(_EXTRACT_LABEL, secret, "sha256")
        self.open = _mac(root, b"open")
        self.opened = _mac(root, b"opened")
        self._session = _mac(root, b"session")

    def session(self, client_nonce: bytes, server_nonce: bytes, caller: PeerIdentity) -> SessionKeys:
        """The keys of the session that these two nonces and this caller make."""
        about = (client_nonce, server_nonce, caller.node.encode(), caller.region.encode())
        return SessionKeys(
            request=_mac(self._session, b"request", *about), answer=_mac(self._session, b"answer", *about)
        )


def _request_mac(
    key: bytes,
    target: tuple[str, str],
    caller: PeerIdentity,
    server_nonce: bytes,
    counter: int,
    digest: bytes,
) -> bytes:
    """``target`` is HTTP method and path."""
    method, path = target
    return _mac(
        key,
        method.encode(),
        path.encode(),
        caller.node.encode(),
        caller.region.encode(),
        server_nonce,
        counter.to_bytes(8, "big"),
        digest,
    )


def _answer_mac(key: bytes, request_mac: bytes, status: int, digest: bytes) -> bytes:
    return _mac(key, request_mac, status.to_bytes(2, "big"), digest)


# ------------------------------------------------------------------------------------------------- the caller's side


class SignedRequest(NamedTuple):
    """The value of ``REQUEST_HEADER``, and the MAC in it, which the answer's MAC will cover."""

    header: str
    mac: bytes


class PeerSession:
    """The caller's half of an open session. Counters start at 1 and are never used twice."""

    __slots__ = ("_caller", "_counter", "_keys", "_server_nonce")

    def __init__(self, *, keys: SessionKeys, server_nonce: bytes, caller: PeerIdentity) -> None:
        self._keys = keys
        self._server_nonce = server_nonce
        self._caller = caller
        self._counter = 0

    def sign(self, method: str, path: str, body: bytes) -> SignedRequest:
        """Sign one request; takes the next counter, whether the request is sent or not."""
        self._counter += 1
        digest = body_hash(body)
        mac = _request_mac(
            self._keys.request, (method, path), self._caller, self._server_nonce, self._counter, digest
        )
        return SignedRequest(f"{self._server_nonce.hex()} {self._counter} {digest.hex()} {mac.hex()}", mac)

    def check_answer(self, request: SignedRequest, status: int, body: bytes, header: str | None) -> None:
        """Return if ``header`` proves status and body of the answer to ``request``; else raise ForgedAnswer."""
        if header is None:
            raise ForgedAnswer("the answer is not signed")
        claimed = _bytes_of_hex(header, MAC_BYTES)
        expected = _answer_mac(self._keys.answer, request.mac, status, body_hash(body))
        if claimed is None or not hmac.compare_digest(claimed, expected):
            raise ForgedAnswer("the signature of the answer is wrong")


class SessionOpening:
    """The caller's first step: a header that proves the secret, then the check that the server knows it too."""

    __slots__ = ("_caller", "_client_nonce", "_keys", "header")

    def __init__(self, keys: PeerKeys, caller: PeerIdentity, entropy: Entropy) -> None:
        self._keys = keys
        self._caller = caller
        self._client_nonce = entropy.token_bytes(NONCE_BYTES)
        node, region = caller
        if not (0 < len(node.encode()) <= NAME_LIMIT_BYTES and 0 < len(region.encode()) <= NAME_LIMIT_BYTES):
            raise ValueError(
                f"node and region have 1 to {NAME_LIMIT_BYTES} bytes each, not {node!r}, {region!r}"
            )
        mac = _mac(keys.open, self._client_nonce, node.encode(), region.encode())
        self.header = (
            f"{self._client_nonce.hex()} {quote(node, safe='')} {quote(region, safe='')} {mac.hex()}"
        )

    def finish(self, answer: bytes) -> PeerSession:
        """The session, from the body that the server answered. Raises ForgedAnswer."""
        server_nonce, proof = answer[:NONCE_BYTES], answer[NONCE_BYTES:]
        expected = _opened_mac(self._keys, self._client_nonce, server_nonce, self._caller)
        if not hmac.compare_digest(proof, expected):
            raise ForgedAnswer("the server did not prove that it knows the cluster secret")
        keys = self._keys.session(self._client_nonce, server_nonce, self._caller)
        return PeerSession(keys=keys, server_nonce=server_nonce, caller=self._caller)


def _opened_mac(keys: PeerKeys, client_nonce: bytes, server_nonce: bytes, caller: PeerIdentity) -> bytes:
    return _mac(keys.opened, client_nonce, server_nonce, caller.node.encode(), caller.region.encode())


# ------------------------------------------------------------------------------------------------- the server's side


class ReplayWindow:
    """Which counters were used: the highest, and one bit for each of the ``size`` counters that end with it."""

    __slots__ = ("_bits", "_highest", "_mask", "_size")

    def __init__(self, size: int) -> None:
        self._size = size
        self._mask = (1 << size) - 1
        self._highest = 0
        self._bits = 0

    def accept(self, counter: int) -> bool:
        """Take ``counter`` (≥ 1) if it is new and not below the window; True if it was taken."""
        ahead = counter - self._highest
        if ahead > 0:
            # Past a whole window nothing is left to remember; shifting by the difference could need any memory.
            self._bits = 1 if ahead >= self._size else ((self._bits << ahead) & self._mask) | 1
            self._highest = counter
            return True
        if -ahead >= self._size:
            return False
        bit = 1 << -ahead
        if self._bits & bit:
            return False
        self._bits |= bit
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionLimits:
    """Bounds of a ``SessionTable``."""

    sessions_max: int = 1024
    """Sessions with at least one genuine request; beyond it the longest unused one is forgotten."""
    openings_max: int = 128
    """Sessions that were opened and not used yet. Apart from the others, so that a recorded opening that somebody
    replays without end pushes out no session in use."""
    replay_window_counters: int = REPLAY_WINDOW_COUNTERS


class VerifiedRequest:
    """A request whose header was genuine and fresh. Its body is still to be read and compared with ``body_hash``."""

    __slots__ = ("_keys", "_mac", "body_hash", "caller")

    def __init__(self, *, caller: PeerIdentity, keys: SessionKeys, mac: bytes, digest: bytes) -> None:
        self.caller = caller
        self.body_hash = digest
        self._keys = keys
        self._mac = mac

    def check_body(self, body: bytes) -> None:
        """Return if ``body`` is what the caller signed; else raise AuthRefused."""
        if not hmac.compare_digest(body_hash(body), self.body_hash):
            raise AuthRefused(AUTH_FAILED, "the body is not the one that was signed")

    def sign_answer(self, status: int, body: bytes) -> str:
        """The value of ``ANSWER_HEADER`` for this status and body."""
        return _answer_mac(self._keys.answer, self._mac, status, body_hash(body)).hex()


class _ServerSession:
    __slots__ = ("caller", "keys", "window")

    def __init__(self, *, caller: PeerIdentity, keys: SessionKeys, window: ReplayWindow) -> None:
        self.caller = caller
        self.keys = keys
        self.window = window


class SessionTable:
    """The sessions of one server process, bounded by ``SessionLimits``."""

    def __init__(self, keys: PeerKeys, *, entropy: Entropy, limits: SessionLimits | None = None) -> None:
        self._keys = keys
        self._entropy = entropy
        self._limits = limits or SessionLimits()
        self._openings: OrderedDict[bytes, _ServerSession] = OrderedDict()
        self._sessions: OrderedDict[bytes, _ServerSession] = OrderedDict()

    def __len__(self) -> int:
        return len(self._openings) + len(self._sessions)

    def open(self, header: str | None) -> bytes:
        """Open a session for the caller that ``OPEN_HEADER`` names; the body to answer. Raises AuthRefused."""
        client_nonce, caller, claimed = _parse_opening(header)
        expected = _mac(self._keys.open, client_nonce, caller.node.encode(), caller.region.encode())
        if not hmac.compare_digest(claimed, expected):
            raise AuthRefused(AUTH_FAILED, "the cluster secret is not the same here")
        server_nonce = self._entropy.token_bytes(NONCE_BYTES)
        self._openings[server_nonce] = _ServerSession(
            caller=caller,
            keys=self._keys.session(client_nonce, server_nonce, caller),
            window=ReplayWindow(self._limits.replay_window_counters),
        )
        if len(self._openings) > self._limits.openings_max:
            self._openings.popitem(last=False)
        return server_nonce + _opened_mac(self._keys, client_nonce, server_nonce, caller)

    def verify(self, header: str | None, *, method: str, path: str) -> VerifiedRequest:
        """Check ``REQUEST_HEADER`` and use up its counter. Raises AuthRefused.

        A request with a wrong MAC changes nothing here: neither the window nor the order of use.
        """
        server_nonce, counter, digest, claimed = _parse_request(header)
        session = self._sessions.get(server_nonce) or self._openings.get(server_nonce)
        if session is None:
            raise AuthRefused(SESSION_UNKNOWN, "no such session in this process: open a new one")
        expected = _request_mac(
            session.keys.request, (method, path), session.caller, server_nonce, counter, digest
        )
        if not hmac.compare_digest(claimed, expected):
            raise AuthRefused(AUTH_FAILED, "the signature is wrong")
        self._used(server_nonce, session)
        if not session.window.accept(counter):
            raise AuthRefused(REPLAYED, "this counter was used before, or is older than the window")
        return VerifiedRequest(caller=session.caller, keys=session.keys, mac=claimed, digest=digest)

    def _used(self, server_nonce: bytes, session: _ServerSession) -> None:
        if self._openings.pop(server_nonce, None) is not None:
            self._sessions[server_nonce] = session
            if len(self._sessions) > self._limits.sessions_max:
                self._sessions.popitem(last=False)
        else:
            self._sessions.move_to_end(server_nonce)


# --------------------------------------------------------------------------------------------------------- parsing


def _bytes_of_hex(text: str, count: int) -> bytes | None:
    if len(text) != 2 * count:
        return None
    try:
        value = bytes.fromhex(text)
    except ValueError:
        return None
    # fromhex skips white space, so the right number of characters may still be too few bytes.
    return value if len(value) == count else None


def _fields(header: str | None) -> list[str]:
    if header is None:
        raise AuthRefused(AUTH_FAILED, "the request is not signed")
    if len(header) > HEADER_LIMIT_CHARACTERS:
        raise AuthRefused(AUTH_FAILED, "the signature header is too long")
    fields = header.split(" ")
    if len(fields) != 4:
        raise AuthRefused(AUTH_FAILED, "the signature header is malformed")
    return fields


def _parse_opening(header: str | None) -> tuple[bytes, PeerIdentity, bytes]:
    nonce_text, node_text, region_text, mac_text = _fields(header)
    nonce, mac = _bytes_of_hex(nonce_text, NONCE_BYTES), _bytes_of_hex(mac_text, MAC_BYTES)
    try:
        node, region = unquote(node_text, errors="strict"), unquote(region_text, errors="strict")
    except UnicodeDecodeError:
        raise AuthRefused(AUTH_FAILED, "the signature header is malformed") from None
    if nonce is None or mac is None or not node or not region:
        raise AuthRefused(AUTH_FAILED, "the signature header is malformed")
    if len(node.encode()) > NAME_LIMIT_BYTES or len(region.encode()) > NAME_LIMIT_BYTES:
        raise AuthRefused(AUTH_FAILED, "the caller's name is too long")
    return nonce, PeerIdentity(node, region), mac


def _parse_request(header: str | None) -> tuple[bytes, int, bytes, bytes]:
    nonce_text, counter_text, digest_text, mac_text = _fields(header)
    nonce, digest = _bytes_of_hex(nonce_text, NONCE_BYTES), _bytes_of_hex(digest_text, MAC_BYTES)
    mac = _bytes_of_hex(mac_text, MAC_BYTES)
    # The length comes first: int() takes time that grows with the square of it.
    numeric = len(counter_text) <= 19 and counter_text.isascii() and counter_text.isdigit()
    counter = int(counter_text) if numeric else 0
    if nonce is None or digest is None or mac is None or not 1 <= counter <= COUNTER_MAX:
        raise AuthRefused(AUTH_FAILED, "the signature header is malformed")
    return nonce, counter, digest, mac
