"""Messages as gRPC has them in a stream of bytes: one byte of flags, four of length, the message.

Nothing is compressed: a compressed message is refused, and the refusal's headers say what is taken.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from vexil.node.grpc.statuses import CallFailed, Code

PREFIX_BYTES: Final = 5
PIECE_BYTES: Final = 64 * 1024
"""What is handed to the HTTP server at a time: it keeps what the caller has not read yet."""
_LENGTH_MAX: Final = 0xFFFF_FFFF


def only_message(body: bytes | bytearray, *, message_bytes_max: int) -> bytes:
    """The one message of a request's whole body.

    Raises CallFailed: RESOURCE_EXHAUSTED for a message over the limit, UNIMPLEMENTED for a compressed one,
    INVALID_ARGUMENT for anything but one whole message.
    """
    if len(body) < PREFIX_BYTES:
        raise CallFailed(Code.INVALID_ARGUMENT, "the request has no message")
    flags, length = body[0], int.from_bytes(body[1:PREFIX_BYTES], "big")
    if flags == 1:
        raise CallFailed(Code.UNIMPLEMENTED, "compressed messages are not taken")
    if flags != 0:
        raise CallFailed(Code.INVALID_ARGUMENT, "the message has flags that gRPC does not know")
    if length > message_bytes_max:
        raise too_long(message_bytes_max)
    present = len(body) - PREFIX_BYTES
    if present < length:
        raise CallFailed(Code.INVALID_ARGUMENT, f"the message was to have {length} bytes and has {present}")
    if present > length:
        raise CallFailed(Code.INVALID_ARGUMENT, "the request has more than one message")
    return bytes(body[PREFIX_BYTES:])


def too_long(message_bytes_max: int) -> CallFailed:
    """The refusal of a message over the limit."""
    return CallFailed(Code.RESOURCE_EXHAUSTED, f"a message may have at most {message_bytes_max} bytes")


def framed(message: bytes) -> bytes:
    """A message as it travels."""
    if len(message) > _LENGTH_MAX:
        raise CallFailed(Code.RESOURCE_EXHAUSTED, "the answer is longer than a message can be")
    return b"\0" + len(message).to_bytes(4, "big") + message


def pieces(frame: bytes) -> Iterator[memoryview]:
    """A frame in pieces of `PIECE_BYTES`, without copying it."""
    view = memoryview(frame)
    for start in range(0, len(view), PIECE_BYTES):
        yield view[start : start + PIECE_BYTES]
