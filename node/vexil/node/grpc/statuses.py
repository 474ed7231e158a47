"""How a call can end: gRPC's codes, the one exception that carries one, and what other errors become.

A refusal of the HTTP interface (`ApiError`) says the same here under gRPC's nearest code. What nobody foresaw is
INTERNAL; its text never leaves the node.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final
from urllib.parse import quote

from vexil.node.errors import ApiError

MESSAGE_CHARACTERS_MAX: Final = 500
"""Of ``grpc-message``; it travels among the headers, which callers bound."""
_PLAIN: Final = " !\"#$&'()*+,-./:;<=>?@[\\]^_`{|}~"
"""What ``grpc-message`` may hold beside letters and digits without being escaped."""


class Code(IntEnum):
    """The codes of gRPC that this node gives."""

    OK = 0
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


_OF_HTTP: Final = {
    400: Code.INVALID_ARGUMENT,
    401: Code.UNAUTHENTICATED,
    403: Code.PERMISSION_DENIED,
    404: Code.NOT_FOUND,
    413: Code.RESOURCE_EXHAUSTED,
    422: Code.INVALID_ARGUMENT,
    429: Code.RESOURCE_EXHAUSTED,
    503: Code.UNAVAILABLE,
}


class CallFailed(Exception):
    """The call ends with this code; ``again`` False tells clients that retry UNKNOWN that it would not help."""

    def __init__(self, code: Code, message: str, *, again: bool = True) -> None:
        super().__init__(f"{code.name}: {message}")
        self.code = code
        self.message = message
        self.again = again

    def trailers(self) -> list[tuple[bytes, bytes]]:
        """What the call ends with."""
        ending = trailers(self.code, self.message)
        if not self.again:
            ending.append((b"grpc-retry-pushback-ms", b"-1"))
        return ending


def trailers(code: Code, message: str = "") -> list[tuple[bytes, bytes]]:
    """The trailers of a call that ends with ``code``; the message is cut to `MESSAGE_CHARACTERS_MAX`."""
    ending = [(b"grpc-status", b"%d" % code)]
    if message:
        text = message[:MESSAGE_CHARACTERS_MAX].strip().encode(errors="replace")
        ending.append((b"grpc-message", quote(text, safe=_PLAIN).encode()))
    return ending


def of_refusal(error: ApiError) -> CallFailed:
    """What a refusal of the HTTP interface is here."""
    return CallFailed(_OF_HTTP.get(error.status, Code.UNKNOWN), error.detail)
