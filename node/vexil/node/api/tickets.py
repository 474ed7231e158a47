"""Tickets: what opens an OFREP event stream where no key can be sent, since a browser's EventSource sends no headers.

A ticket is ``<payload>.<HMAC>``, both base64url; the payload is msgpack ``[version, project, environment, key id,
expires]``. It is bound to its key: a revoked key's tickets open nothing. All nodes of a cluster derive the same secret,
so a ticket of one opens a stream at any. It is a secret as long as it is valid: it is in no log and no metric.

The one idea: a client takes another URL for another stream, and connects anew. So within a window all answers to one
client have the same ticket, and windows begin at another moment for each client: they do not all change together.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from hashlib import sha256
from typing import Final, NamedTuple
from zlib import crc32

import msgpack

from vexil.node.api.auth import Caller
from vexil.node.errors import TicketInvalid

VERSION: Final = 1
SECRET_BYTES: Final = 32
WINDOW_S: Final = 300
TICKET_S: Final = 2 * WINDOW_S
"""The longest time for which a ticket is valid; the shortest is one window."""
RENEWAL_S: Final = 86_400
"""So long after that a ticket still tells its holder that he needs another one, and nothing else."""
TICKET_CHARACTERS_MAX: Final = 1024
_PURPOSE: Final = b"vexil ofrep event stream tickets, version 1"


class Ticket(NamedTuple):
    """What a genuine ticket says; ``expires_s`` in Unix seconds."""

    project: str
    environment: str
    key_id: str
    expires_s: int

    @property
    def begun_s(self) -> int:
        """It was not issued before."""
        return self.expires_s - TICKET_S


def derived(cluster_secret: bytes) -> bytes:
    """The secret for tickets of every node that knows ``cluster_secret``."""
    return hmac.digest(cluster_secret, _PURPOSE, sha256)


class Tickets:
    """Issues and reads tickets under one secret."""

    __slots__ = ("_secret",)

    def __init__(self, secret: bytes) -> None:
        """``secret``: `SECRET_BYTES` that nobody can guess."""
        self._secret = secret

    def issue(self, caller: Caller, *, wall_ms: int, who: str) -> str:
        """A ticket for the environment of ``caller``'s key; ``who`` decides when its window begins."""
        offset_s = crc32(who.encode("utf-8", "surrogatepass")) % WINDOW_S
        window = (wall_ms // 1000 - offset_s) // WINDOW_S
        expires_s = (window + 2) * WINDOW_S + offset_s
        payload = msgpack.packb([VERSION, caller.project, caller.environment, caller.id, expires_s])
        return f"{_text(payload)}.{_text(self._mac(payload))}"

    def read(self, text: str) -> Ticket:
        """What a ticket of ours says, expired or not. Raises TicketInvalid."""
        try:
            if len(text) > TICKET_CHARACTERS_MAX:
                raise ValueError("too long")
            signed, _, mac = text.partition(".")
            payload = _bytes(signed)
            if not hmac.compare_digest(self._mac(payload), _bytes(mac)):
                raise ValueError("not ours")
            version, project, environment, key_id, expires_s = msgpack.unpackb(payload)
        except (ValueError, TypeError, binascii.Error, msgpack.UnpackException):
            raise TicketInvalid from None
        if version != VERSION:
            raise TicketInvalid
        return Ticket(project, environment, key_id, expires_s)

    def _mac(self, payload: bytes) -> bytes:
        return hmac.digest(self._secret, payload, sha256)


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _bytes(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
